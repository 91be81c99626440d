"""A version's files: read where they lie, or fetched; parts of it are kept on disk by version."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pipelines.adapters.tracking.connection import cleaned, load_mlflow, shown
from pipelines.adapters.tracking.version import ModelVersion
from pipelines.errors import ModelError

__all__ = ["local_folder", "part_of", "whole"]

_KEPT_VERSIONS = 8
"""Four of either family: the champion, the one before, the challenger and one to spare."""


def local_folder(version: ModelVersion) -> Path | None:
    """Where the version's files lie, if it is on this machine."""
    parts = urlsplit(version.source)
    local = Path(url2pathname(parts.path))
    return local if parts.scheme in ("", "file") and local.is_dir() else None


@contextmanager
def whole(uri: str, version: ModelVersion) -> Generator[Path]:
    """The version's model folder: where it lies, or a copy that goes away.

    Raises
    ------
    ModelError
        It cannot be read.
    """
    local = local_folder(version)
    if local is not None:
        yield local
        return
    with tempfile.TemporaryDirectory(prefix="foretide-model-") as folder:
        yield _download(uri, version, "", Path(folder))


def part_of(uri: str, version: ModelVersion, part: str, check: Callable[[Path], None]) -> Path:
    """One file or folder of the version: where it lies, or as it was fetched before, or now.

    ``check`` gets what was fetched and raises ValueError if it is not what was registered.

    Raises
    ------
    ModelError
        It cannot be read.
    """
    local = local_folder(version)
    if local is not None:
        return _within(local, part)
    home = _cache() / hashlib.sha256(f"{uri}\0{version.source}".encode()).hexdigest()[:24]
    target = _within(home, part)
    if target.exists():
        with suppress(OSError):
            os.utime(home)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    _make_room(home)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=home) as folder:
        fetched = _download(uri, version, part, Path(folder))
        check(fetched)
        try:
            fetched.rename(target)
        except OSError:  # someone else was quicker
            if not target.exists():
                raise
    return target


def _download(uri: str, version: ModelVersion, part: str, into: Path) -> Path:
    load_mlflow()
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    source = f"{version.source.rstrip('/')}/{part}" if part else version.source
    try:
        found = download_artifacts(artifact_uri=source, dst_path=str(into), tracking_uri=uri)
    except Exception as error:
        # each kind of artifact store raises its client's own errors, boto3's among them
        if (
            not isinstance(error, MlflowException | OSError)
            and "boto" not in type(error).__module__
        ):
            raise
        why = cleaned(version.source, cleaned(uri, str(error)))
        raise ModelError(
            f"{version.label} cannot be read from {shown(version.source)}: {why}"
        ) from error
    return _within(into, str(Path(found).relative_to(into)))


def _within(root: Path, part: str) -> Path:
    """A part's place; nothing that a registry says leads out of it."""
    path = root / part
    if not path.resolve().is_relative_to(root.resolve()):
        raise ModelError(f"{part!r} leads out of the version's folder")
    return path


def _cache() -> Path:
    """This user's own folder: whoever else could write to it could choose our models."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or tempfile.gettempdir())
    folder = base / f"foretide-models-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ModelError(f"{folder} cannot be written: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ModelError(f"{folder} belongs to someone else, or others may write to it; remove it")
    return folder


def _make_room(home: Path) -> None:
    """Versions that were not asked for lately go."""

    def used(folder: Path) -> float:
        with suppress(OSError):
            return folder.stat().st_mtime
        return 0.0

    others = sorted((p for p in home.parent.iterdir() if p != home), key=used, reverse=True)
    for folder in others[_KEPT_VERSIONS - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)
