"""What similar workloads do by hour of the day: the forecast of a workload that has no day yet.

The cohort of a series is the series of the same metric in the same namespace, or, where these are
too few, of the same metric anywhere in the panel. Each donor's mean by hour of the day is divided
by the donor's mean; the cohort's profile is the median over donors, hour by hour. This is the
pooled seasonal index for short histories of Withycombe, "Forecasting with combined seasonal
indices", International Journal of Forecasting 5 (1989), with medians. ``models/cohort_prior.py``
makes forecasts of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel
from models.cohort_kernels import hourly_means
from models.spread_kernels import writable

__all__ = ["CohortParams", "Profiles", "Rows", "cohort_profiles", "days_of"]

_HOURS = 24
_HOUR_NS = 3_600_000_000_000
_BLOCK = 64  # cohorts in one go: their donors' hours need not all fit in memory
_SERIES = 256  # series in one go, for the same reason

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CohortParams:
    """Who lends a young workload its shape, and how sure that may look."""

    minimum_donors: int = 3
    """Series with a history of their own below which a group is no cohort."""
    most_donors: int = 32
    """Of a larger group so many are asked, evenly taken in the order of their names."""
    donor_days: int = 7
    """Days before the end of the panel that a donor's profile is taken from."""
    minimum_width_ratio: float = 0.1
    """Half the width of the 5 to 95 % band is at least this share of the expected value."""

    def __post_init__(self) -> None:
        """Refuse a cohort of nobody."""
        if self.minimum_donors < 1:
            raise ValueError(f"minimum_donors must be 1 or more, got {self.minimum_donors}")
        if self.most_donors < self.minimum_donors:
            raise ValueError(
                f"most_donors must be at least minimum_donors ({self.minimum_donors}), "
                f"got {self.most_donors}"
            )
        if self.donor_days < 2:
            raise ValueError(f"donor_days must be 2 or more, got {self.donor_days}")
        if not 0 < self.minimum_width_ratio < np.inf:
            raise ValueError(f"minimum_width_ratio must be above 0, got {self.minimum_width_ratio}")


@dataclass(frozen=True, slots=True)
class Profiles:
    """The cohorts that some young series have.

    Attributes
    ----------
    cohort : (n_young,)
        Position of each series' cohort below; -1 where there are too few donors.
    profile : (n_cohorts, 24)
        By hour of the day, of a mean near 1.
    usual : (n_cohorts,)
        Median of the donors' means, in the metric's unit.
    own_weight : (n_cohorts,)
        How much one own day says of an hour against the cohort, 0 to 1: B² / (B² + W²), the
        posterior weight of one observation, with B the usual distance of the donors' profiles to
        the cohort's and W that of their days to their own profile.
    members : (n_cohorts, most_donors)
        Positions in ``days``; -1 fills up.
    days : (n_donors, n_days, 24)
        The donors' hours divided by their mean; NaN where nothing was measured.
    """

    cohort: Rows
    profile: Floats
    usual: Floats
    own_weight: Floats
    members: Rows
    days: Floats


def cohort_profiles(panel: Panel, young: Rows, params: CohortParams) -> Profiles:
    """Find the cohort of every young series, and what it does by hour of the day.

    A donor is no young series itself, has two days of hours and each hour of the day within the
    last ``donor_days``, is never negative and not always zero.
    """
    metric, group = _groups(panel)
    others = np.setdiff1d(np.arange(panel.n_series), young)
    others = others[np.isin(metric[others], metric[young])]
    days = days_of(panel, others, params.donor_days)
    mean, profile = _normalised(days)
    enough = np.isfinite(days).sum(axis=(1, 2)) >= 2 * _HOURS
    fit = np.isfinite(profile).all(axis=1) & enough & ~(days < 0).any(axis=(1, 2))
    others, days, mean, profile = others[fit], days[fit], mean[fit], profile[fit]
    days /= mean[:, None, None]
    cohort, members = _cohorts(young, others, metric, group, params)
    blocks = [
        _pooled(members[at : at + _BLOCK], days, mean, profile)
        for at in range(0, max(len(members), 1), _BLOCK)
    ]
    typical, usual, own_weight = (np.concatenate(part) for part in zip(*blocks, strict=True))
    return Profiles(cohort, typical, usual, own_weight, members, days)


