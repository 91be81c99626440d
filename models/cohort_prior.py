"""A workload's first day: the forecast of its cohort, scaled to its own level.

The level is the ratio of what a series had to what the cohort's profile says of the same hours. At
hours that were seen the profile gives way to the series' own value, the more so the less the donors
agree with each other (``Profiles.own_weight``).

The spread is found by asking the donors: each day of each donor is forecast as if nothing but the
same hours of its day before were known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.panel import Floats, Panel
from models.cohort import CohortParams, Profiles, Rows, cohort_profiles, days_of
from models.cohort_kernels import own_scale
from models.spread_kernels import at_least_wide, spread_tables, writable

__all__ = ["CohortPriors", "cohort_priors"]

_HOURS = 24
_HOUR_NS = 3_600_000_000_000
_SERIES = 256  # series in one go that need no donors
_BLOCK = 64  # young series in one go: the days of their donors need not all fit in memory
_LEAST_SHARE = 0.05
"""Of the profile's mean: hours that usually carry less load than that say nothing of a level."""
_HUGE = 1e300  # a level above it would overflow at the busy hours


@dataclass(frozen=True, slots=True)
class CohortPriors:
    """Forecasts of the young series from their cohorts, in the metric's unit.

    Attributes
    ----------
    rows : (n_served,)
        Positions in the panel.
    template : (n_served, n_ahead)
        The steps after the end of the panel.
    edges, spread
        As ``models.spread_kernels.spread_tables``.
    usual : (n_young,)
        What the donors of each young series usually have; 0 where it has no cohort.
    """

    rows: Rows
    template: Floats
    edges: Floats
    spread: Floats
    usual: Floats


def cohort_priors(
    panel: Panel,
    young: Rows,
    n_ahead: int,
    probabilities: Floats,
    levels: int,
    params: CohortParams,
) -> CohortPriors:
    """Forecast the young series that have a cohort and a level of their own above zero."""
    p = cohort_profiles(panel, young, params)
    usual = np.zeros(len(young))
    usual[p.cohort >= 0] = p.usual[p.cohort[p.cohort >= 0]]
    rows, cohort, scale = _scaled(panel, young, p)
    template = np.empty((len(rows), n_ahead))
    edges = np.empty((len(rows), levels - 1))
    spread = np.empty((len(rows), levels, len(probabilities)))
    left, share = _between_hours(panel, panel.n_steps, n_ahead)
    for at in range(0, len(rows), _BLOCK):
        now = slice(at, at + _BLOCK)
        factor = scale[now, None]
        seen = _by_hour(panel, rows[now]) / factor
        shape = _updated(seen, p.profile[cohort[now]], p.own_weight[cohort[now], None])
        here, following = shape[:, left], shape[:, (left + 1) % _HOURS]
        template[now] = factor * (here + share * (following - here))
        expected, residuals = _asked(p, cohort[now], np.isfinite(seen))
        relative, tables = spread_tables(expected, residuals, probabilities, levels)
        width = params.minimum_width_ratio * _typical(shape, relative)
        edges[now] = factor * relative
        spread[now] = factor[:, :, None] * at_least_wide(tables, probabilities, width)
    return CohortPriors(rows, template, edges, spread, usual)


def _scaled(panel: Panel, young: Rows, p: Profiles) -> tuple[Rows, Rows, Floats]:
    """The series that can be served: position, cohort, and level."""
    rows, cohort = young[p.cohort >= 0], p.cohort[p.cohort >= 0]
    left, share = _between_hours(panel, 0, panel.n_steps)
    own, theirs, lowest = (np.empty(len(rows)) for _ in range(3))
    seen = np.empty(len(rows), dtype=np.int64)
    for at in range(0, len(rows), _SERIES):
        now = slice(at, at + _SERIES)
        values, profile = writable(panel.values[rows[now]]), p.profile[cohort[now]]
        own[now], theirs[now], lowest[now], seen[now] = own_scale(values, profile, left, share)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = own / theirs
    # A level so small that values over it overflow is none.
    fit = (lowest >= 0) & (scale > 1 / _HUGE) & (scale < _HUGE) & (theirs >= _LEAST_SHARE * seen)
    return rows[fit], cohort[fit], scale[fit]


def _by_hour(panel: Panel, rows: Rows) -> Floats:
    """What a young series had by hour of the day, (len(rows), 24); NaN where nothing."""
    days = days_of(panel, rows)
    there = np.isfinite(days)
    number = there.sum(axis=1)
    total = np.where(there, days, 0.0).sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _updated(seen: Floats, profile: Floats, weight: Floats) -> Floats:
    """The profile, moved towards what was seen of it."""
    return np.where(np.isfinite(seen), profile + weight * (seen - profile), profile)


def _asked(p: Profiles, cohort: Rows, seen: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Forecasts of the donors' days from the same hours of the days before, and what came less
    that, in units of the level: (len(cohort), donors · days · 24)."""
    members = p.members[cohort]
    days = np.where(members[:, :, None, None] >= 0, p.days[members], np.nan)
    profile = p.profile[cohort][:, None, None, :]
    known = np.where(seen[:, None, None, :], days[:, :, :-1], np.nan)
    there = np.isfinite(known)
    theirs = np.where(there, profile, 0.0).sum(axis=3)
    own = np.where(there, known, 0.0).sum(axis=3)
    fit = (theirs >= _LEAST_SHARE * there.sum(axis=3)) & (own > _LEAST_SHARE * theirs)
    level = np.where(fit, own, np.nan) / np.where(fit, theirs, 1.0)
    weight = p.own_weight[cohort][:, None, None, None]
    expected = _updated(known / level[..., None], profile, weight)
    residuals = days[:, :, 1:] / level[..., None] - expected
    flat = (len(cohort), int(np.prod(residuals.shape[1:])))
    return expected.reshape(flat), residuals.reshape(flat)


def _typical(shape: Floats, edges: Floats) -> Floats:
    """Mean of the shape in each level, 0 where none of it lies there, (n, levels)."""
    level = (shape[:, :, None] > edges[:, None, :]).sum(axis=2)
    own = level[:, :, None] == np.arange(edges.shape[1] + 1)
    total: Floats = np.where(own, shape[:, :, None], 0.0).sum(axis=1)
    return total / np.maximum(own.sum(axis=1), 1)


def _between_hours(panel: Panel, first: int, number: int) -> tuple[Rows, Floats]:
    """Of the middle of each step: the hour of the day whose middle lies before, and how far it is
    to the next, 0 to 1."""
    begin = panel.start.value % (_HOURS * _HOUR_NS)
    middle = begin + np.arange(first, first + number) * panel.step.value + panel.step.value // 2
    left, rest = np.divmod(middle - _HOUR_NS // 2, _HOUR_NS)
    return (left % _HOURS).astype(np.int64), rest / _HOUR_NS
