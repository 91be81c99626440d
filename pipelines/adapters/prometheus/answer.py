"""What a Prometheus query API answers to a range query, decoded.

The envelope is decoded first, each series' points left as text: a quarter of the time, and enough
to know how many series there are. The points of all series are then read at once as a column of
numbers: without brackets and quotes ``[[1700000000,"1.5"],[1700000300,"2"]]`` is CSV, and pyarrow
reads numbers as exactly as Python does. Whatever is not as expected there (escapes, blanks, junk)
is decoded again point by point, which works or says what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from pipelines.errors import QueryFailed

__all__ = ["Answer", "Points", "Series", "decode", "points_of", "strict_points_of"]

Points = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Points of each series (n_series,); all stamps in Unix milliseconds and values, (n_points,)."""

_LAST_MS = 253_402_300_800_000  # the year 10000
_QUOTE, _OPENING = b'"['
_TO_LINES = bytes.maketrans(b",", b"\n")
_RUN_BYTES = 1 << 22
_READ = csv.ReadOptions(column_names=["number"], block_size=_RUN_BYTES, use_threads=False)
_PARSE = csv.ParseOptions(quote_char=False, escape_char=False, ignore_empty_lines=False)
_CONVERT = csv.ConvertOptions(column_types={"number": pa.float64()}, null_values=[])


class Series(msgspec.Struct):
    """One series: its labels and the text of its ``[unix seconds, "value"]`` points."""

    metric: dict[str, str]
    values: msgspec.Raw = msgspec.Raw(b"[]")
    histograms: msgspec.Raw = msgspec.Raw(b"")
    """The text of the points of a native histogram."""

    @property
    def has_histograms(self) -> bool:
        """Whether there is such a point."""
        return bytes(self.histograms) not in (b"", b"[]", b"null")


class _Samples(msgspec.Struct, frozen=True):
    totalQueryableSamples: int = 0  # noqa: N815 - as it is called


class _Stats(msgspec.Struct, frozen=True):
    samples: _Samples = _Samples()


class _Data(msgspec.Struct):
    result: list[Series] | None = None
    """Some front ends write null for an empty matrix."""
    stats: _Stats | None = None


class Answer(msgspec.Struct):
    """The envelope of a query's answer; fields that we do not read are passed over."""

    status: str
    data: _Data | None = None
    error: str = ""
    warnings: list[str] | None = None
    infos: list[str] | None = None
    isPartial: bool = False  # noqa: N815 - VictoriaMetrics' name

    @property
    def series(self) -> list[Series]:
        """The series that have plain numbers."""
        return [one for one in self._every if not one.has_histograms or bytes(one.values) != b"[]"]

    @property
    def histograms(self) -> list[Series]:
        """The series that have native histograms, alone or beside numbers."""
        return [one for one in self._every if one.has_histograms]

    @property
    def _every(self) -> list[Series]:
        return (self.data.result if self.data else None) or []

    @property
    def samples_processed(self) -> int:
        """What the server read for it; 0 where it does not say."""
        stats = self.data.stats if self.data else None
        return stats.samples.totalQueryableSamples if stats else 0

    @property
    def incomplete(self) -> bool:
        """Whether samples are missing that the server has or should have.

        A warning is of a store or a shard that did not answer, except those that PromQL's engine
        gives about the query itself: asking again changes nothing there.
        """
        return self.isPartial or any(not w.startswith("PromQL ") for w in self.warnings or ())

    @property
    def remarks(self) -> list[str]:
        """Everything the server said beside the samples."""
        mark = ["partial response"] * self.isPartial
        return list(dict.fromkeys([*(self.warnings or ()), *mark, *(self.infos or ())]))


def decode(body: bytes | bytearray) -> Answer:
    """The envelope.

    Raises
    ------
    msgspec.MsgspecError
        It is no such answer.
    """
    try:
        return msgspec.json.decode(body, type=Answer)
    except UnicodeDecodeError:  # VictoriaMetrics keeps labels that are no UTF-8 as they came
        return msgspec.json.decode(body.decode(errors="replace"), type=Answer)


