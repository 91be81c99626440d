"""The tables of a report, looked up by workload once instead of searched for every row."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel
from pipelines.report.data import ReportData, ReportParams, Row, history_panel, records, utc

__all__ = ["Index", "Run", "to_ms"]

_MAX_GRID = 50_000
_DEMAND = ("requests_per_second", "cpu_usage_cores")
_LEAK = (
    "workload", "metric", "issued_at", "slope_per_h", "slope_per_h_lower", "slope_per_h_upper",
    "value", "limit", "time_to_limit_p10_s", "time_to_limit_p50_s", "time_to_limit_p90_s", "score",
)  # fmt: skip
_QUANTILES = ("q05", "q50", "q95")
_PLAN = ("workload", "ts_from", "ts_to", "floor_from", "floor_to", "mode", "reason")
_SCORE = ("metric", "ts", "detector", "score", "value", "reason")


@dataclass(frozen=True, slots=True)
class Run:
    """Columns issued at one moment on a regular grid of (start, step); NaN where there is a gap."""

    issued_ms: int
    start_ms: int
    step_ms: int
    columns: dict[str, Floats]


@dataclass(frozen=True, slots=True)
class Index:
    """Everything of a report by workload; the order of ``workloads`` is the page's numbering."""

    data: ReportData
    params: ReportParams
    panel: Panel | None
    workloads: list[str]
    series: dict[tuple[str, str], int]
    forecasts: dict[str, dict[str, list[Run]]]
    capacity: dict[str, list[Run]]
    anomalies: dict[str, pd.DataFrame]
    leaks: dict[str, list[Row]]
    plan: dict[str, list[Row]]
    deploys: dict[str, list[int]]
    skips: dict[str, list[Row]]

    @classmethod
    def of(cls, data: ReportData, params: ReportParams) -> Index:
        """Group every table once."""
        panel = history_panel(data.history)
        keys = [] if panel is None else panel.keys[["workload", "metric"]].astype(str).to_numpy()
        series = {(str(w), str(m)): row for row, (w, m) in enumerate(keys)}
        forecasts: dict[str, dict[str, list[Run]]] = defaultdict(dict)
        for (w, m), runs in _runs(data.forecasts, ("workload", "metric"), _QUANTILES):
            forecasts[w][m] = runs
        wanted = ("replicas", "reactive_replicas", "lead_time_s")
        capacity = {w: runs for (w,), runs in _runs(data.capacity, ("workload",), wanted)}
        anomalies = _anomalies(data.scores)
        leaks = _by_workload(_latest_leaks(data.leaks, _moments(data.restarts)))
        plan = _by_workload(records(pd.DataFrame(list(data.plan)), *_PLAN))
        skips = _by_workload(records(data.skips, "workload", "metric", "step", "reason"))
        deploys = _moments(data.deploys)
        known: set[str] = {w for w, _ in series}
        for table in (forecasts, capacity, anomalies, leaks, plan, skips):
            known |= table.keys()
        known |= {str(w) for w in data.backtest.get("workload", pd.Series(dtype=str)).unique()}
        return cls(
            data, params, panel, sorted(known), series, dict(forecasts), capacity, anomalies,
            leaks, plan, deploys, skips,
        )  # fmt: skip

    @property
    def as_of_ms(self) -> int:
        """The report's moment."""
        at = utc(self.data.as_of)
        return 0 if at is None else int(at.timestamp() * 1000)

    def measured(self, workload: str, metric: str) -> Floats | None:
        """The measured series on the panel's grid, or nothing where there is not one value."""
        row = self.series.get((workload, metric))
        if row is None or self.panel is None:
            return None
        values = self.panel.values[row]
        return values if np.isfinite(values).any() else None

    def demand_metrics(self, workload: str) -> list[str]:
        """What the forecasts are of; without one, the first usual demand that was measured."""
        there = self.forecasts.get(workload, {})
        if there:
            return [m for m in _DEMAND if m in there] + sorted(set(there) - set(_DEMAND))
        return [m for m in _DEMAND if self.measured(workload, m) is not None][:1]


def to_ms(stamps: pd.Series) -> NDArray[np.int64]:
    """UTC stamps of any resolution as milliseconds."""
    stamps = pd.to_datetime(stamps, utc=True).dt.as_unit("ms")
    return np.asarray(stamps.astype("int64"), dtype=np.int64)


