"""Ranked causes: which workload explains what went wrong, in words that a person can check.

``rank_causes`` weighs how unusual every metric of every workload is after the onset
(``cause_evidence``), how it moves with the target's, and walks the calls to what explains it
(``cause_walk``). ``measure_changes`` is the plain robust change before/after of BARO (Pham et al.,
2024), for those who have scores and no target.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.cause_evidence import Evidence, comovement, weigh
from models.cause_kinds import EVENT, LOAD, kinds_of
from models.cause_series import BeforeAfter, Floats, align
from models.cause_walk import (
    FALLEN_LOAD,
    PAINS,
    RISEN_LOAD,
    WalkParams,
    numbered_calls,
    walk,
)
from models.cause_words import changed_in_words, evidence_in_words

__all__ = [
    "CAUSE_COLUMNS",
    "CauseParams",
    "changed_in_words",
    "measure_changes",
    "rank_causes",
]

CAUSE_COLUMNS = ("workload", "metric", "score", "confidence", "evidence")
_IQR_OF_NORMAL = 1.349
_FLOOR_SHARE = 0.05
_LEAST_WEIGHT = 0.01


@dataclass(frozen=True, slots=True)
class CauseParams:
    """How evidence is weighed.

    ``alone`` was picked of 0.1, 0.3 and 0.5 on simulated and recorded incidents, which it hardly
    tells apart; the others come from where they say.
    """

    constant_deviation: float = 8.0
    """How many spreads a value that never moved is taken to have moved once it does: well beyond
    noise, and less than what a metric with a spread can show."""
    alone: float = 0.3
    """What an unusual metric counts that does not move with the target, beside 1.3 for one that
    does so exactly."""
    event_odds: float = 7 / 3
    """Evidence of a workload that was changed right before is worth so much more: 70 % of outages
    follow a change (Beyer et al., Site Reliability Engineering, 2016, chapter 1)."""
    event_within_h: float = 1.0
    walk: WalkParams = field(default_factory=WalkParams)

    def __post_init__(self) -> None:
        """Refuse what would turn evidence around."""
        for key in ("constant_deviation", "alone", "event_odds", "event_within_h"):
            value, least = getattr(self, key), 1.0 if key == "event_odds" else 0.0
            if not (np.isfinite(value) and value >= least):
                raise ValueError(f"{key} must be at least {least:g}, got {value}")


@dataclass(frozen=True, slots=True)
class _Weighed:
    """Evidence of each series (n_series,) once the target and events have spoken."""

    series: BeforeAfter
    found: Evidence
    service: NDArray[np.intp]
    services: pd.Index
    place: NDArray[np.int64]
    moves_with: Floats
    weight: Floats
    target: int | None
    event: NDArray[np.object_]


def measure_changes(before: pd.DataFrame, after: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Robust change of each group that was measured before and after.

    ``before`` and ``after`` hold the columns ``by`` and ``value``. The result has ``by``, ``was``,
    ``became`` (medians) and ``score``: |became - was| over the spread before (IQR / 1.349, at least
    5 % of the level): free of the unit.
    """
    grouped = before.groupby(by, observed=True)["value"]
    quantiles = {"low": 0.25, "was": 0.5, "high": 0.75}
    old = pd.DataFrame({name: grouped.quantile(q) for name, q in quantiles.items()})
    new = after.groupby(by, observed=True)["value"].median()
    if old.empty or new.empty:
        return pd.DataFrame(columns=[*by, "was", "became", "score"])
    both = old.join(new.rename("became"), how="inner").dropna()
    level = np.maximum(both["was"].abs(), both["became"].abs())
    usual = (both["high"] - both["low"]) / _IQR_OF_NORMAL
    spread = pd.Series(np.maximum(usual, _FLOOR_SHARE * level), index=both.index)
    change = (both["became"] - both["was"]).abs()
    # the last digits hold the unit's rounding: they must not order what is level
    both["score"] = (change / spread.where(spread > 0)).fillna(0.0).round(9)
    return both[["was", "became", "score"]].reset_index()


