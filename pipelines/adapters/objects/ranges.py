"""One version of a remote object as a file that is read by ranges."""

from __future__ import annotations

import io
from collections.abc import Callable

__all__ = ["Ranges"]


class Ranges(io.RawIOBase):
    """A read-only file; its tail is there from the start, because Parquet is read from the end.

    Everything after the first request is asked for with ``If-Match``, so that all bytes are of one
    version.
    """

    def __init__(self, get: Callable[..., tuple[bytes, int, str]], tail_bytes: int) -> None:
        """``get(Range=…, IfMatch=…)`` gives the bytes, the object's size and its version."""
        self._get = get
        self._tail, self._size, self._version = get(Range=f"bytes=-{tail_bytes}")
        self._at = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; nothing is requested."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """From the tail, or one request."""
        begin = self._at
        end = self._size if size < 0 else min(begin + size, self._size)
        if begin >= end:
            return b""
        self._at = end
        head = self._size - len(self._tail)
        if begin >= head:
            return self._tail[begin - head : end - head]
        return self._get(Range=f"bytes={begin}-{end - 1}", IfMatch=self._version)[0]
