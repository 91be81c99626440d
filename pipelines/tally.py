"""What an ingest says: before, what it will pull and cost; after, what became of everything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from pipelines.adapters.source import Estimate, FetchReport
from pipelines.bill import usd
from pipelines.pulls import Pull, Wanted
from pipelines.run import Run
from pipelines.sources import EVERYTHING, meter, shown
from pipelines.spool import BUDGET_SPENT, Pulled

__all__ = ["Fates", "committed", "empty_text", "fates_of", "figures", "foresight", "told_counts"]

_NOTES = 3
"""So many notes of an estimate are told: each of 60 metrics may have one."""
_COUNTED = {
    "dropped_not_finite": "samples left out: not finite (stale, or 0/0)",
    "out_of_range": "samples left out: outside the metric's valid range",
    "duplicates": "samples left out: another of the same workload and stamp came after",
    "outside_window": "samples left out: not asked for",
    "outside_selection": "series left out: not in source.select",
    "unlabelled": "series left out: no name label",
    "histograms": "series left out: native histograms",
    "out_of_order": "samples sorted in: they came after a younger one",
    "off_grid": "samples put to the step that they fall into",
    "coarser": "samples at a longer step than asked for: the source has no finer ones",
    "partial": "answers that the source calls incomplete: kept, and asked for again next time",
    "split": "queries asked in parts: the source found them too large",
    "retries": "retries",
}


@dataclass(frozen=True, slots=True)
class Fates:
    """What became of each metric."""

    asked: tuple[str, ...]
    complete: tuple[str, ...]
    empty: tuple[str, ...]
    unpaid: tuple[str, ...]
    """Begun or not, and not ended: the budget was spent."""

    @property
    def skipped(self) -> dict[str, int]:
        """Reason → how many metrics."""
        counts = {"no sample": len(self.empty), "budget spent": len(self.unpaid)}
        return {reason: n for reason, n in counts.items() if n}


def fates_of(wanted: Sequence[Wanted], done: Iterable[Pulled], left_out: Iterable[Pull]) -> Fates:
    """In = complete + empty + unpaid + broken; the broken are the outcome's ``failed``."""
    done = list(done)
    got = {metric for p in done for metric in p.metrics}
    asked = tuple(dict.fromkeys(w.metric for w in wanted if w.metric != EVERYTHING))
    asked = asked or tuple(sorted(got))
    broken = {p.metric for p in done if p.ended not in {"", BUDGET_SPENT}}
    unpaid = {p.metric for p in done if p.ended == BUDGET_SPENT} | {p.metric for p in left_out}
    unpaid -= broken
    return Fates(
        asked,
        complete=tuple(m for m in asked if m in got - broken - unpaid),
        empty=tuple(m for m in asked if m not in got | broken | unpaid),
        unpaid=tuple(m for m in asked if m in unpaid),
    )


def foresight(run: Run, wanted: Sequence[Wanted]) -> str:
    """What will be pulled and what it will cost, in one line."""
    if not wanted:
        return f"nothing to pull from {shown(run)}: the store has all of it"
    total = sum((w.estimate for w in wanted), Estimate())
    first = min(start for w in wanted for start, _ in w.spans)
    last = max(end for w in wanted for _, end in w.spans)
    metrics = len({w.metric for w in wanted})
    if run.settings.source.kind == "files":
        return f"will read all samples of {shown(run)} before {_utc(last)}"
    text = (
        f"will pull {metrics} metrics, {total.series:,} series, about {total.samples:,} samples "
        f"from {_utc(first)} to {_utc(last)} from {shown(run)}"
    )
    if total.samples_processed:
        text += f"; the server will process about {total.samples_processed:,}"
    if total.metrics_requested:
        text += f"; CloudWatch will count {total.metrics_requested:,} metrics requested"
    if meter(run) != "free":
        text += f"; about {_money(usd(total, run.settings.ingest.prices, meter(run)))}"
    more = len(total.notes) - _NOTES
    return "; ".join(
        (text, *total.notes[:_NOTES], *([f"{more} more like that"] if more > 0 else []))
    )


def committed(done: Sequence[Pulled]) -> str:
    """One slice, when it is in the store."""
    samples = sum(p.report.samples for p in done)
    if done[0].metric == EVERYTHING:
        days = sorted({day for p in done for day in p.days})
        return f"{samples:,} samples from {days[0]} to {days[-1]} are in the store"
    spans = [span for p in done if p.report.samples for span in p.covered]
    spans = spans or [(p.start_ms, p.end_ms) for p in done]  # all of it partial
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    return f"{samples:,} samples from {_utc(first)} to {_utc(last)} are in the store"


def figures(run: Run, wanted: Sequence[Wanted], report: FetchReport) -> dict[str, float]:
    """What was foreseen and what came, for machines."""
    foreseen = sum((w.estimate for w in wanted), Estimate())
    prices, billed = run.settings.ingest.prices, meter(run)
    asking = foreseen.report
    return {
        "foreseen_series": float(foreseen.series),
        "foreseen_samples": float(foreseen.samples),
        "foreseen_samples_processed": float(foreseen.samples_processed),
        "foreseen_metrics_requested": float(foreseen.metrics_requested),
        "foreseen_usd": usd(foreseen, prices, billed),
        "samples": float(report.samples),
        "queries": float(report.queries + asking.queries),
        "bytes": float(report.bytes + asking.bytes),
        "samples_processed": float(report.samples_processed + asking.samples_processed),
        "metrics_requested": float(report.metrics_requested + asking.metrics_requested),
        "usd": usd(report + asking, prices, billed),
    }


def told_counts(wanted: Sequence[Wanted], report: FetchReport, fates: Fates) -> list[str]:
    """A line for everything that was not a plain answer.

    Of the asking before, only the retries: what its few steps showed, the pull has shown again.
    """
    before = sum(w.estimate.report.retries for w in wanted)
    report = replace(report, retries=report.retries + before)
    notes = [f"  {n:,} {what}" for key, what in _COUNTED.items() if (n := getattr(report, key))]
    if fates.empty:
        notes.append(f"  no sample of {', '.join(fates.empty)}")
    if fates.unpaid:
        notes.append(
            f"  the budget (ingest.budget) was spent before {', '.join(fates.unpaid)} ended; "
            "the next run goes on from there"
        )
    return [*notes, *(f"  the source warns: {w}" for w in report.warnings)]


def empty_text(run: Run, wanted: Sequence[Wanted], report: FetchReport) -> str:
    """Why the result is empty, as far as can be told."""
    first = min(start for w in wanted for start, _ in w.spans)
    last = max(end for w in wanted for _, end in w.spans)
    window = f"from {_utc(first)} to {_utc(last)} UTC"
    source = run.settings.source
    if source.kind == "files":
        return (
            f"source.paths: no sample before {_utc(last)} UTC in {', '.join(source.paths)}; "
            "check the files' stamps and --as-of"
        )
    return (
        f"{shown(run)} answered every query {window} with no sample "
        f"({len({w.metric for w in wanted})} metrics asked, catalog {source.catalog_name!r}, "
        f"{report.unlabelled} series without a `name` label, {report.dropped_not_finite} values "
        "not finite); check the window, and the queries with `foretide doctor`"
    )


def _utc(ms: int) -> str:
    return f"{pd.Timestamp(ms, unit='ms'):%Y-%m-%d %H:%M}"


def _money(amount: float) -> str:
    return f"{amount:.2f} USD" if amount >= 0.01 else f"{amount:.1g} USD" if amount else "0 USD"
