"""Which code made a model: the commit of a checkout, else the release and what its files hold."""

from __future__ import annotations

import hashlib
import os
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path

__all__ = ["code_revision"]

_PACKAGES = ("features", "models", "pipelines")
_GIT_TIMEOUT_S = 10


@lru_cache(maxsize=1)
def code_revision(root: Path = Path(__file__).parent.parent) -> str:
    """``git 1a2b…``, else ``0.1.0 sha256 1a2b…``.

    The commit has ``+changes`` behind it where files differ from it. ``root`` holds the packages.
    """
    return _commit(root) or f"{metadata.version('foretide')} sha256 {_content(root)}"


def _commit(root: Path) -> str | None:
    """What git says; nothing without git, or outside a checkout."""
    if not (root / ".git").exists():
        return None
    head = _git(root, "rev-parse", "--verify", "HEAD")
    if head is None:
        return None
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *_PACKAGES)
    return f"git {head}{'+changes' if changed else ''}"


def _git(root: Path, *args: str) -> str | None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603  # fixed words only
            ["git", "--no-optional-locks", "-C", str(root), *args],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
            env=clean,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _content(root: Path) -> str:
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            name = file.relative_to(root).as_posix()
            digest.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
