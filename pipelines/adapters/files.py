"""Samples from files that a user names: Parquet or CSV, one by one or a directory of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from features.frames import SAMPLES, FrameError, require
from pipelines.errors import InputError

__all__ = ["read_samples"]

_SUFFIXES = (".parquet", ".csv", ".csv.gz")
_ZONED = re.compile(r".*\d(Z|z|[+-]\d\d(:?\d\d)?)", re.DOTALL)
_INDEX_COLUMNS = ("", "Unnamed: 0", "index", "__index_level_0__")
"""What pandas leaves behind when a frame is saved with its row numbers."""


def read_samples(paths: Sequence[str | Path]) -> pa.Table:
    """All samples of the files, in the order given; a directory stands for its files, by name.

    Unsorted and duplicate rows, NaN and Inf stay: the panel counts them. A missing value is NaN.

    Raises
    ------
    InputError
        A file is missing, empty, malformed or no samples table, or no file has a finite sample:
        the message names the file and the column.
    """
    files = [file for path in paths for file in _files(Path(path))]
    if not files:
        raise InputError("no input file was given; name a Parquet or CSV file of samples")
    table = pa.concat_tables([_read(file) for file in files]).unify_dictionaries()
    if not np.isfinite(table.column("value").to_numpy()).any():
        names = ", ".join(str(f) for f in files[:3]) + (", …" if len(files) > 3 else "")
        raise InputError(f"{names}: none of the {len(table)} samples has a finite value")
    return table


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise InputError(f"{path}: no such file or directory")
    if not path.is_dir():
        if not path.name.lower().endswith(_SUFFIXES):
            raise InputError(f"{path}: expected a file ending in {', '.join(_SUFFIXES)}")
        return [path]
    found = sorted(
        f
        for f in path.rglob("*")
        if f.is_file()
        and f.name.lower().endswith(_SUFFIXES)
        and not any(part.startswith((".", "_")) for part in f.relative_to(path).parts)
    )
    if not found:
        raise InputError(f"{path}: the directory holds no file ending in {', '.join(_SUFFIXES)}")
    return found


def _read(file: Path) -> pa.Table:
    try:
        if file.stat().st_size == 0:
            raise InputError(f"{file}: the file is empty")
        is_parquet = file.name.lower().endswith(".parquet")
        table = pq.ParquetFile(file).read() if is_parquet else _read_csv(file)
        drop = [c for c in table.column_names if c in _INDEX_COLUMNS]
        table = require(table.drop_columns(drop), SAMPLES)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read: {_one_line(error)}") from error
    except FrameError as error:
        raise InputError(f"{file}: {error}") from error
    if not len(table):
        raise InputError(f"{file}: the file has columns and no row")
    for column in ("name", "metric"):
        if "" in table.column(column).unique().to_pylist():
            raise InputError(f"{file}: column {column!r} has empty values; every row needs one")
    at = table.schema.get_field_index("value")
    return table.set_column(at, table.schema.field(at), pc.fill_null(table.column(at), np.nan))


def _read_csv(file: Path) -> pa.Table:
    """Everything as text first, so that an error can name the row of a stamp or a value."""
    with pv.open_csv(file) as head:
        columns = head.schema.names
    options = pv.ConvertOptions(
        column_types={
            c: pa.string() if c == "value" else pa.dictionary(pa.int32(), pa.string())
            for c in columns
        },
        strings_can_be_null=False,
    )
    table = pv.read_csv(file, convert_options=options)
    for name, convert in (("ts", _stamps), ("value", _numbers)):
        if name in table.column_names:
            at = table.schema.get_field_index(name)
            table = table.set_column(at, name, convert(table.column(name), file))
    return table


def _stamps(column: pa.ChunkedArray, file: Path) -> pa.ChunkedArray:
    """ISO-8601 text to UTC; each distinct stamp is read once, since series share them."""
    unified = column.unify_dictionaries()
    texts = pd.Series(
        unified.chunk(0).dictionary.to_pylist() if unified.num_chunks else [], dtype=str
    )
    naive = [t for t in texts if not _ZONED.fullmatch(t)]
    if naive:
        raise InputError(
            f"{file}: column 'ts' has {naive[0]!r}: expected ISO-8601 with a time zone, such as "
            "2026-06-01T09:00:00Z or 2026-06-01T11:00:00+02:00; add the zone that the stamps are in"
        )
    try:
        stamps = pd.DatetimeIndex(pd.to_datetime(texts, format="ISO8601", utc=True))
    except (ValueError, pd.errors.OutOfBoundsDatetime) as error:
        raise InputError(
            f"{file}: column 'ts' holds no ISO-8601 stamps: {_one_line(error)}"
        ) from error
    read = pa.array(stamps.as_unit("ms").asi8).cast(SAMPLES.schema.field("ts").type)
    return pa.chunked_array([read.take(c.indices) for c in unified.chunks], type=read.type)


def _numbers(column: pa.ChunkedArray, file: Path) -> pa.ChunkedArray:
    """Text to double; empty is NaN, and NaN and ±Inf may be written as anyone writes them."""
    text = pc.call_function("utf8_trim_whitespace", [column])
    text = pc.call_function("utf8_ltrim", [text], pc.TrimOptions("+"))
    text = pc.call_function("if_else", [pc.call_function("equal", [text, ""]), "nan", text])
    try:
        return pc.cast(text, pa.float64())
    except pa.ArrowInvalid:
        pass
    for row, item in enumerate(text.to_pylist(), start=1):
        try:
            float(item)
        except ValueError as error:
            raise InputError(
                f"{file}: column 'value' of data row {row} has {item!r}: expected a number, "
                "or nothing where nothing was measured"
            ) from error
    return pa.chunked_array([[float(item) for item in text.to_pylist()]])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
