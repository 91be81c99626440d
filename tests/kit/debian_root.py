"""A bare Debian in a folder, in which the image's own scripts run: no container engine is needed.

The mirror and the package settings are those of the machine that runs it, read when it runs. The
root is a plain folder: what is written outside of the mounts stays there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DebianRoot", "dockerfile_env", "mirror"]

SUITE = "bookworm"
_SETTINGS = ("/etc/pip.conf", ".config/pip/pip.conf", ".config/uv/uv.toml", "/etc/uv/uv.toml")
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def mirror() -> str:
    """Where this machine's apt gets Debian from."""
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(ORIGIN)"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found = (line.split(" ") for line in said.splitlines())
    return next(uri for uri, release, *_ in found if release == SUITE).rstrip("/")


def dockerfile_env(text: str, args: Mapping[str, str]) -> dict[str, str]:
    """The environment of a Dockerfile's last stage, with its ARGs filled in."""
    last = text.rsplit("\nFROM ", 1)[1].replace("\\\n", " ")
    env: dict[str, str] = {}
    for line in re.findall(r"^ENV (.*)$", last, re.MULTILINE):
        for pair in line.split():
            name, value = pair.split("=", 1)
            env[name] = re.sub(r"\$\{(\w+)\}", lambda m: args[m[1]], value)
    return env


@dataclass(frozen=True)
class DebianRoot:
    """``folder`` is the new root; it is made when it is not there, and may be kept."""

    folder: Path

    def make(self) -> None:
        """Debian's smallest, then Python: about what python:3.11-slim is made of."""
        if not (self.folder / "usr/bin/python3.11").exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            _run(["debootstrap", "--variant=minbase", SUITE, str(self.folder), mirror()])
            shutil.copy("/etc/resolv.conf", self.folder / "etc/resolv.conf")
            packages = "python3.11-venv ca-certificates"
            self.run(
                f"apt-get update -qq && apt-get install -qq --no-install-recommends {packages} "
                "&& apt-get clean",
                env={"DEBIAN_FRONTEND": "noninteractive"},
            )
        shutil.copy("/etc/resolv.conf", self.folder / "etc/resolv.conf")

    def run(
        self, script: str, *, env: Mapping[str, str] | None = None, user: int = 0,
        read_only: bool = False, folder: str = "/", mounts: Mapping[str, Path] | None = None,
    ) -> str:  # fmt: skip
        """What a shell script in it prints; ``/tmp`` is empty and goes away.

        ``mounts`` are folders of this machine, to be read there.
        """
        root = self.folder
        steps = [f"mount --bind {root} {root}"]
        for place, source in (mounts or {}).items():
            (root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
            inside = f"{root}/{place.lstrip('/')}"
            steps += [f"mount --bind {source} {inside}", f"mount -o remount,ro,bind {inside}"]
        shell = f"/bin/sh -c 'cd {folder} && exec /bin/sh -s'"
        steps += [
            *([f"mount -o remount,ro,bind {root}"] if read_only else []),
            f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp",  # noqa: S108 - in the new root
            f"mount -t proc proc {root}/proc",
            f"mount --bind /dev/null {root}/dev/null",
            f"exec {shutil.which('chroot')} --userspec={user}:{user} {root} {shell}",
        ]
        usual = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        return _run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "\n".join(steps)],
            text=script,
            env=usual | dict(env or {}),
        )

    def lend_settings(self) -> tuple[dict[str, str], dict[str, Path]]:
        """This machine's settings of pip and uv: the environment, and folders to mount."""
        env = {n: v for n, v in os.environ.items() if n.startswith(("PIP_", "UV_"))}
        said = list(env.values())
        for name in _SETTINGS:
            ours = Path(name) if name.startswith("/") else Path.home() / name
            if ours.is_file():
                theirs = self.folder / (name if not name.startswith("/") else name[1:])
                if not name.startswith("/"):
                    theirs = self.folder / "root" / name
                theirs.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ours, theirs)
                said.append(ours.read_text())
        if Path(_CERTIFICATES).is_file():
            shutil.copy(_CERTIFICATES, self.folder / _CERTIFICATES[1:])
        for name, value in (("SSL_CERT_FILE", _CERTIFICATES), ("UV_NATIVE_TLS", "true")):
            env.setdefault(name, value)
        tops = {f"/{m}" for text in said for m in re.findall(r"(?:^|[\s=]|//)/(opt/[\w.-]+)", text)}
        return env, {top: Path(top) for top in sorted(tops) if Path(top).is_dir()}

    def take_back_settings(self) -> None:
        """Nothing of this machine stays in the root."""
        for name in _SETTINGS:
            inside = name[1:] if name.startswith("/") else f"root/{name}"
            (self.folder / inside).unlink(missing_ok=True)


def _run(command: list[str], text: str = "", env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command, input=text, env=None if env is None else dict(env), text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(
            f"exit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
    return done.stdout
