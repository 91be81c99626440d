"""The weekly value report: what detection, forecasts and floors were worth, from the run's tables.

Every figure is computed from what happened in the window, carries an interval, or says why it is
not known. Prices and node sizes are the user's; where they lack, no money is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.frames import INCIDENTS
from features.panel import Floats
from models.advice import AdviceParams
from models.alert_noise import beginnings
from models.capacity_params import quantiles_of
from models.state import workload_state
from models.static_rules import firings
from models.value import Estimate, Statistic, ValueParams, detections, estimate, repeats, unmatched
from pipelines.errors import HistoryError, StoreError
from pipelines.run import Run

__all__ = ["value_rows"]

_ALL = "all"
_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class _Named:
    """One row of the table."""

    name: str
    unit: str
    estimate: Estimate


def value_rows(
    run: Run,
    start: pd.Timestamp,
    *,
    scores: pd.DataFrame,
    accuracy: pd.DataFrame,
    replays: pd.DataFrame,
) -> pd.DataFrame:
    """The figures of ``[start, as_of)``: the columns of the VALUE contract.

    Parameters
    ----------
    scores
        Of that time, ``workload, metric, detector, ts, score``; may be empty.
    accuracy, replays
        What this evaluation found, in the columns of those contracts; may be empty.
    """
    params = run.settings.evaluate.value
    rows = [
        *_detection(run, start, scores, params),
        *_forecasts(accuracy, params),
        *_prescaling(run, replays, params),
    ]
    return pd.DataFrame(
        [
            {
                "scope": _ALL, "name": row.name, "evaluated_at": run.as_of, "started_at": start,
                "value": row.estimate.value, "lower": row.estimate.lower,
                "upper": row.estimate.upper, "unit": row.unit, "reason": row.estimate.reason,
                "run_id": run.run_id,
            }
            for row in rows
        ]
    )  # fmt: skip


def _detection(
    run: Run, start: pd.Timestamp, scores: pd.DataFrame, params: ValueParams
) -> Iterable[_Named]:
    """How soon, how often, and beside static thresholds."""
    days = (run.as_of - start) / pd.Timedelta(1, "D")
    known = _incidents(run, start - pd.Timedelta(params.repeat_days, "D"))
    told = known[known["detected_at"] >= start]
    static, measured = _static(run, start, params)
    found = detections(told, static, run.as_of, params.match_h)
    minutes = {c: found[c].to_numpy(np.float64) / _MINUTE for c in found.columns[1:]}
    missed = np.isnan(minutes["static_s"]).astype(np.float64)
    raw = beginnings(scores, "ts") if len(scores) else np.empty(0, dtype=np.int64)
    no_scores = "" if len(scores) or len(told) else "nothing was scored in this time"
    no_rules = "" if measured else "none of the thresholds' metrics is measured"

    def a_day(ms: np.ndarray, why_not: str) -> Estimate:
        since = (ms - start.timestamp() * 1000) / 86_400_000
        n_days = max(int(days), 1)
        counts = np.bincount(since.astype(np.int64), minlength=n_days)[:n_days].astype(np.float64)
        unknown = Estimate(float("nan"), reason=why_not)
        return unknown if why_not else estimate(counts, "mean", params, what="day")

    def of(name: str, what: str = "incident") -> Estimate:
        return estimate(minutes[name], "median", params, what=what)

    both = "incident that static thresholds found too"
    yield _Named("incidents", "incidents", Estimate(float(len(told))))
    yield _Named("detect_minutes", "min", of("detect_s"))
    yield _Named("static_detect_minutes", "min", of("static_s", both))
    yield _Named("sooner_minutes", "min", of("sooner_s", both))
    yield _Named("static_missed_share", "share", estimate(missed, "mean", params, what="incident"))
    yield _Named("incidents_per_day", "a day", a_day(_ms(told["detected_at"]), no_scores))
    yield _Named("alerts_per_day", "a day", a_day(raw, no_scores))
    yield _Named("static_alerts_per_day", "a day", a_day(_ms(static["detected_at"]), no_rules))
    alone = unmatched(told, static, run.as_of, params.match_h)
    yield _Named("static_only_share", "share", estimate(alone, "mean", params, what="static alert"))
    again = repeats(known, start, params.repeat_days)
    yield _Named("repeat_share", "share", estimate(again, "mean", params, what="incident"))


def _forecasts(accuracy: pd.DataFrame, params: ValueParams) -> Iterable[_Named]:
    asked: tuple[tuple[str, str, Statistic], ...] = (
        ("forecast_wape", "wape", "median"),
        ("forecast_q90_coverage", "coverage_q90", "mean"),
    )
    for name, column, statistic in asked:
        units = accuracy[column].to_numpy(np.float64) if len(accuracy) else np.empty(0)
        told = estimate(units, statistic, params, what="series with a forecast")
        yield _Named(name, "share", told)


def _prescaling(run: Run, replays: pd.DataFrame, params: ValueParams) -> Iterable[_Named]:
    """Replayed: pod-minutes short, replica- and node-hours, money."""
    sides = {
        policy: replays[replays["policy"] == policy].set_index("workload")
        for policy in ("reactive", "foretide")
        if len(replays)
    }
    names = [str(w) for w in sides["foretide"].index] if sides else []

    def both(column: str) -> tuple[Floats, Floats]:
        if not names:
            return np.empty(0), np.empty(0)
        with_us, without = sides["foretide"][column], sides["reactive"][column].reindex(names)
        return without.to_numpy(np.float64), with_us.to_numpy(np.float64)

    def summed(units: Floats, what: str = "workload was replayed") -> Estimate:
        return estimate(units, "sum", params, what=what)

    short, short_with = both("short_pod_min")
    hours, hours_with = both("replica_hours")
    avoided, extra = short - short_with, hours_with - hours
    yield _Named("short_pod_minutes_hpa", "pod-min", summed(short))
    yield _Named("short_pod_minutes", "pod-min", summed(short_with))
    yield _Named("short_pod_minutes_avoided", "pod-min", summed(avoided))
    yield _Named("replica_hours", "pod-h", summed(hours_with))
    yield _Named("replica_hours_extra", "pod-h", summed(extra))
    pods = _pods(run, names)
    nodes = pods["cores"] / params.node_cores if params.node_cores else np.full(len(names), np.nan)
    no_node = "workload with known requests (and evaluate.value.node_cores set)"
    yield _Named("node_hours_extra", "node-h", summed(extra * nodes, no_node))
    no_price = "workload with a price (prescale.advice.usd_per_core_hour)"
    yield _Named("usd_spent", "USD", summed(extra * pods["usd"], no_price))
    worth = avoided / 60 * pods["usd"] * pods["worth"]
    yield _Named("usd_saved", "USD", summed(worth, no_price))


def _pods(run: Run, names: list[str]) -> Mapping[str, Floats]:
    """Of one pod of each workload the requested cores, USD an hour, and what a missing one is worth
    in idle ones: the user's own ``under_cost / over_cost``. NaN where it is not known."""
    unknown = np.full(len(names), np.nan)
    if not names:
        return {"cores": unknown, "usd": unknown, "worth": unknown}
    wanted = run.settings.prescale
    hours = wanted.capacity.state_window_h
    panel = run.panel(run.as_of - pd.Timedelta(hours, "h"), run.as_of)
    state = workload_state(panel, names, wanted.capacity).set_index("workload").reindex(names)
    level = np.asarray(quantiles_of(names, wanted.rules, wanted.capacity), dtype=np.float64)
    cores = state["request_cores"].to_numpy(np.float64)
    usd = _usd(cores, state["request_bytes"].to_numpy(np.float64), wanted.advice)
    return {"cores": cores, "usd": usd, "worth": level / (1 - level)}


