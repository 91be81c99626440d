"""The weekly value report: what detection, forecasts and floors were worth, from the run's tables.

Every figure is computed from what happened in the window, carries an interval, or says why it is
not known. Prices and node sizes are the user's; where they lack, no money is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np
import pandas as pd

from features.panel import Floats
from models.alert_noise import beginnings
from models.value import Estimate, Statistic, ValueParams, detections, estimate, repeats, unmatched
from pipelines.run import Run
from pipelines.value_facts import Facts, gathered

__all__ = ["ALL", "value_rows"]

ALL = "all"
"""The scope of what is told of all clusters together; other scopes are a cluster's name."""
_MINUTE = 60.0
_DAY_MS = 86_400_000


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

    Of all clusters together, and where there are several of each.

    Parameters
    ----------
    scores
        Of that time, ``workload, metric, detector, ts, score``: all that is over the alert line,
        and at least one row of each step that was scored; may be empty.
    accuracy, replays
        What this evaluation found, in the columns of those contracts; may be empty.
    """
    facts = gathered(run, start, scores=scores, accuracy=accuracy, replays=replays)
    clusters = facts.clusters
    scopes = {ALL: facts}
    if len(clusters) > 1:
        # a cluster may have any name, also that of the scope of all
        scopes |= {f"{c} (cluster)" if c == ALL else unquote(c): facts.of(c) for c in clusters}
    params = run.settings.evaluate.value
    return pd.DataFrame(
        [
            {
                "scope": scope, "name": row.name, "evaluated_at": run.as_of, "started_at": start,
                "value": row.estimate.value, "lower": row.estimate.lower,
                "upper": row.estimate.upper, "unit": row.unit, "reason": row.estimate.reason,
                "run_id": run.run_id,
            }
            for scope, of_it in scopes.items()
            for maker in (_detection, _forecasts, _prescaling)
            for row in maker(of_it, params)
        ]
    )  # fmt: skip


def _detection(facts: Facts, params: ValueParams) -> Iterable[_Named]:
    """How soon, how often, and beside static thresholds."""
    told = facts.told
    found = detections(told, facts.static, facts.until, params.match_h)
    minutes = {c: found[c].to_numpy(np.float64) / _MINUTE for c in found.columns[1:]}
    missed = np.isnan(minutes["static_s"]).astype(np.float64)
    no_rules = "" if facts.measured else "none of the thresholds' metrics is measured"

    def share(units: Floats, what: str, why_not: str = "") -> Estimate:
        unknown = Estimate(float("nan"), reason=why_not)
        return unknown if why_not else estimate(units, "share", params, what=what)

    both = "incident that static thresholds found too"
    times = (
        ("detect_minutes", "detect_s", "incident"),
        ("static_detect_minutes", "static_s", both),
        ("sooner_minutes", "sooner_s", both),
    )
    n = Estimate(np.nan, reason=_UNSCORED) if _is_unscored(facts) else Estimate(float(len(told)))
    yield _Named("incidents", "incidents", n)
    for name, column, what in times:
        for suffix, statistic in _TIMES:
            middle = estimate(minutes[column], statistic, params, what=what)
            yield _Named(f"{name}{suffix}", "min", middle)
    yield _Named("static_missed_share", "share", share(missed, "incident", no_rules))
    yield from _a_day(facts, params, no_rules)
    recent = facts.static[facts.static["detected_at"] >= facts.start]
    alone = unmatched(facts.incidents, recent, facts.until, params.match_h)
    yield _Named("static_only_share", "share", share(alone, "static alert", no_rules))
    again = repeats(facts.incidents, facts.start, params.repeat_days)
    yield _Named("repeat_share", "share", share(again, "incident whose cause is known"))


_TIMES: tuple[tuple[str, Statistic], ...] = (("", "median"), ("_mean", "mean"))
"""How a time is told: its usual length, and the mean that "mean time to detect" asks for."""


def _a_day(facts: Facts, params: ValueParams, no_rules: str) -> Iterable[_Named]:
    """Incidents, stretches over the alert line and static alerts by day; of days of which nothing
    was scored it is not known what would have been told."""
    scores, told = facts.scores, facts.told
    raw = beginnings(scores, "ts") if len(scores) else np.empty(0, dtype=np.int64)
    no_scores = _UNSCORED if _is_unscored(facts) else ""
    recent = facts.static[facts.static["detected_at"] >= facts.start]
    wanted = (
        ("incidents_per_day", _ms(told["detected_at"]), no_scores, facts.scored),
        ("alerts_per_day", raw, no_scores, facts.scored),
        ("static_alerts_per_day", _ms(recent["detected_at"]), no_rules, None),
    )
    n_days = len(facts.scored)
    for name, stamps, why_not, known in wanted:
        # days end with the window: of a part of a day no rate is told
        back = (facts.until.timestamp() * 1000 - stamps) / _DAY_MS
        day = np.clip(np.ceil(back).astype(np.int64) - 1, 0, None)
        counts = np.bincount(day, minlength=n_days)[:n_days].astype(np.float64)
        if known is not None:
            counts[~known] = np.nan
        rate = estimate(counts, "mean", params, what="day", others=_NO_DAY)
        yield _Named(name, "a day", Estimate(np.nan, reason=why_not) if why_not else rate)


def _forecasts(facts: Facts, params: ValueParams) -> Iterable[_Named]:
    asked: tuple[tuple[str, str, Statistic], ...] = (
        ("forecast_wape", "wape", "median"),
        ("forecast_q90_coverage", "coverage_q90", "mean"),
    )
    accuracy = facts.accuracy
    for name, column, statistic in asked:
        units = accuracy[column].to_numpy(np.float64) if len(accuracy) else np.empty(0)
        told = estimate(units, statistic, params, what="series with a forecast")
        yield _Named(name, "share", told)


def _prescaling(facts: Facts, params: ValueParams) -> Iterable[_Named]:
    """Replayed: pod-minutes short, replica- and node-hours, money."""
    replays = facts.replays
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

    def summed(units: Floats, what: str = "workload was replayed", others: str = "") -> Estimate:
        return estimate(units, "sum", params, what=what, others=others)

    short, short_with = both("short_pod_min")
    hours, hours_with = both("replica_hours")
    avoided, extra = short - short_with, hours_with - hours
    yield _Named("short_pod_minutes_hpa", "pod-min", summed(short))
    yield _Named("short_pod_minutes", "pod-min", summed(short_with))
    yield _Named("short_pod_minutes_avoided", "pod-min", summed(avoided))
    yield _Named("replica_hours", "pod-h", summed(hours_with))
    yield _Named("replica_hours_extra", "pod-h", summed(extra))
    pods = {c: facts.pods[c].reindex(names).to_numpy(np.float64) for c in facts.pods.columns}
    nodes = pods["cores"] / params.node_cores if params.node_cores else np.full(len(names), np.nan)
    no_node = "workload with known requests (and evaluate.value.node_cores set)"
    yield _Named("node_hours_extra", "node-h", summed(extra * nodes, no_node, _REQUESTS))
    no_price = "workload with a price (prescale.advice.usd_per_core_hour)"
    yield _Named("usd_spent", "USD", summed(extra * pods["usd"], no_price, _REQUESTS))
    worth = avoided / 60 * pods["usd"] * pods["worth"]
    yield _Named("usd_saved", "USD", summed(worth, no_price, _REQUESTS))


_REQUESTS = "of the other workloads no requests are known"
_NO_DAY = "nothing was scored on the other days"
_UNSCORED = "nothing was scored in this time"


def _is_unscored(facts: Facts) -> bool:
    return not len(facts.scores) and not len(facts.told)


def _ms(stamps: pd.Series) -> np.ndarray:
    return stamps.dt.as_unit("ms").astype("int64").to_numpy()
