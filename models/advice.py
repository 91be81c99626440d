"""Whether to switch pre-scaling on for a workload: the verdict of its weeks in the shadow.

Each week was replayed with the reactive HPA alone and with the floors that were forecast then. What
counts is what a person asks: how many pod-minutes were missing, how many are with us, what the
pods kept ready for it cost, and whether that was so every week.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["DO_NOT", "ENABLE", "UNKNOWN", "AdviceParams", "advise", "weeks_apart"]

ENABLE, DO_NOT, UNKNOWN = "enable", "do not enable", "not enough data"

_OVERLAP = pd.Timedelta(1, "h")
"""Two evaluations' weeks may share so much: the clock of a schedule is not exact."""
_KEY = ["workload", "evaluated_at"]
_COLUMNS = [
    "workload", "verdict", "reason", "weeks", "short_pod_min_reactive", "short_pod_min_foretide",
    "extra_replica_hours", "extra_cost_usd_per_week", "replica_hours_ratio",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class AdviceParams:
    """What a verdict needs."""

    weeks_max: int = 4
    """Weeks looked at: what was true in spring is no reason in autumn."""
    weeks_min: int = 3
    """Fewer judged weeks are no verdict: of two, one can be a holiday."""
    measured_min_h: float = 120.0
    """A week of which less was measured, or had floors, is not judged: five days, so that each kind
    of day but the weekend's is in it."""
    worth_pod_min: float = 60.0
    """Where the reactive HPA lacks less in a week there is nothing to gain: one pod for an hour."""
    usd_per_core_hour: float = 0.0
    """What a requested core costs; 0 and 0: no price is known, and none is made up."""
    usd_per_gib_hour: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        if not 1 <= self.weeks_min <= self.weeks_max:
            raise ValueError(
                f"advice: weeks_min must be from 1 to weeks_max {self.weeks_max!r}, "
                f"got {self.weeks_min!r}"
            )
        for key in ("worth_pod_min", "measured_min_h", "usd_per_core_hour", "usd_per_gib_hour"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ValueError(f"advice: {key} must be 0 or more, got {getattr(self, key)!r}")

    @property
    def priced(self) -> bool:
        """Whether money can be told."""
        return self.usd_per_core_hour > 0 or self.usd_per_gib_hour > 0


def weeks_apart(replays: pd.DataFrame, weeks_max: int) -> pd.DataFrame:
    """Of evaluations that overlap, as daily ones of a week do, those that do not.

    For every workload the newest evaluation is kept, then the newest that had ended when that one
    began, and so on, at most ``weeks_max``. An evaluation that was done twice counts as it was
    done last. Rows and columns are those of the REPLAYS contract, in any order.
    """
    rows = replays.assign(
        workload=replays["workload"].astype("str"), policy=replays["policy"].astype("str")
    ).drop_duplicates(["workload", "policy", "evaluated_at"], keep="last")
    left = rows[[*_KEY, "started_at"]].drop_duplicates(_KEY).reset_index(drop=True)
    kept: list[pd.DataFrame] = []
    while len(left) and len(kept) < weeks_max:
        newest = left.loc[left.groupby("workload")["evaluated_at"].idxmax()]
        kept.append(newest[_KEY])
        begin = left["workload"].map(newest.set_index("workload")["started_at"])
        left = left[left["evaluated_at"] <= begin + _OVERLAP]
    chosen = pd.concat([left[_KEY][:0], *kept])
    return rows.merge(chosen, on=_KEY).reset_index(drop=True)


def advise(
    weeks: pd.DataFrame,
    params: AdviceParams | None = None,
    *,
    quantiles: Mapping[str, float] | float,
    pods: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row a workload: columns of the ADVICE contract, but who evaluated and when.

    Figures are means over the judged weeks, per week; NaN where none was judged.

    Parameters
    ----------
    weeks
        REPLAYS rows of weeks that do not overlap (``weeks_apart``); of the policies ``reactive``
        and ``foretide`` are looked at. ``measured_h``, hours of a week that were measured and had a
        floor, may be there; else all of it counts.
    quantiles
        Each workload's share ``under / (under + over)`` of what a missing and an idle pod cost
        (``capacity_params.quantiles_of``), in (0, 1): pods that cost more than what they avoid
        are not advised.
    pods
        ``workload, request_cores, request_bytes`` of one pod, for money; where they lack there is
        no price.
    """
    params = params or AdviceParams()
    judged = _judged(weeks, params)
    told = _means(judged, weeks).join(_costs(pods, params), how="left")
    names = [str(w) for w in told.index]
    shares = [quantiles[w] for w in names] if isinstance(quantiles, Mapping) else quantiles
    share = np.broadcast_to(np.asarray(shares, dtype=np.float64), (len(names),))
    told = told.assign(worth=share / (1 - share))
    told["extra_cost_usd_per_week"] = told["extra_replica_hours"] * told["usd_per_pod_hour"]
    verdict, reason = _verdict(told, params)
    unpriced = told["extra_cost_usd_per_week"].isna().to_numpy() & (told["weeks"] > 0).to_numpy()
    reason = np.where(unpriced, reason + "; no price configured", reason)
    return told.assign(verdict=verdict, reason=reason).reset_index()[_COLUMNS]


def _judged(weeks: pd.DataFrame, params: AdviceParams) -> pd.DataFrame:
    """A row a workload and week with both policies side by side, newest weeks only."""
    rows = weeks.assign(workload=weeks["workload"].astype("str"))
    hours = (rows["evaluated_at"] - rows["started_at"]).dt.total_seconds() / 3600
    rows["measured_h"] = rows["measured_h"].fillna(0) if "measured_h" in rows else hours
    values = ["short_pod_min", "replica_hours"]
    sides = [
        rows[rows["policy"].astype("str") == p].drop_duplicates(_KEY, keep="last").set_index(_KEY)
        for p in ("reactive", "foretide")
    ]
    ours = sides[1][values].add_suffix("_with")
    both = sides[0][[*values, "measured_h"]].join(ours, how="inner")
    there = np.isfinite(both.to_numpy(np.float64)).all(axis=1)
    enough = (both["measured_h"] >= params.measured_min_h) & (both["replica_hours"] > 0)
    both = both[there & enough.to_numpy()].sort_index()
    return both.groupby("workload").tail(params.weeks_max).reset_index()


def _means(judged: pd.DataFrame, weeks: pd.DataFrame) -> pd.DataFrame:
    """Means per week, by workload, and in how many weeks it was better or worse."""
    more = judged["short_pod_min_with"] - judged["short_pod_min"]
    judged = judged.assign(
        extra=judged["replica_hours_with"] - judged["replica_hours"],
        better=more < 0,
        # a pod-minute more in a week is the replay's own grain, not harm
        worse=more > 1,
        worst=judged["evaluated_at"].where(more > 1),
    )
    by = judged.groupby("workload")
    sums = by[["replica_hours_with", "replica_hours", "better", "worse"]].sum()
    told = pd.DataFrame(
        {
            "weeks": by.size(),
            "short_pod_min_reactive": by["short_pod_min"].mean(),
            "short_pod_min_foretide": by["short_pod_min_with"].mean(),
            "extra_replica_hours": by["extra"].mean(),
            "replica_hours_ratio": sums["replica_hours_with"] / sums["replica_hours"],
            "better": sums["better"],
            "worse": sums["worse"],
            "worst": by["worst"].max(),
        }
    )
    names = pd.Index(sorted(set(weeks["workload"].astype("str"))), name="workload", dtype="str")
    counts = ["weeks", "better", "worse"]
    told = told.reindex(names)
    return told.assign(**{c: told[c].fillna(0).astype("int64") for c in counts})


def _costs(pods: pd.DataFrame | None, params: AdviceParams) -> pd.DataFrame:
    """USD of a pod-hour, by workload; no rows where there is no price."""
    if pods is None or not params.priced:
        return pd.DataFrame({"usd_per_pod_hour": pd.Series(dtype="float64")})
    usd = np.zeros(len(pods))
    for column, price, unit in (
        ("request_cores", params.usd_per_core_hour, 1.0),
        ("request_bytes", params.usd_per_gib_hour, 2.0**30),
    ):
        if price > 0:  # what has no price may be unknown
            usd = usd + pods[column].to_numpy(np.float64) / unit * price
    names = pd.Index(pods["workload"].astype("str"))
    found = pd.DataFrame({"usd_per_pod_hour": usd}, index=names)
    return found[~found.index.duplicated(keep="last")]


def _verdict(told: pd.DataFrame, params: AdviceParams) -> tuple[np.ndarray, np.ndarray]:
    """The first that is true, from top to bottom."""
    avoided = told["short_pod_min_reactive"] - told["short_pod_min_foretide"]
    pays = told["extra_replica_hours"] * 60 <= told["worth"] * avoided
    cases: list[tuple[pd.Series, str, str]] = [
        (told["weeks"] < params.weeks_min, UNKNOWN, _FEW.format(p=params)),
        (told["worse"] > 0, DO_NOT, _WORSE),
        (told["short_pod_min_reactive"] < params.worth_pod_min, DO_NOT, _LITTLE),
        (avoided <= 0, DO_NOT, _NONE),
        (~pays, DO_NOT, _DEAR),
    ]
    rest = (pd.Series(data=True, index=told.index), ENABLE, _GAIN)
    which = np.select([c[0].to_numpy() for c in cases], list(range(len(cases))), len(cases))
    texts = [*cases, rest]
    shown = told.assign(
        avoided=avoided,
        more=told["replica_hours_ratio"] - 1,
        each=told["extra_replica_hours"] * 60 / avoided.where(avoided > 0),
    ).to_dict("records")
    reasons = [texts[i][2].format_map(row) for i, row in zip(which, shown, strict=True)]
    return np.array([texts[i][1] for i in which], dtype=object), np.array(reasons, dtype=object)


_FEW = (
    "{{weeks}} of {p.weeks_min} weeks were judged; one counts with {p.measured_min_h:g} h of load "
    "and floors"
)
_WORSE = "more pod-minutes short in {worse} of {weeks} weeks, last in the week to {worst:%Y-%m-%d}"
_LITTLE = "the HPA alone is {short_pod_min_reactive:.0f} pod-minutes short a week: little to gain"
_NONE = "{short_pod_min_reactive:.0f} pod-minutes short a week, and as many with floors"
_DEAR = (
    "{each:.0f} idle pod-minutes for each one avoided, which is worth {worth:.0f}: "
    "{short_pod_min_reactive:.0f} → {short_pod_min_foretide:.0f} pod-minutes short a week, "
    "{more:+.0%} pod-hours"
)
_GAIN = (
    "{short_pod_min_reactive:.0f} → {short_pod_min_foretide:.0f} pod-minutes short a week, "
    "{more:+.0%} pod-hours, better in {better} of {weeks} weeks"
)
