"""What a week with Foretide was worth: figures with an interval, computed from what happened.

Intervals are percentile bootstraps (Efron 1979) over whatever the figure is a mean, median or sum
of: incidents, days, series, workloads; of shares they are Wilson's (1927), since a bootstrap of
units that are all alike has no width. They say how much of a figure is the luck of this week's
units; they do not say what another season would bring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Literal

import numpy as np
import pandas as pd

from features.panel import Floats
from models.static_rules import StaticRulesParams

__all__ = ["Estimate", "ValueParams", "detections", "estimate", "repeats", "unmatched"]

Statistic = Literal["mean", "median", "sum", "share"]
_SEED = 20_260_601  # the same table gives the same interval
_AT_ONCE = 4_000_000
_LEAST = 200


@dataclass(frozen=True, slots=True)
class ValueParams:
    """What the weekly value report is computed with."""

    confidence: float = 0.9
    """Share of weeks like this one in which the interval holds the figure."""
    least_units: int = 5
    """Of fewer incidents, days, series or workloads no interval is told."""
    resamples: int = 2000
    repeat_days: float = 7.0
    """An incident whose first cause was told of so shortly before is a repeat."""
    match_h: float = 6.0
    """A static alert up to so long before an incident's beginning is about the incident."""
    node_cores: float = 0.0
    """Allocatable cores of a node, to tell node-hours; 0: unknown, and none are told."""
    static: StaticRulesParams = field(default_factory=StaticRulesParams)

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        if not 0 < self.confidence < 1:
            raise ValueError(f"value: confidence must be in (0, 1), got {self.confidence!r}")
        if self.resamples < _LEAST:
            raise ValueError(f"value: resamples must be {_LEAST} or more, got {self.resamples!r}")
        if self.least_units < 2:
            raise ValueError(f"value: least_units must be 2 or more, got {self.least_units!r}")
        for key in ("repeat_days", "match_h", "node_cores"):
            if not 0 <= getattr(self, key) < np.inf:
                raise ValueError(f"value: {key} must be 0 or more, got {getattr(self, key)!r}")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and between which it lies; NaN with a reason where that is not known."""

    value: float
    lower: float = float("nan")
    upper: float = float("nan")
    reason: str = ""


def estimate(
    units: Floats,
    statistic: Statistic,
    params: ValueParams,
    *,
    what: str = "unit",
    others: str = "",
) -> Estimate:
    """A statistic of units, (n,), and its interval; units that are NaN are left out.

    A ``share`` is the mean of units that are 0 or 1. ``what`` names a unit; with ``others``, what
    the NaN ones lack, the reason says how many are told of.
    """
    known = units[np.isfinite(units)]
    n = len(known)
    if n == 0:
        return Estimate(float("nan"), reason=f"no {what}")
    partly = f"of {n} of {len(units)}: {others}" if others and n < len(units) else ""
    value = float(_STATISTICS[statistic](known[None])[0])
    if n < params.least_units:
        few = f"one {what}: no interval" if n == 1 else f"{n} are too few for an interval"
        return Estimate(value, reason="; ".join(t for t in (partly, few) if t))
    ends = _wilson if statistic == "share" else _bootstrap
    lower, upper = ends(known, statistic, params)
    return Estimate(value, lower, upper, partly)


def _bootstrap(known: Floats, statistic: Statistic, params: ValueParams) -> tuple[float, float]:
    of, n = _STATISTICS[statistic], len(known)
    rng = np.random.default_rng(_SEED)
    rounds = max(min(params.resamples, _AT_ONCE // n), _LEAST)
    at_once = max(_AT_ONCE // n, 1)
    drawn = [
        of(known[rng.integers(0, n, (min(at_once, rounds - begun), n))])
        for begun in range(0, rounds, at_once)
    ]
    tail = (1 - params.confidence) / 2
    lower, upper = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return float(lower), float(upper)


def _wilson(known: Floats, statistic: Statistic, params: ValueParams) -> tuple[float, float]:
    """Wilson's score interval: also none of five is a share between nothing and something."""
    del statistic
    n, share = len(known), float(known.mean())
    z = NormalDist().inv_cdf((1 + params.confidence) / 2)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return min(max(middle - half, 0.0), share), max(min(middle + half, 1.0), share)