def days_of(panel: Panel, rows: Rows, last_days: int | None = None) -> Floats:
    """Means by hour of some series, (len(rows), days, 24), from midnight on; NaN where nothing was
    measured. A step longer than an hour is every hour it covers."""
    step_h = panel.step / pd.Timedelta(1, "h")
    since = 0
    if last_days is not None:
        since = max(panel.n_steps - int(np.ceil(last_days * _HOURS / step_h)), 0)
    begin = panel.start.value % (_HOURS * _HOUR_NS)
    hour = (begin + np.arange(since, panel.n_steps) * panel.step.value) // _HOUR_NS
    hour, first = hour - hour[0], hour[0] % _HOURS
    cover = max(round(step_h), 1)
    n_hours = int(hour[-1]) + cover
    out = np.full((len(rows), -(-(first + n_hours) // _HOURS) * _HOURS), np.nan)
    for at in range(0, len(rows), _SERIES):
        values = writable(panel.values[rows[at : at + _SERIES], since:])
        out[at : at + _SERIES, first : first + n_hours] = hourly_means(values, hour, cover)
    return out.reshape(len(rows), out.shape[1] // _HOURS, _HOURS)


def _normalised(days: Floats) -> tuple[Floats, Floats]:
    """Mean (n,) and profile divided by it (n, 24); NaN where a series has none."""
    there = np.isfinite(days)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        profile = np.where(there, days, 0.0).sum(axis=1) / there.sum(axis=1)
        mean = profile.mean(axis=1)
        mean = np.where((mean > 0) & np.isfinite(mean), mean, np.nan)
        return mean, profile / mean[:, None]


def _groups(panel: Panel) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Codes of each series' metric, and of its metric and ``cluster/namespace``."""
    metric = pd.factorize(panel.keys["metric"])[0]
    where = panel.keys["workload"].astype("str").str.rsplit("/", n=2).str[0]
    place, places = pd.factorize(where)
    return metric, metric * len(places) + place


def _cohorts(
    young: Rows,
    donors: Rows,
    metric: NDArray[np.intp],
    group: NDArray[np.intp],
    params: CohortParams,
) -> tuple[Rows, Rows]:
    """Each young series' cohort (-1: none), and of each cohort the donors, (n_cohorts,
    most_donors), as positions among the donors; -1 fills up."""
    # One code for both kinds: metrics come after all groups.
    above = int(group.max(initial=-1)) + 1
    codes = np.concatenate([group[donors], above + metric[donors]])
    order = np.argsort(codes, kind="stable")
    known, first, number = np.unique(codes[order], return_index=True, return_counts=True)
    near, far = group[young], above + metric[young]
    wanted = np.full(len(young), -1)
    for code in (far, near):
        at = np.minimum(np.searchsorted(known, code), max(len(known) - 1, 0))
        enough = (
            (known[at] == code) & (number[at] >= params.minimum_donors) if len(known) else False
        )
        wanted = np.where(enough, at, wanted)
    used, cohort = np.unique(wanted, return_inverse=True)
    missing = int(len(used) > 0 and used[0] < 0)
    used, cohort = used[missing:], cohort - missing
    taken = np.minimum(number[used], params.most_donors)[:, None]
    nth = np.arange(params.most_donors)[None, :]
    at = first[used, None] + np.minimum(nth, taken - 1) * number[used, None] // np.maximum(taken, 1)
    members = np.where(nth < taken, order[at] % max(len(donors), 1), -1)
    return cohort.astype(np.int64), members.astype(np.int64)


def _pooled(
    members: Rows, days: Floats, mean: Floats, profile: Floats
) -> tuple[Floats, Floats, Floats]:
    """Profile, usual level and own weight of some cohorts."""
    there = members >= 0
    shapes = np.where(there[:, :, None], profile[members], np.nan)
    typical = _median(shapes)
    usual = _median(np.where(there, mean[members], np.nan))
    between = _median(_flat(np.abs(shapes - typical[:, None, :])))
    strays = np.abs(days[members] - shapes[:, :, None, :])  # NaN where there is no donor
    within = _median(_flat(strays))
    total = between**2 + within**2
    return typical, usual, between**2 / np.where(total > 0, total, 1.0)


def _median(values: Floats) -> Floats:
    """Median along the second axis without the NaNs, of which there are fewer than values."""
    number = np.isfinite(values).sum(axis=1, keepdims=True)
    ordered = np.sort(values, axis=1)
    low, high = (
        np.take_along_axis(ordered, np.maximum(at, 0), axis=1)[:, 0]
        for at in ((number - 1) // 2, number // 2)
    )
    return low + (high - low) / 2


def _flat(values: Floats) -> Floats:
    return values.reshape(len(values), int(np.prod(values.shape[1:])))