def points_of(series: Sequence[Series], metric: str) -> Points:
    """All points.

    Raises
    ------
    QueryFailed
        A point is no ``[seconds, "number"]``.
    """
    parts = [_points(run, metric) for run in _runs(series)]
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    lengths, ts_ms, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    return lengths, ts_ms, value


def _runs(series: Sequence[Series]) -> Iterator[Sequence[Series]]:
    """Series after series, as many at once as the processor's cache takes."""
    size, start = 0, 0
    for end, one in enumerate(series, 1):
        size += memoryview(one.values).nbytes
        if size >= _RUN_BYTES or end == len(series):
            yield series[start:end]
            size, start = 0, end


def _points(series: Sequence[Series], metric: str) -> Points:
    raw = [memoryview(one.values) for one in series]
    there = np.array([bytes(text[:3]) != b"[]" for text in raw])
    numbers, counts = _columns([text for text, any_ in zip(raw, there, strict=True) if any_])
    if numbers is None:
        return strict_points_of(series, metric)
    lengths = np.zeros(len(raw), dtype=np.int64)
    lengths[there] = counts
    return lengths, _millis(numbers[::2], metric), numbers[1::2]


def _columns(
    raw: Sequence[memoryview],
) -> tuple[NDArray[np.float64] | None, NDArray[np.int64]]:
    """Stamps and values in turn, (2 * n_points,), and the points of each text, (n_texts,).

    No numbers where a text is not as expected.
    """
    text = b",".join(raw)
    if not text:
        return np.empty(0), np.empty(0, dtype=np.int64)
    # bytes.count takes five times as long where there is much to count
    characters = np.frombuffer(text, dtype=np.uint8)
    quotes, ends = characters == _QUOTE, np.cumsum([t.nbytes + 1 for t in raw])
    starts = np.concatenate(([0], ends[:-1]))
    counts = np.array(
        [np.count_nonzero(quotes[a:b]) for a, b in zip(starts, ends, strict=True)], dtype=np.int64
    )
    expected = int(counts.sum())
    if (counts % 2).any() or np.count_nonzero(characters == _OPENING) != expected // 2 + len(raw):
        return None, counts
    del characters, quotes
    if b"+Inf" in text:  # Go's sign, which pyarrow does not read; elsewhere it is an exponent's
        text = text.replace(b'"+Inf"', b'"Inf"')
    lines = text.translate(_TO_LINES, b'[]"')
    try:
        table = csv.read_csv(pa.py_buffer(lines), _READ, _PARSE, _CONVERT)
    except pa.ArrowInvalid:
        return None, counts
    column = table.column("number")
    if len(column) != expected or column.null_count:
        return None, counts
    return column.to_numpy(), counts // 2


def strict_points_of(series: Sequence[Series], metric: str) -> Points:
    """The same point by point."""
    try:
        every = [msgspec.json.decode(one.values, type=list[tuple[float, str]]) for one in series]
        points = list(chain.from_iterable(every))
        value = np.fromiter((_number(p[1]) for p in points), np.float64, len(points))
    except (ValueError, msgspec.MsgspecError) as error:
        raise QueryFailed(
            f"metric {metric!r}: the server sent a point that is none: {error}"
        ) from error
    seconds = np.fromiter((p[0] for p in points), np.float64, len(points))
    return np.array([len(one) for one in every], dtype=np.int64), _millis(seconds, metric), value


def _number(text: str) -> float:
    if "_" in text:  # Python's, not Go's
        raise ValueError(f"could not convert string to float: {text!r}")
    return float(text)  # knows "NaN", "+Inf" and "-Inf"


def _millis(seconds: NDArray[np.float64], metric: str) -> NDArray[np.int64]:
    ms = np.rint(seconds * 1000)
    if not (np.abs(ms) < _LAST_MS).all():
        worst = seconds[np.abs(ms).argmax()]
        raise QueryFailed(f"metric {metric!r}: the server sent a stamp that is none: {worst}")
    return ms.astype(np.int64)