def _usd(cores: Floats, memory: Floats, prices: AdviceParams) -> Floats:
    """USD of a pod-hour; what has no price may be unknown."""
    if not prices.priced:
        return np.full(len(cores), np.nan)
    usd = np.zeros(len(cores))
    if prices.usd_per_core_hour > 0:
        usd = usd + cores * prices.usd_per_core_hour
    if prices.usd_per_gib_hour > 0:
        usd = usd + memory / 2.0**30 * prices.usd_per_gib_hour
    return usd


def _incidents(run: Run, since: pd.Timestamp) -> pd.DataFrame:
    """What was told, with its first cause: the newest row of each incident."""
    try:
        table: pd.DataFrame = run.read(INCIDENTS, since).to_pandas()
    except StoreError:
        table = INCIDENTS.schema.empty_table().to_pandas()
    table = table.drop_duplicates("incident_id", keep="last")
    table = table[(table["detected_at"] >= since) & (table["detected_at"] < run.as_of)]
    causes = [next(iter(c), None) or {} for c in table["causes"]]
    return table.assign(
        cause_workload=[str(c.get("workload", "")) for c in causes],
        cause_metric=[str(c.get("metric", "")) for c in causes],
    )


def _static(run: Run, start: pd.Timestamp, params: ValueParams) -> tuple[pd.DataFrame, list[str]]:
    """What the static thresholds would have told, and of which metrics; a rule's at a time, to
    spare memory."""
    before = start - pd.Timedelta(params.static.for_min + 60, "min")
    found: list[pd.DataFrame] = []
    measured: list[str] = []
    for rule in params.static.rules:
        try:
            panel = run.panel(before, run.as_of, rule.metrics)
        except HistoryError:
            continue  # nobody measures it: the rule is silent
        if set(rule.metrics) <= set(panel.keys["metric"]):
            found.append(firings(panel, start, rule, params.static.for_min))
            measured.append(rule.metric)
    columns = ["workload", "metric", "start", "end", "detected_at"]
    stamps = {c: pd.Series(dtype="datetime64[ms, UTC]") for c in columns[2:]}
    nobody = pd.DataFrame(columns=columns).assign(**stamps)
    return pd.concat([f for f in found if len(f)] or [nobody], ignore_index=True), measured


def _ms(stamps: pd.Series) -> np.ndarray:
    return stamps.dt.as_unit("ms").astype("int64").to_numpy()
