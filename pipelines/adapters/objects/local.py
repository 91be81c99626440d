"""Objects on local disk: files under a folder."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

import pyarrow as pa

from pipelines.adapters.objects.protocol import ANY, Conflict, Stat, checked
from pipelines.errors import StoreError

__all__ = ["LocalObjects"]

T = TypeVar("T")

_ASIDE = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
_REMEDY = {
    errno.EACCES: "change its permissions, or choose another store",
    errno.EPERM: "change its permissions, or choose another store",
    errno.ENOSPC: "make room on the disk, then run again: nothing of the old was lost",
    errno.EDQUOT: "make room in the quota, then run again: nothing of the old was lost",
    errno.EROFS: "mount it writable, or choose another store",
    errno.ENOTDIR: "a file is where a folder should be: move it away, or choose another store",
    errno.EISDIR: "a folder is where a file should be: move it away",
}


class LocalObjects:
    """Files under a folder that is made with the first put."""

    readers = 1

    def __init__(self, root: str | Path, *, lock_wait_s: float = 600.0, shown: str = "") -> None:
        """``lock_wait_s``: how long to wait for another process that changes the same table."""
        self.root = shown or str(root)
        self._base = Path(root).absolute()
        self._lock_wait_s = lock_wait_s

    def where(self, name: str) -> str:
        """The absolute path."""
        return str(self._base / checked(name))

    def list(self, prefix: str) -> list[Stat]:
        """Every file whose name begins so, by name."""
        directory = prefix.rpartition("/")[0]
        try:
            return sorted(self._walk(directory, prefix), key=lambda s: s.name)
        except OSError as error:
            raise StoreError(f"{self._base / directory} cannot be listed: {_why(error)}") from error

    def _walk(self, directory: str, prefix: str) -> Iterator[Stat]:
        try:
            entries = list(os.scandir(self._base / directory))
        except FileNotFoundError:
            return
        for entry in entries:
            name = f"{directory}/{entry.name}" if directory else entry.name
            if entry.name.startswith(".") or not name.startswith(prefix):
                continue
            if entry.is_dir():
                yield from self._walk(name, prefix)
            elif (there := self.stat(name, safe=True)) is not None:
                yield there

    def stat(self, name: str, *, safe: bool = False) -> Stat | None:
        """Size and version of a file; ``safe`` for a name that was listed and not made."""
        path = self._base / (name if safe else checked(name))
        try:
            there = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{path} cannot be looked at: {_why(error)}") from error
        version = f"{there.st_ino}-{there.st_mtime_ns}-{there.st_size}"
        return Stat(name, there.st_size, version) if path.is_file() else None

    @contextmanager
    def open(self, name: str) -> Generator[pa.NativeFile | None]:
        """The file; whoever has it open keeps it whole when it is replaced or removed."""
        path = self._base / checked(name)
        try:
            file = pa.OSFile(str(path))
        except FileNotFoundError:
            yield None
            return
        except OSError as error:  # of a folder it has no number
            why = _REMEDY[errno.EISDIR] if path.is_dir() else _why(error)
            raise StoreError(f"{path} cannot be read: {why}") from error
        with file:
            yield file

    def put(self, name: str, data: bytes | Path, *, replacing: str | None = ANY) -> None:
        """Write a file whole: aside, then renamed."""

        def fill(out: BinaryIO) -> None:
            if isinstance(data, bytes):
                out.write(data)
            else:
                with data.open("rb") as source:
                    shutil.copyfileobj(source, out, 1 << 20)

        if replacing == ANY:
            self._replace(name, fill)
            return
        with self._turn(name):
            there = self.stat(name)
            if (there.version if there else None) != replacing:
                raise Conflict(f"{self.where(name)} was changed by another process; run again")
            self._replace(name, fill)

    def update(self, name: str, change: Callable[[pa.NativeFile | None, BinaryIO], T]) -> T:
        """Read, change, replace, while everyone else who updates this table waits."""
        with self._turn(name), self.open(name) as old:
            return self._replace(name, lambda out: change(old, out), keep_if_empty=True)

    def delete(self, name: str) -> None:
        """Remove a file, and the folder of its day when that is empty then."""
        path = self._base / checked(name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{path} cannot be deleted: {_why(error)}") from error
        if name.count("/") > 1:
            with suppress(OSError):
                path.parent.rmdir()

    def sweep(self, before_ms: int) -> int:
        """Remove hidden files of writers that were killed."""
        gone = 0
        for folder, _, files in os.walk(self._base):
            for file in filter(_ASIDE.fullmatch, files):
                path = Path(folder, file)
                with suppress(OSError):
                    if path.stat().st_mtime_ns < before_ms * 10**6:
                        path.unlink()
                        gone += 1
        return gone

    def _replace(
        self, name: str, fill: Callable[[BinaryIO], T], *, keep_if_empty: bool = False
    ) -> T:
        path = self._base / checked(name)
        aside: Path | None = None
        try:
            with self._aside(path) as out:
                aside = Path(out.name)
                result = fill(out)
                if keep_if_empty and not out.tell():
                    return result
                out.flush()
                os.fsync(out.fileno())
            aside.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {_why(error)}") from error
        else:
            return result
        finally:
            if aside is not None:
                aside.unlink(missing_ok=True)

    def _aside(self, path: Path) -> BinaryIO:
        """A new file beside the path; the folder may be removed at any moment as long as it is
        empty."""
        for _ in range(8):
            _make_folder(path.parent)
            with suppress(FileNotFoundError):
                return (path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp").open("xb")
        raise FileNotFoundError(errno.ENOENT, "its folder is removed again and again")

    @contextmanager
    def _turn(self, name: str) -> Generator[None]:
        """Alone with the table: one lock a table, never removed, so that all mean the same one."""
        path = self._base / checked(name).rpartition("/")[0].partition("/")[0] / ".lock"
        try:
            _make_folder(path.parent)
            file = path.open("ab")
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {_why(error)}") from error
        with file:  # closing it gives the lock back, and so does the kernel after kill -9
            self._wait(file, path)
            yield

    def _wait(self, file: BinaryIO, path: Path) -> None:
        begun, pause_s = time.monotonic(), 0.001
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() - begun > self._lock_wait_s:
                    raise StoreError(
                        f"{path} has been held for {self._lock_wait_s:g} s by another process that "
                        "writes; wait for it or end it, then run again"
                    ) from None
            except OSError as error:
                raise StoreError(f"{path} cannot be locked: {_why(error)}") from error
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.05)


def _make_folder(folder: Path) -> None:
    """With its parents, each one on disk before something is written into it."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _why(error: OSError) -> str:
    said = " ".join(str(error.strerror or error).split())[:200]
    remedy = _REMEDY.get(error.errno or 0)
    return f"{said}; {remedy}" if remedy else said
