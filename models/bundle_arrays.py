"""One array of a bundle ⇄ one file.

Floats are plain ``.npy``: they hardly compress, and mapped, a row of many costs a page. Whole
numbers (the trees of isolation forests above all) are cut into blocks of rows, each compressed with
zstd by itself (``.zst``): a fifth of the size, and a row of many costs one block.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["encoded", "file_suffix", "pick_rows", "read_whole"]

_KINDS = "biufUMm"  # bool, int, uint, float, text, datetime, timedelta
_PACKED_KINDS = "biu"
_WORTH_BYTES = 1 << 16
_WORTH_SHARE = 0.75
_BLOCK_BYTES = 1 << 18
_SMALL_BYTES = 1 << 16  # read at once: mapping costs more
_MOST_BYTES = 1 << 36


def encoded(what: str, array: NDArray[Any]) -> tuple[bytes, dict[str, Any]]:
    """An array's file and what the manifest has to tell of it.

    Raises
    ------
    ValueError
        The array holds objects; ``what`` names it.
    """
    if array.dtype.kind not in _KINDS:
        raise ValueError(f"bundle: {what} cannot hold {array.dtype}")
    array = np.ascontiguousarray(array)
    told: dict[str, Any] = {"dtype": array.dtype.str, "shape": list(array.shape)}
    if array.dtype.kind in _PACKED_KINDS and array.nbytes >= _WORTH_BYTES:
        rows = max(_BLOCK_BYTES // max(array.nbytes // len(array), 1), 1)
        zstd = pa.Codec("zstd", compression_level=1)
        blocks: list[bytes] = [
            zstd.compress(array[i : i + rows].data, asbytes=True)
            for i in range(0, len(array), rows)
        ]
        ends = np.cumsum([len(block) for block in blocks])
        if ends[-1] <= _WORTH_SHARE * array.nbytes:
            return b"".join(blocks), told | {"block_rows": rows, "ends": ends.tolist()}
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=False)
    return sink.getvalue(), told


def file_suffix(told: Mapping[str, Any]) -> str:
    """``.zst`` or ``.npy``."""
    return ".zst" if "ends" in told else ".npy"


def read_whole(content: bytes, told: Mapping[str, Any]) -> NDArray[Any]:
    """A file's array; nothing is unpickled, nor more memory taken than the manifest says.

    Raises
    ------
    ValueError
        The content is not what was told.
    """
    dtype, shape = _promised(told)
    if "ends" not in told:
        file = io.BytesIO(content)
        np.lib.format.read_magic(file)
        got = np.lib.format.read_array_header_1_0(file)
        if (got[0], got[2].str) != (shape, dtype.str):
            raise ValueError(f"it holds {got[2].str} {got[0]}, expected {dtype.str} {shape}")
        if prod(shape) * dtype.itemsize != len(content) - file.tell():
            raise ValueError(f"{len(content) - file.tell()} bytes cannot hold {shape}")
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)
    out = np.empty(shape, dtype)
    for i, (begin, end) in enumerate(_blocks(told, len(content))):
        rows = out[i * told["block_rows"] : (i + 1) * told["block_rows"]]
        rows[...] = _block(content[begin:end], rows.shape, dtype)
    return out


def pick_rows(file: Path, told: Mapping[str, Any], rows: NDArray[np.intp]) -> NDArray[Any]:
    """Some rows of an array; only the pages, or the blocks, that hold them are read.

    Raises
    ------
    ValueError, OSError
        The file is not what was told.
    """
    dtype, shape = _promised(told)
    if 0 in shape:
        return np.empty((len(rows), *shape[1:]), dtype)
    if "ends" not in told and file.stat().st_size <= _SMALL_BYTES:
        return read_whole(file.read_bytes(), told)[rows]
    if "ends" not in told:
        mapped = np.lib.format.open_memmap(file, mode="r")
        if (mapped.shape, mapped.dtype) != (shape, dtype):
            raise ValueError(f"it holds {mapped.dtype.str}, expected {dtype.str} {shape}")
        return np.array(mapped[rows])
    out = np.empty((len(rows), *shape[1:]), dtype)
    block_rows, blocks = told["block_rows"], _blocks(told, file.stat().st_size)
    home = rows // block_rows
    with file.open("rb") as source:
        for i in np.unique(home):
            begin, end = blocks[i]
            source.seek(begin)
            n = min(block_rows, shape[0] - int(i) * block_rows)
            block = _block(source.read(end - begin), (n, *shape[1:]), dtype)
            out[home == i] = block[rows[home == i] - i * block_rows]
    return out


def _promised(told: Mapping[str, Any]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type and shape; the manifest is data, and may promise nonsense."""
    dtype, shape = np.dtype(str(told["dtype"])), tuple(told["shape"])
    fits = all(isinstance(n, int) and n >= 0 for n in shape) and len(shape) > 0
    if dtype.kind not in _KINDS or not fits or prod(shape) * dtype.itemsize > _MOST_BYTES:
        raise ValueError(f"it cannot hold {dtype.str} {list(shape)}")
    return dtype, shape


def _blocks(told: Mapping[str, Any], size: int) -> list[tuple[int, int]]:
    """Where each block begins and ends in the file."""
    ends, rows = list(told["ends"]), told["block_rows"]
    begins = [0, *ends[:-1]]
    whole = all(isinstance(n, int) for n in (rows, *ends)) and rows > 0
    if not whole or len(ends) != -(-told["shape"][0] // rows) or ends[-1] != size:
        raise ValueError("its blocks are not those of its rows")
    if any(b >= e for b, e in zip(begins, ends, strict=True)):
        raise ValueError("its blocks do not follow each other")
    return list(zip(begins, ends, strict=True))


def _block(content: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        raw = pa.Codec("zstd").decompress(content, prod(shape) * dtype.itemsize)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"a block does not unpack: {error}") from error
    return np.frombuffer(raw, dtype).reshape(shape)
