"""What was pulled: half-open spans of time for each query, and what is therefore still missing.

Back-fill, gap-fill and the next run are one question: ``missing`` of a window. A span is written
after its samples are in the store, so that a crash between the two only pulls them again.

Spans are Unix milliseconds ``[start, end)``, sorted, disjoint and not adjacent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec
import numpy as np

from features.frames import FrameError

__all__ = [
    "Coverage",
    "CoverageKey",
    "Spans",
    "clip",
    "decode",
    "encode",
    "forget",
    "merge",
    "missing",
    "normal",
    "subtract",
    "union",
]

Spans = tuple[tuple[int, int], ...]

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class CoverageKey:
    """Whose samples: another query, selection or step is another pull.

    Attributes
    ----------
    source : the address and kind of the source, without credentials
    metric : logical name
    shard : the selection, such as namespaces; empty where there is none
    query_digest : of the query's text
    step_s : distance of the stamps
    """

    source: str
    metric: str
    shard: str
    query_digest: str
    step_s: float

    @property
    def file(self) -> str:
        """``<hash>.json``: the parts are data and never become a path."""
        text = msgspec.json.encode(self)
        return hashlib.sha256(text).hexdigest()[:32] + ".json"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was pulled of one query.

    Attributes
    ----------
    spans : what the source has answered in full
    days : the UTC dates, ISO, into which samples were written; an empty answer writes none
    series, processed_per_step
        How many series the last pull had, and how many samples the server read for each step: what
        the next one will be like. 0 where that is not known.
    """

    spans: Spans = ()
    days: tuple[str, ...] = ()
    series: int = 0
    processed_per_step: float = 0.0

    @property
    def end_ms(self) -> int | None:
        """Where the newest span ends."""
        return self.spans[-1][1] if self.spans else None

    def since(self, start_ms: int) -> Coverage:
        """What of it is at or after a moment; a day that the moment cuts stays."""
        first = _day_of(start_ms)
        return Coverage(
            tuple((max(a, start_ms), b) for a, b in self.spans if b > start_ms),
            tuple(d for d in self.days if d >= first),
            self.series,
            self.processed_per_step,
        )


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    key: CoverageKey
    spans: list[tuple[int, int]]
    days: list[str]
    series: int = 0
    processed_per_step: float = 0.0


def normal(spans: Iterable[tuple[int, int]]) -> Spans:
    """Sorted, joined where they touch, without empty ones."""
    out: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if end <= start:
            continue
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return tuple(out)


def union(one: Spans, other: Spans) -> Spans:
    """What is in either."""
    return normal((*one, *other))


def subtract(one: Spans, other: Spans) -> Spans:
    """What is in the first and not in the second."""
    out: list[tuple[int, int]] = []
    for start, end in one:
        for a, b in other:
            if b <= start or a >= end:
                continue
            out.append((start, a))
            start = b  # noqa: PLW2901 - what is left of this span
        out.append((start, end))
    return normal(out)


def clip(spans: Spans, start_ms: int, end_ms: int) -> Spans:
    """What is in ``[start_ms, end_ms)``."""
    return normal((max(a, start_ms), min(b, end_ms)) for a, b in spans)


def merge(one: Coverage, other: Coverage) -> Coverage:
    """What both have covered; neither order nor repetition matters. The other one is the newer."""
    newer = other if other.series else one
    return Coverage(
        union(one.spans, other.spans),
        tuple(sorted({*one.days, *other.days})),
        newer.series,
        newer.processed_per_step,
    )


def forget(coverage: Coverage, days: Collection[str]) -> Coverage:
    """The same without these days, where samples were written into them."""
    gone = sorted(set(days).intersection(coverage.days))
    return Coverage(
        subtract(coverage.spans, normal(_day_span(d) for d in gone)),
        tuple(d for d in coverage.days if d not in gone),
        coverage.series,
        coverage.processed_per_step,
    )


def missing(
    coverage: Coverage,
    window_start_ms: int,
    window_end_ms: int,
    reread_ms: int,
    days_there: Collection[str],
) -> Spans:
    """The spans of a window that are to be pulled.

    What was never pulled; the last ``reread_ms`` before the newest covered end, for samples that
    came late; and days into which samples were written and whose file is gone, e.g. because a
    damaged one was moved away.
    """
    lost = [_day_span(d) for d in coverage.days if d not in days_there]
    late = [(coverage.end_ms - reread_ms, coverage.end_ms)] if coverage.end_ms is not None else []
    never = subtract(normal([(window_start_ms, window_end_ms)]), coverage.spans)
    return clip(normal((*never, *late, *lost)), window_start_ms, window_end_ms)


def encode(key: CoverageKey, coverage: Coverage) -> bytes:
    """JSON; the same coverage is the same bytes."""
    document = _Document(
        1,
        key,
        list(coverage.spans),
        list(coverage.days),
        coverage.series,
        coverage.processed_per_step,
    )
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def decode(text: bytes) -> tuple[CoverageKey, Coverage]:
    """What ``encode`` has written.

    Raises
    ------
    FrameError
        The text is none of it, or of another version.
    """
    try:
        document = msgspec.json.decode(text, type=_Document)
        days = tuple(_day_of(_day_span(d)[0]) for d in document.days)
    except (msgspec.DecodeError, ValueError) as error:
        raise FrameError(f"coverage: {error}") from error
    if document.version != 1:
        raise FrameError(f"coverage: version {document.version} cannot be read by this release")
    spans = normal(document.spans)
    return document.key, Coverage(spans, days, document.series, document.processed_per_step)


def _day_span(date: str) -> tuple[int, int]:
    start = int(np.datetime64(date, "D").astype(np.int64)) * _DAY_MS
    return start, start + _DAY_MS


def _day_of(ms: int) -> str:
    return str(np.datetime64(ms // _DAY_MS, "D"))