def rank_causes(
    before: pd.DataFrame,
    after: pd.DataFrame,
    edges: pd.DataFrame | None = None,
    limit: int = 5,
    target: str | None = None,
    events: pd.DataFrame | None = None,
    params: CauseParams | None = None,
) -> pd.DataFrame:
    """The workloads that explain best what went wrong: ``CAUSE_COLUMNS``, best first.

    Parameters
    ----------
    before, after
        What was normal and what came from the onset on: ``workload, metric, ts, value``.
    edges
        ``caller, callee``: workloads. Without it a target is taken to call everybody, and without
        a target every workload stands for itself.
    limit
        At most so many rows, one a workload, with the metric that speaks loudest for it.
    target
        The workload where trouble was seen.
    events
        ``workload, ts, event``: one within an hour before the onset speaks for its workload.

    Returns
    -------
    ``score`` is the workload's share of all evidence once the calls are walked, 0 to 1: free of any
    metric's unit. ``confidence`` is the score times 1 - p, where p is the share of the metric's own
    normal stretches that are as unusual: how much more this one explains than the others, and no
    more than its own data can tell. It is a share of evidence, not a frequency that was measured.
    Workloads without a change that means anything come last, with 0.

    Raises
    ------
    ValueError
        The two would make an absurdly large grid.
    """
    params = params or CauseParams()
    if not (len(before) and len(after)):
        return pd.DataFrame(columns=list(CAUSE_COLUMNS))
    weighed = _weighed(align(before, after), target, events, params)
    n = len(weighed.services)
    evidence = np.zeros((3, n))
    np.maximum.at(evidence, (weighed.place, weighed.service), weighed.weight)
    start = np.zeros((3, n))
    if weighed.target is not None:
        start[:, weighed.target] = evidence[:, weighed.target]
        start[PAINS, weighed.target] += _LEAST_WEIGHT
    caller, callee = numbered_calls(edges, weighed.services, weighed.target)
    shares = walk(evidence, caller, callee, start, params.walk)
    return _listed(weighed, shares, target, limit)


def _weighed(
    series: BeforeAfter, target: str | None, events: pd.DataFrame | None, params: CauseParams
) -> _Weighed:
    kinds, bad = kinds_of(series.keys["metric"].tolist())
    found = weigh(series, bad, params.constant_deviation)
    strength = np.where(kinds == EVENT, 0.0, found.strength)
    service, names = pd.factorize(series.keys["workload"])
    services = pd.Index(names, dtype="str")
    place = np.where(kinds == LOAD, np.where(found.way > 0, RISEN_LOAD, FALLEN_LOAD), PAINS)
    moves_with, weight, at = np.zeros(len(strength)), strength, None
    if target is not None and target in services:
        at = int(services.get_indexer(pd.Index([target]))[0])
        mine = np.flatnonzero((service == at) & (kinds != EVENT))
        moves_with = comovement(found.deviations, mine, strength[mine] + _LEAST_WEIGHT)
        weight = strength * (params.alone + moves_with)
    event = _events_near(events, series, services, params.event_within_h)[service]
    weight = np.where(event != "", params.event_odds, 1.0) * weight
    return _Weighed(series, found, service, services, place, moves_with, weight.round(9), at, event)


def _events_near(
    events: pd.DataFrame | None, series: BeforeAfter, services: pd.Index, within_h: float
) -> NDArray[np.object_]:
    """``deploy at 10:05, 3 min before`` for each service, empty where nothing was changed."""
    told = np.full(len(services), "", dtype=object)
    if events is None or events.empty or not len(series.incident_ms):
        return told
    onset = pd.Timestamp(int(series.incident_ms[0]), unit="ms", tz="UTC")
    ahead = onset - events["ts"]
    # a change is seen in the step in which it was made: that of the onset counts as well
    near = events[(ahead <= pd.Timedelta(within_h, "h")) & (ahead > -series.step)]
    near = near.assign(workload=near["workload"].astype("str")).sort_values("ts", kind="stable")
    near = near.drop_duplicates("workload", keep="last")
    near = near[near["workload"].isin(services)]
    minutes = ((onset - near["ts"]) / pd.Timedelta(1, "min")).clip(lower=0).round().astype(int)
    said = near["event"].astype("str") + near["ts"].dt.strftime(" at %H:%M, ")
    told[services.get_indexer(pd.Index(near["workload"]))] = (
        said + minutes.astype("str") + " min before"
    )
    return told


def _listed(weighed: _Weighed, shares: Floats, target: str | None, limit: int) -> pd.DataFrame:
    """One row a workload: its shares added up, and its loudest metric where most of them is."""
    found, service = weighed.found, weighed.service
    rows = weighed.series.keys.assign(
        score=shares.sum(axis=0)[service].round(9),
        here=shares[weighed.place, service].round(9),
        weight=weighed.weight, p=found.p, was=found.was, became=found.became,
        peaked=found.peaked, moves_with=weighed.moves_with, event=weighed.event,
    )  # fmt: skip
    # what was not measured on both sides has nothing to say
    rows = rows[np.isfinite(found.was) & np.isfinite(found.became)]
    rows.loc[service[rows.index] == weighed.target, "moves_with"] = 0.0
    rows = rows.sort_values(
        ["score", "workload", "here", "weight", "metric"],
        ascending=[False, True, False, False, True],
    )
    rows = rows.drop_duplicates("workload").head(limit).reset_index(drop=True)
    rows["confidence"] = (rows["score"] * (1 - rows["p"])).clip(0.0, 1.0).round(6)
    length = weighed.series.step * max(1, weighed.series.incident.shape[1])
    seen_at = "" if target is None else unquote(target.rsplit("/", 1)[-1])
    rows["evidence"] = evidence_in_words(rows, seen_at, length)
    return rows[list(CAUSE_COLUMNS)]
