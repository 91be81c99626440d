"""Samples tables written as CSV."""

from __future__ import annotations

import re

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from features.frames import SAMPLES
from pipelines.adapters.files.find import File
from pipelines.adapters.source import shorten
from pipelines.errors import InputError

__all__ = ["read_csv"]

_ZONED = re.compile(r".*\d(Z|z|[+-]\d\d(:?\d\d)?)", re.DOTALL)
_PARSE = pv.ParseOptions(newlines_in_values=True)


def read_csv(file: File) -> pa.Table:
    """The columns as they are, ``ts`` as UTC stamps and ``value`` as doubles.

    Everything is read as text first, so that an error can name the row of a stamp or a value.

    Raises
    ------
    InputError
        A stamp or a value cannot be read.
    """
    with file.unpacked() as stream, pv.open_csv(stream, parse_options=_PARSE) as head:
        columns = head.schema.names
    options = pv.ConvertOptions(
        column_types={
            c: pa.string() if c == "value" else pa.dictionary(pa.int32(), pa.string())
            for c in columns
        },
        strings_can_be_null=False,
    )
    with file.unpacked() as stream:
        table = pv.read_csv(stream, parse_options=_PARSE, convert_options=options)
    for name, convert in (("ts", _stamps), ("value", _numbers)):
        if name in table.column_names:
            at = table.schema.get_field_index(name)
            table = table.set_column(at, name, convert(table.column(name), file))
    return table


def _stamps(column: pa.ChunkedArray, file: File) -> pa.ChunkedArray:
    """ISO-8601 text to UTC; each distinct stamp is read once, since series share them."""
    unified = column.unify_dictionaries()
    texts = pd.Series(
        unified.chunk(0).dictionary.to_pylist() if unified.num_chunks else [], dtype=str
    )
    naive = [t for t in texts if not _ZONED.fullmatch(t)]
    if naive:
        raise InputError(
            f"{file.name}: column 'ts' has {naive[0]!r}: expected ISO-8601 with a time zone, such "
            "as 2026-06-01T09:00:00Z or 2026-06-01T11:00:00+02:00; add the zone that the stamps "
            "are in"
        )
    try:
        stamps = pd.DatetimeIndex(pd.to_datetime(texts, format="ISO8601", utc=True))
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{file.name}: column 'ts' holds no ISO-8601 stamps: {shorten(str(error))}"
        ) from error
    read = pa.array(stamps.as_unit("ms").asi8).cast(SAMPLES.schema.field("ts").type)
    return pa.chunked_array([read.take(c.indices) for c in unified.chunks], type=read.type)


def _numbers(column: pa.ChunkedArray, file: File) -> pa.ChunkedArray:
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
                f"{file.name}: column 'value' of data row {row} has {item!r}: expected a number, "
                "or nothing where nothing was measured"
            ) from error
    return pa.chunked_array([[float(item) for item in text.to_pylist()]])
