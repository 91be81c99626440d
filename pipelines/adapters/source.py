"""What every source of metrics is: ``estimate`` and ``fetch`` of one metric over one window.

A source is a client of one outside system, made with its credentials and its cluster's name. It
keeps nothing between calls: what was pulled is the store's to know. The laws that hold for all of
them are tests (``tests/kit/source_contract.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Protocol, runtime_checkable

import pandas as pd
import pyarrow as pa

from features.metrics import Metric

__all__ = ["Chunk", "Estimate", "FetchReport", "Source", "Spec", "Window", "shorten"]


@dataclass(frozen=True, slots=True)
class Window:
    """The stamps ``first_ms, first_ms + step_ms, … < end_ms``, Unix milliseconds.

    ``first_ms`` is a multiple of ``step_ms``, so that every source means the same grid.
    """

    first_ms: int
    end_ms: int
    step_ms: int

    @classmethod
    def of(cls, start: pd.Timestamp, end: pd.Timestamp, step: pd.Timedelta) -> Window:
        """``[start floored to the step, end)``.

        Raises
        ------
        ValueError
            A stamp has no time zone, or the step is not whole milliseconds above 0.
        """
        if start.tz is None or end.tz is None:
            raise ValueError(f"start and end must have a time zone, got {start} and {end}")
        step_ms = step / pd.Timedelta(1, "ms")
        if not step_ms >= 1 or step_ms != int(step_ms):
            raise ValueError(f"step must be whole milliseconds above 0, got {step}")
        start_ms, end_ms = (int(t.value) // 10**6 for t in (start, end))
        return cls(start_ms // int(step_ms) * int(step_ms), end_ms, int(step_ms))

    @property
    def steps(self) -> int:
        """How many stamps it has."""
        return max(0, -(-(self.end_ms - self.first_ms) // self.step_ms))

    @property
    def last_ms(self) -> int:
        """The last stamp; before ``first_ms`` where there is none."""
        return self.first_ms + (self.steps - 1) * self.step_ms


@dataclass(frozen=True, slots=True)
class Spec:
    """What is asked for: one metric of the catalog, restricted to some label values.

    Attributes
    ----------
    metric : with the source's own query in it
    select
        Label (``cluster`` or ``namespace``) → values; a series must have one of them. Empty: no
        restriction. The values are data: whoever puts them into a query escapes them.
    """

    metric: Metric
    select: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What happened on the way; reports add up, each series is counted in one of them only.

    Everything that is not a plain answer has a count of its own, so that nothing is lost in
    silence.
    """

    queries: int = 0
    """Requests that were answered."""
    series: int = 0
    samples: int = 0
    dropped_not_finite: int = 0
    """NaN and ±Inf: stale markers, 0/0."""
    duplicates: int = 0
    """Samples of one workload at one stamp; the last one is kept."""
    out_of_order: int = 0
    """Samples that came after a younger one of their series; they are sorted in."""
    outside_window: int = 0
    outside_selection: int = 0
    """Series that the selection did not ask for and that came all the same; left out."""
    out_of_range: int = 0
    """Values that the catalog says cannot be true; left out."""
    off_grid: int = 0
    """Samples between two stamps of the grid; kept at the stamp before them."""
    unlabelled: int = 0
    """Series without a ``name`` label: nobody can say whose they are, so they are left out."""
    histograms: int = 0
    """Series of native histograms, which no query of ours asks for; left out."""
    retries: int = 0
    split: int = 0
    """Queries that the server found too large and that were asked in halves."""
    partial: int = 0
    """Answers that the source itself calls incomplete: kept, and asked for again next time."""
    coarser: int = 0
    """Samples that the source only has at a longer step than asked for."""
    bytes: int = 0
    samples_processed: int = 0
    """What the server read for the answers; AMP's unit of price."""
    metrics_requested: int = 0
    """Metrics in ``GetMetricData`` requests; CloudWatch's unit of price."""
    list_requests: int = 0
    """``ListMetrics`` requests of CloudWatch."""
    warnings: tuple[str, ...] = ()

    def __add__(self, other: FetchReport) -> FetchReport:
        """Counts summed, warnings once each."""
        counts = {
            f.name: getattr(self, f.name) + getattr(other, f.name)
            for f in fields(self)
            if f.name != "warnings"
        }
        both = tuple(dict.fromkeys((*self.warnings, *other.warnings)))
        return FetchReport(**counts, warnings=both)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of an answer.

    Attributes
    ----------
    samples : a samples table, may be empty; stamps are multiples of the window's step
    window : the part of the asked window that this piece covers, also where nothing was measured
    report : what was counted while making it
    """

    samples: pa.Table
    window: Window
    report: FetchReport

    @property
    def complete(self) -> bool:
        """Whether the source says that this is all there is; if not, it is asked again later."""
        return self.report.partial == 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a fetch will pull and what it will be billed for; estimates add up."""

    series: int = 0
    samples: int = 0
    """That come back, if no step is empty."""
    queries: int = 0
    samples_processed: int = 0
    """AMP's unit of price; 0 where the server does not say."""
    metrics_requested: int = 0
    """CloudWatch's unit of price."""
    list_requests: int = 0
    report: FetchReport = FetchReport()
    """What asking for the estimate itself has cost."""
    notes: tuple[str, ...] = ()
    """What the user should know before, e.g. that old samples come back coarser."""

    def __add__(self, other: Estimate) -> Estimate:
        """Counts summed, notes once each."""
        counts = {
            f.name: getattr(self, f.name) + getattr(other, f.name)
            for f in fields(self)
            if f.name != "notes"
        }
        return Estimate(**counts, notes=tuple(dict.fromkeys((*self.notes, *other.notes))))


@runtime_checkable
class Source(Protocol):
    """One outside system that has metrics."""

    def estimate(self, spec: Spec, window: Window) -> Estimate:
        """What ``fetch`` would pull, found out by asking for a small part of it.

        Raises
        ------
        SourceError
            The source cannot be reached or refuses.
        """
        ...

    def fetch(self, spec: Spec, window: Window) -> Iterator[Chunk]:
        """All samples of one metric in the window, in pieces that follow each other in time.

        The pieces' windows cover the whole window. A metric that the source does not have is no
        error: its pieces are empty. A piece has at most one sample of a workload and a stamp.

        Raises
        ------
        ConfigError
            The metric has no query, or one that this source cannot read.
        SourceUnreachable, QueryFailed, AccessDenied
            While iterating: no answer after the retries; the source refuses.
        """
        ...


def shorten(text: str, length: int = 300) -> str:
    """One line of at most ``length`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