def _means(x: Floats) -> Floats:
    return x.mean(axis=1)


def _medians(x: Floats) -> Floats:
    return np.median(x, axis=1)


def _sums(x: Floats) -> Floats:
    return x.sum(axis=1)


_STATISTICS: dict[Statistic, Callable[[Floats], Floats]] = {
    "mean": _means,
    "median": _medians,
    "sum": _sums,
    "share": _means,
}


def detections(
    incidents: pd.DataFrame, alerts: pd.DataFrame, until: pd.Timestamp, match_h: float
) -> pd.DataFrame:
    """When each incident was told of, and when static thresholds told of it.

    Parameters
    ----------
    incidents
        ``incident_id, started_at, detected_at, ended_at`` (empty: it lasts)``, workloads``.
    alerts
        ``workload, start, end, detected_at`` of static rules.
    until
        The clock: an incident that lasts has lasted until now.
    match_h
        Hours before an incident's beginning from which on an alert is about it.

    Returns
    -------
    One row an incident: ``incident_id, detect_s`` (from its beginning until it was told of),
    ``static_s`` (until the first alert of one of its workloads; negative: before the beginning;
    NaN: no alert), ``sooner_s`` (by how much Foretide was first; NaN: no alert).
    """
    rows = incidents[["incident_id", "started_at", "detected_at"]]
    pairs = _about(incidents, alerts, until, match_h)
    first = pairs.groupby("incident_id")["detected_at_static"].min()
    static = first.reindex(rows["incident_id"]).set_axis(rows.index)
    return pd.DataFrame(
        {
            "incident_id": rows["incident_id"],
            "detect_s": (rows["detected_at"] - rows["started_at"]).dt.total_seconds(),
            "static_s": (static - rows["started_at"]).dt.total_seconds(),
            "sooner_s": (static - rows["detected_at"]).dt.total_seconds(),
        }
    )


def unmatched(
    incidents: pd.DataFrame, alerts: pd.DataFrame, until: pd.Timestamp, match_h: float
) -> Floats:
    """For each static alert 1 where it is about no incident, else 0, (n,); as for ``detections``.

    What only the thresholds told of: noise of theirs, or a miss of ours.
    """
    pairs = _about(incidents, alerts, until, match_h)
    return (~np.isin(np.arange(len(alerts)), pairs["alert"])).astype(np.float64)


def _about(
    incidents: pd.DataFrame, alerts: pd.DataFrame, until: pd.Timestamp, match_h: float
) -> pd.DataFrame:
    """Incidents with the alerts that are about them; ``alert`` is the alert's row number."""
    rows = incidents[["incident_id", "started_at", "detected_at", "ended_at", "workloads"]]
    rows = rows.assign(ended_at=rows["ended_at"].fillna(until)).explode("workloads")
    numbered = alerts.assign(alert=np.arange(len(alerts)))
    pairs = rows.rename(columns={"workloads": "workload"}).merge(
        numbered, on="workload", suffixes=("", "_static")
    )
    early = pairs["started_at"] - pd.Timedelta(match_h, "h")
    return pairs[pairs["detected_at_static"].between(early, pairs["ended_at"])]


def repeats(incidents: pd.DataFrame, start: pd.Timestamp, days: float) -> Floats:
    """For each incident told of from ``start`` on, 1 where one of the ``days`` before it had the
    same first cause (workload and metric), else 0, (n,); NaN where no cause is known.

    ``incidents`` has ``detected_at, cause_workload, cause_metric`` and reaches back before
    ``start``.
    """
    rows = incidents.sort_values("detected_at", kind="stable")
    before = rows.groupby(["cause_workload", "cause_metric"], dropna=False)["detected_at"].shift()
    again = (rows["detected_at"] - before) <= pd.Timedelta(days, "D")
    told = again.astype("float64").where(rows["cause_workload"] != "")
    return told[rows["detected_at"] >= start].to_numpy().astype(np.float64)
