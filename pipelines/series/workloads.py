"""Series of the workloads: scores, leaks, incidents, forecasts, capacity, the plan, accuracy.

What is past its ``valid_until`` at the run's clock is left out and counted: whoever reads a series
may act on it. Tables without that column get it here: a leak may be used as long as a score after
the hour in which leaks are judged next, an incident as long as a score, an evaluation for two of
its windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from features.frames import ACCURACY, INCIDENTS, LEAKS, SCORES, Contract
from models.actions import floors_at
from pipelines.errors import StoreError
from pipelines.plans import newest_plan, read_plan
from pipelines.run import Run
from pipelines.score_rows import SILENCED
from pipelines.series.ahead import capacity_series, forecast_series
from pipelines.series.gauge import Gauge
from pipelines.series.names import gauge
from pipelines.series.reaching import newest_parts
from pipelines.series.told import Told, fresh, workload_columns

__all__ = ["Gathered", "gather_workloads", "workload_gauges"]

_LEAK = 1.0
_SEVERITIES = ("critical", "warning")
_TIME_TO_LIMIT = {"0.1": "time_to_limit_p10_s", "0.5": "time_to_limit_p50_s",
                  "0.9": "time_to_limit_p90_s"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gathered:
    """All families of the workloads; table → series left out; tables that cannot be read; lines
    for a person."""

    gauges: tuple[Gauge, ...]
    stale: dict[str, int]
    broken: tuple[str, ...]
    notes: tuple[str, ...]


def workload_gauges(run: Run) -> list[Gauge]:
    """The families of the workloads at the run's clock."""
    return list(gather_workloads(run).gauges)


def gather_workloads(run: Run) -> Gathered:
    """The same, with what was left out. A table that is damaged keeps the others from nobody."""
    makers: tuple[Callable[[Run], Told], ...] = (
        _scores,
        forecast_series,
        capacity_series,
        _leaks,
        _accuracy,
        _plan,
    )
    told: list[Told] = []
    broken: list[str] = []
    for maker in (*makers, lambda r: _incidents(r, told)):
        try:
            told.append(maker(run))
        except StoreError as error:
            broken.append(str(error))
    ends = {t.table: t.valid_until for t in told if t.valid_until is not None}
    until = gauge(
        "foretide_valid_until_timestamp_seconds",
        pd.DataFrame({"table": pd.Series(list(ends), dtype="str")}),
        np.array([at.timestamp() for at in ends.values()], dtype=np.float64),
    )
    families = [g for t in told for g in t.gauges]
    return Gathered(
        (*families, until),
        {t.table: t.stale for t in told if t.stale},
        tuple(broken),
        tuple(line for t in told for line in t.notes),
    )


def _scores(run: Run) -> Told:
    """The last score of each series and detector that the newest run gave."""
    columns = ("workload", "metric", "ts", "detector", "score", "severity", "valid_until")
    wanted = run.settings.publish.metrics
    found = [_last_of_each(run.store.read(SCORES, part=p, columns=columns))
             for p in newest_parts(run, SCORES)]  # fmt: skip
    rows = _joined(found, SCORES, columns)
    if wanted:
        rows = rows[rows["metric"].isin(wanted)]
    # a series that has gone silent keeps an old score in a run over a longer stretch
    own_end = rows["ts"] + pd.Timedelta(run.settings.detect.valid_for_h, "h")
    end = rows["valid_until"].where(rows["valid_until"] < own_end, own_end)
    rows, stale, until = fresh(rows, end, run.as_of)
    hushed = (rows["severity"] == SILENCED).to_numpy(dtype=bool)
    told = rows[~hushed & rows["score"].notna().to_numpy()]
    notes = (f"  {hushed.sum()} scores are silenced and not sent",) if hushed.any() else ()
    return Told("scores", (_family("foretide_anomaly_score", told, "score", "metric", "detector"),),
                until, stale, notes)  # fmt: skip


def _last_of_each(table: pa.Table) -> pd.DataFrame:
    """The newest row of each workload, metric and detector of one part."""
    key = np.zeros(len(table), dtype=np.int64)
    for label in ("workload", "metric", "detector"):
        words = table[label].combine_chunks()
        key = key * max(len(words.dictionary), 1) + words.indices.to_numpy()
    ts = table["ts"].cast(pa.int64()).to_numpy()
    order = np.lexsort((ts, key))
    ends = np.flatnonzero(np.r_[np.diff(key[order]) != 0, True][: len(order)])
    return table.take(pa.array(order[ends])).to_pandas()


def _leaks(run: Run) -> Told:
    """Time to the limit of what was a leak when it was judged last."""
    hours = run.settings.detect.valid_for_h
    lasts = pd.Timedelta(hours, "h") + pd.Timedelta(run.settings.detect.leak_every_s, "s")
    columns = ("workload", "metric", "issued_at", "score", *_TIME_TO_LIMIT.values())
    # runs in between two judgements have no row
    parts = run.parts(LEAKS, run.as_of - 2 * lasts) or newest_parts(run, LEAKS)
    found = [run.store.read(LEAKS, part=p, columns=columns).to_pandas() for p in parts]
    rows = _joined(found, LEAKS, columns)
    if run.settings.publish.metrics:
        rows = rows[rows["metric"].isin(run.settings.publish.metrics)]
    rows = rows.sort_values("issued_at").drop_duplicates(["workload", "metric"], keep="last")
    leaking = rows[rows["score"] >= _LEAK]
    until = None if rows.empty else pd.Timestamp(rows["issued_at"].max()) + lasts
    kept, stale, _ = fresh(leaking, leaking["issued_at"] + lasts, run.as_of)
    long = [
        kept[["workload", "metric"]].assign(quantile=quantile, left_s=kept[column])
        for quantile, column in _TIME_TO_LIMIT.items()
    ]
    every = pd.concat(long, ignore_index=True)
    every = every[np.isfinite(every["left_s"].to_numpy(dtype=np.float64))]
    made = _family("foretide_time_to_limit_seconds", every, "left_s", "metric", "quantile")
    return Told("leaks", (made,), until, stale * len(_TIME_TO_LIMIT))


