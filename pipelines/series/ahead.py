"""Series of what is to come: quantiles of forecasts, and the pods that they ask for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from features.frames import CAPACITY, FORECASTS, Contract, quantile_column
from pipelines.moments import parse_duration
from pipelines.run import Run
from pipelines.series.gauge import Gauge
from pipelines.series.names import gauge
from pipelines.series.reaching import newest_parts, speakers
from pipelines.series.told import Told, fresh, workload_columns

__all__ = ["capacity_series", "forecast_series"]

Ints = NDArray[np.int64]
_NOW = "0s"
_NEVER = np.iinfo(np.int64).max
_LONE_STEP_MS = 300_000
"""Length of the step of a table that has but one."""


def forecast_series(run: Run) -> Told:
    """Quantiles of each metric at the configured horizons, each by the newest run that reaches
    it."""
    p = run.settings.publish
    columns = ["workload", "metric", "ts", "valid_until", *map(quantile_column, p.quantiles)]
    ahead = _horizons(run)
    found = _at(run, FORECASTS, columns, ahead, 0)
    rows = found[found["metric"].isin(p.metrics)] if p.metrics else found
    rows, stale, until = fresh(rows, rows["valid_until"], run.as_of)
    long = [
        rows[["workload", "metric", "horizon", "behind_ms"]].assign(
            quantile=f"{q:g}", value=rows[quantile_column(q)]
        )
        for q in p.quantiles
    ]
    every = pd.concat(long, ignore_index=True) if long else rows.assign(quantile="", value=0.0)[:0]
    told = every["value"].notna() & (every["behind_ms"] < _NEVER)
    every = every[told].reset_index(drop=True)
    made = _family("foretide_forecast", every, ("metric", "quantile", "horizon"))
    return Told("forecasts", made, until, stale * len(p.quantiles), _unreached(found, ahead))


def capacity_series(run: Run) -> Told:
    """Required replicas now and at the horizons, and what the autoscaler alone would have now."""
    columns = (
        "workload", "ts", "replicas", "ready_replicas", "reactive_replicas", "lead_time_s",
        "valid_until",
    )  # fmt: skip
    ahead = {_NOW: 0, **_horizons(run)}
    longest_ms = round(run.settings.prescale.plan.horizon_h * 3_600_000)
    rows = _at(run, CAPACITY, columns, ahead, longest_ms)
    rows, stale, until = fresh(rows, rows["valid_until"], run.as_of)
    # what has to be ready within a lead time has to be there now; where only the floor is known,
    # the lead time is in it already
    first = rows["behind_ms"] <= 0
    due = rows["behind_ms"] <= 1000 * rows["lead_time_s"].fillna(0)
    need = rows["ready_replicas"].astype("float64").where(first | due)
    need = need.fillna(rows["replicas"].astype("float64").where(first))
    told = rows.assign(value=need)
    by = told.groupby(["workload", "horizon"], observed=True, sort=False)["value"].max()
    required = by.dropna().reset_index()
    now = rows[first & (rows["horizon"] == _NOW).to_numpy()]
    reactive = now[["workload"]].assign(value=now["reactive_replicas"].astype("float64"))
    reactive = reactive.dropna().reset_index(drop=True)
    gauges = (
        *_family("foretide_required_replicas", required, ("horizon",)),
        *_family("foretide_demand_replicas", reactive, ()),
    )
    return Told("capacity", gauges, until, stale)


def _horizons(run: Run) -> dict[str, int]:
    """As they are written → milliseconds."""
    ms = pd.Timedelta(1, "ms")
    return {
        h: round(parse_duration(h, "publish.forecast_horizons") / ms)
        for h in run.settings.publish.forecast_horizons
    }


def _at(
    run: Run, contract: Contract, columns: list[str] | tuple[str, ...], ahead: dict[str, int],
    window_ms: int,
) -> pd.DataFrame:  # fmt: skip
    """The rows of the steps in which ``as_of`` + each horizon lies, and of those that begin within
    ``window_ms`` after it or within their own lead time, whichever is shorter.

    ``horizon`` is added, and ``behind_ms``, by which a step begins after the moment.
    """
    now_ms = int(run.as_of.as_unit("ms").value) // 1_000_000
    pending = {h: now_ms + ms for h, ms in ahead.items()}
    valid_for = pd.Timedelta(run.settings.forecast.valid_for_h, "h")
    found: list[pd.DataFrame] = []
    for speaker in speakers(run, contract, valid_for):
        reached: set[str] = set()
        for part in speaker.parts:
            table = run.store.read(contract, part=part, columns=columns)
            for horizon, rows in _steps(table, pending, window_ms):
                reached.add(horizon)
                found.append(rows.assign(horizon=horizon))
        pending = {h: ms for h, ms in pending.items() if h not in reached}
        if not pending:
            break
    if not found:
        # what is so old that it reaches nothing still has an end
        for part in newest_parts(run, contract)[:1]:
            table = run.store.read(contract, part=part, columns=columns).slice(0, 1)
            found.append(table.to_pandas().assign(horizon="", behind_ms=_NEVER))
    if not found:
        schema = pa.schema([contract.schema.field(c) for c in columns])
        nothing: pd.DataFrame = schema.empty_table().to_pandas()
        return nothing.assign(horizon="", behind_ms=0)
    return pd.concat(found, ignore_index=True)


def _steps(
    table: pa.Table, moments: dict[str, int], window_ms: int
) -> Iterator[tuple[str, pd.DataFrame]]:
    ts = table["ts"].cast(pa.int64()).to_numpy()
    steps = np.unique(ts)
    length = int(np.diff(steps).min()) if len(steps) > 1 else _LONE_STEP_MS
    lead_ms = _lead_ms(table, window_ms)
    for horizon, moment in moments.items():
        at = int(np.searchsorted(steps, moment, side="right")) - 1
        if at < 0 or moment >= steps[at] + length:
            continue
        mine = (ts >= steps[at]) & (ts <= moment + lead_ms)
        rows: pd.DataFrame = table.filter(pa.array(mine)).to_pandas()
        # a name that is in one part only is a category of that part only
        words = {c: rows[c].astype("str") for c in ("workload", "metric") if c in rows}
        yield horizon, rows.assign(behind_ms=ts[mine] - moment, **words)


def _lead_ms(table: pa.Table, window_ms: int) -> Ints:
    """How far after the moment a row still matters, (n,) or one for all."""
    if "lead_time_s" not in table.column_names:
        return np.array(window_ms, dtype=np.int64)
    lead_s = table["lead_time_s"].to_numpy()
    return np.minimum(np.nan_to_num(1000 * lead_s), window_ms).astype(np.int64)


def _family(name: str, rows: pd.DataFrame, labels: tuple[str, ...]) -> tuple[Gauge, ...]:
    columns = workload_columns(rows["workload"])
    for label in labels:
        columns[label] = pd.Categorical(rows[label].astype("str"))
    return (gauge(name, columns, rows["value"].to_numpy(dtype=np.float64)),)


def _unreached(rows: pd.DataFrame, ahead: dict[str, int]) -> tuple[str, ...]:
    missing = [h for h in ahead if h not in set(rows["horizon"])] if len(rows) else []
    return tuple(f"  no forecast reaches {h} ahead" for h in missing)