def _by_workload(rows: list[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[str(row["workload"])].append(row)
    return dict(grouped)


def _runs(
    frame: pd.DataFrame, by: tuple[str, ...], columns: tuple[str, ...]
) -> list[tuple[tuple[str, ...], list[Run]]]:
    """Groups of rows that were issued together, oldest first, each cut where the next begins."""
    if frame.empty:
        return []
    frame = frame.assign(**{b: frame[b].astype(str) for b in by}).dropna(subset=["issued_at", "ts"])
    frame = frame.sort_values([*by, "issued_at", "ts"], kind="stable")
    labels = [frame[b].to_numpy(dtype=object) for b in by]
    issued, ts = to_ms(frame["issued_at"]), to_ms(frame["ts"])
    values = frame.reindex(columns=list(columns)).to_numpy(dtype=np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    new = np.zeros(len(frame), dtype=bool)
    new[:1] = True
    for key in (*labels, issued):
        new[1:] |= key[1:] != key[:-1]
    begins = np.flatnonzero(new)
    grouped: dict[tuple[str, ...], list[Run]] = {}
    for lo, hi in zip(begins, np.r_[begins[1:], len(frame)], strict=True):
        key = tuple(str(label[lo]) for label in labels)
        run = _on_grid(int(issued[lo]), ts[lo:hi], values[lo:hi], columns)
        grouped.setdefault(key, []).append(run)
    return [(key, _handed_over(runs)) for key, runs in grouped.items()]


def _on_grid(
    issued_ms: int, ts: NDArray[np.int64], values: Floats, columns: tuple[str, ...]
) -> Run:
    start, span = int(ts[0]), int(ts[-1] - ts[0])
    step = int(np.gcd.reduce(np.diff(ts))) if len(ts) > 1 else 0
    step = max(step or 3_600_000, span // _MAX_GRID, 1)
    grid = np.full((span // step + 1, len(columns)), np.nan)
    grid[(ts - start) // step] = values
    return Run(issued_ms, start, step, {c: grid[:, i] for i, c in enumerate(columns)})


def _handed_over(runs: list[Run]) -> list[Run]:
    """Each run until the next begins, and again from where all that came later end: one that
    reaches a few hours leaves the hours after them to the one before. The newest stays the last."""
    out: list[Run] = []
    begins, ends = 0, 0
    for run in reversed(runs):
        steps = len(next(iter(run.columns.values())))
        until = from_ = steps
        if out:
            until = min(steps, -(-(begins - run.start_ms) // run.step_ms))
            from_ = max(-(-(ends - run.start_ms) // run.step_ms), until)
        out += [_cut(run, lo, hi) for lo, hi in ((from_, steps), (0, until)) if lo < hi]
        begins, ends = run.start_ms, max(ends, _end_ms(run))
    return _joined(out[::-1])


def _joined(runs: list[Run]) -> list[Run]:
    """Runs that follow each other without a gap as one, the newest last: issued every step, each
    alone would be a point and no line."""
    groups: list[list[Run]] = []
    for run in sorted(runs, key=lambda r: r.start_ms):
        last = groups[-1][-1] if groups else None
        if last is not None and run.step_ms == last.step_ms and run.start_ms == _end_ms(last):
            groups[-1].append(run)
        else:
            groups.append([run])
    whole = [
        Run(
            max(r.issued_ms for r in group),
            group[0].start_ms,
            group[0].step_ms,
            {c: np.concatenate([r.columns[c] for r in group]) for c in group[0].columns},
        )
        for group in groups
    ]
    return sorted(whole, key=lambda r: r.issued_ms)


def _end_ms(run: Run) -> int:
    return run.start_ms + len(next(iter(run.columns.values()))) * run.step_ms


def _cut(run: Run, lo: int, hi: int) -> Run:
    columns = {c: v[lo:hi] for c, v in run.columns.items()}
    return Run(run.issued_ms, run.start_ms + lo * run.step_ms, run.step_ms, columns)


def _anomalies(scores: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Points that score 1 or more, by workload; of several detectors the strongest."""
    if scores.empty:
        return {}
    hot = scores[np.isfinite(scores["score"]) & (scores["score"] >= 1)].dropna(subset=["ts"])
    if hot.empty:
        return {}
    hot = hot.reindex(columns=["workload", *_SCORE])
    hot = hot.assign(**{c: hot[c].astype(str) for c in ("workload", "metric", "detector")})
    hot = hot.sort_values(["workload", "metric", "ts", "score", "detector"], kind="stable")
    hot = hot.drop_duplicates(["workload", "metric", "ts"], keep="last")
    hot = hot.assign(ts_ms=to_ms(hot["ts"]), reason=hot["reason"].fillna(""))
    return {str(w): part for w, part in hot.groupby("workload", observed=True)}


def _latest_leaks(leaks: pd.DataFrame, restarts: dict[str, list[int]]) -> list[Row]:
    """The newest row of every series that leaked, and when it was first seen.

    ``restarted_ms`` is when the workload restarted since, if it did; ``over`` says that a newer
    verdict no longer calls it a leak. A score below 1 is no leak.
    """
    rows = [r | {"issued_at": at} for r in records(leaks, *_LEAK) if (at := utc(r["issued_at"]))]
    latest: dict[tuple[str, str], Row] = {}
    for row in sorted(rows, key=lambda r: r["issued_at"]):
        key = (str(row["workload"]), str(row["metric"]))
        known = latest.get(key)
        if _below_one(row["score"]):
            latest |= {key: known | {"over": True}} if known else {}
            continue
        mine = {"workload": key[0], "metric": key[1], "over": False}
        latest[key] = row | mine | {"first_at": known["first_at"] if known else row["issued_at"]}
    return [latest[k] | {"restarted_ms": _since(latest[k], restarts)} for k in sorted(latest)]


def _since(leak: Row, restarts: dict[str, list[int]]) -> int | None:
    """The last restart after the leak was last seen."""
    seen = leak["issued_at"].timestamp() * 1000
    return max((at for at in restarts.get(leak["workload"], []) if at > seen), default=None)


def _moments(events: pd.DataFrame) -> dict[str, list[int]]:
    """Workload → when it happened, in milliseconds."""
    return {
        w: [int(at.timestamp() * 1000) for r in rows if (at := utc(r["ts"])) is not None]
        for w, rows in _by_workload(records(events, "workload", "ts")).items()
    }


def _below_one(score: Any) -> bool:
    return score is not None and score < 1