def _incidents(run: Run, told: Sequence[Told]) -> Told:
    """How many are open where; where something is scored and nothing is open, none."""
    parts = newest_parts(run, INCIDENTS)
    columns = ("incident_id", "ended_at", "workloads", "causes", "score", "severity")
    if not parts:
        return Told("incidents")
    found = [run.store.read(INCIDENTS, part=p, columns=columns).to_pandas() for p in parts]
    rows = _joined(found, INCIDENTS, columns)
    clock = pd.Timestamp(parts[-1].split("-", 1)[0])
    until = clock + pd.Timedelta(run.settings.detect.valid_for_h, "h")
    rows = rows[rows["ended_at"].isna()].reset_index(drop=True)
    if until <= run.as_of:
        return Told("incidents", (), until, len(rows))
    place = workload_columns([_led_by(r) for r in rows[["workloads", "causes"]].to_numpy()])
    where = place[["cluster", "namespace"]].astype("str")
    scored = [g.labels for t in told if t.table == "scores" for g in t.gauges]
    seen = [labels[["cluster", "namespace"]].astype("str") for labels in scored]
    every = pd.concat([*seen, where]).drop_duplicates()
    zero = every.merge(pd.DataFrame({"severity": _SEVERITIES}), how="cross").assign(n=0)
    one = where.assign(severity=rows["severity"].astype("str").to_numpy(), n=1)
    by = ["cluster", "namespace", "severity"]
    counts = pd.concat([zero, one]).groupby(by, sort=False)["n"].sum().reset_index()
    n = counts["n"].to_numpy(dtype=np.float64)
    worst = np.argsort(-rows["score"].to_numpy(), kind="stable")
    worst = worst[: run.settings.publish.incidents_max]
    named = place.iloc[worst].assign(incident=rows["incident_id"].iloc[worst].to_numpy())
    gauges = (
        gauge("foretide_incidents", counts[by], n),
        gauge("foretide_incident_score", named, rows["score"].to_numpy(dtype=np.float64)[worst]),
    )
    more = len(rows) - len(worst)
    notes = (f"  {more} more open incidents than publish.incidents_max: only counted",)
    return Told("incidents", gauges, until, 0, notes if more else ())


def _led_by(row: NDArray[np.object_]) -> str:
    """The workload of an incident's likeliest cause, else its first."""
    workloads, causes = row
    return str(causes[0]["workload"]) if causes is not None and len(causes) else str(workloads[0])


def _accuracy(run: Run) -> Told:
    lasts = 2 * pd.Timedelta(run.settings.evaluate.window_days, "D")
    columns = ("workload", "metric", "evaluated_at", "wape")
    found = [run.store.read(ACCURACY, part=p, columns=columns).to_pandas()
             for p in newest_parts(run, ACCURACY)]  # fmt: skip
    rows = _joined(found, ACCURACY, columns)
    if run.settings.publish.metrics:
        rows = rows[rows["metric"].isin(run.settings.publish.metrics)]
    rows = rows[np.isfinite(rows["wape"].to_numpy(dtype=np.float64))]
    rows, stale, until = fresh(rows, rows["evaluated_at"] + lasts, run.as_of)
    made = _family("foretide_forecast_error_ratio", rows, "wape", "metric")
    return Told("accuracy", (made,), until, stale)


def _plan(run: Run) -> Told:
    """The floors of now; of a plan that has expired only that it has."""
    plan = newest_plan(run)
    if plan is None:
        names = [f for f in run.store.files("plans") if f.endswith("/plan.json")]
        before = [f for f in names if f.split("/")[1] <= run.part]
        last = read_plan(run, before[-1]) if before else None
        return Told("plan", (), None if last is None else last.expires_at)
    floors = floors_at(plan, run.as_of)
    values = np.array([f.after for f in floors.values()], dtype=np.float64)
    made = gauge("foretide_floor_replicas", workload_columns(list(floors)), values)
    return Told("plan", (made,), plan.expires_at)


def _joined(
    frames: list[pd.DataFrame], contract: Contract, columns: tuple[str, ...]
) -> pd.DataFrame:
    """One frame; labels become text, since each part has categories of its own."""
    schema = pa.schema([contract.schema.field(c) for c in columns])
    nothing: pd.DataFrame = schema.empty_table().to_pandas()
    labels = [c for c in columns if isinstance(nothing.dtypes[c], pd.CategoricalDtype)]
    text = [f.astype(dict.fromkeys(labels, "str")) for f in frames if len(f)]
    return pd.concat(text, ignore_index=True) if text else nothing


def _family(name: str, rows: pd.DataFrame, value: str, *labels: str) -> Gauge:
    columns = workload_columns(rows["workload"])
    for label in labels:
        columns[label] = pd.Categorical(rows[label].astype("str"))
    return gauge(name, columns, rows[value].to_numpy(dtype=np.float64))
