"""Whether the live models are still what they were: a verdict for every series.

``measure`` holds what was issued against what came; ``models.verdict.judge`` compares it with what
the champion did in its own backtest and with last week's values over the same steps:

``drifted``
    Clearly worse than its own backtest, or its 90 % quantile covers what it cannot by chance.
``demoted``
    Worse than last week's values by a margin and beyond chance, in this evaluation and before: it
    lost the edge that made it champion. It stays so until it is trained anew.
``unjudged``
    Too little has come due, or there is no backtest to compare with.

**False alarms.** Errors of neighbouring steps are alike, so steps are not counted as evidence: the
day is. A figure of the window is a ratio of sums over days, its standard error that of a ratio
estimate over days (Cochran 1977, "Sampling techniques", section 6.4), widened for neighbouring days
that are alike (``day_correlation``, the variance inflation of a mean of an AR(1)), and its bound is
passed by chance at ``false_alarms``. What all days of a week have in common no day shows: therefore
the error's bound must lie above the *worst* week of the backtest, and the error above its mean by a
margin. If weeks are exchangeable, one beyond all of k earlier ones is seen once in k + 1 by chance;
the bound and the margin make that rarer still. On simulated errors ``tests/models/test_drift.py``
holds the rate of an evaluation below 0.5 % where errors are alike for up to a day, and below 3 %
where they are for three days.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from features.panel import Floats, Panel
from models import measures

__all__ = ["NOMINAL", "DriftParams", "last_week", "measure"]

NOMINAL = 0.9
"""What the quantile that is watched promises."""
_WEEK = pd.Timedelta(days=7)
_BLOCK = 256  # series in one go: what is computed on the way need not be there for all of them


@dataclass(frozen=True, slots=True)
class DriftParams:
    """When a live model is no longer trusted."""

    margin: float = 0.25
    """Share by which the error must exceed that of the backtest to be drift."""
    minimum_error: float = 0.05
    """Share of the load: a smaller error is no drift, however exact the backtest was."""
    gross_ratio: float = 3.0
    """So many times the worst backtest week's error, or last week's, on the middle day is no
    chance, however few the days and however much they differ."""
    demotion_margin: float = 0.05
    """Share by which the error must exceed that of last week's values to lose against them."""
    persistence_h: float = 20.0
    """A model is demoted when it was found to lose so long ago and in every evaluation since."""
    minimum_h: float = 72.0
    """Hours of forecast steps that must have come due."""
    false_alarms: float = 0.005
    """Chance that one figure of a model that did not change passes its bound."""
    demotion_false_alarms: float = 0.05
    """The same for the comparison with last week's values, which has to be lost more than once."""
    day_correlation: float = 0.3
    """How alike the errors of neighbouring days are taken to be."""
    correlation_h: float = 6.0
    """Coverage is never known better than from one draw in so many hours."""
    coverage_slack: float = 0.05
    """How far the coverage of the 90 % quantile may be off beyond chance."""
    bar_weeks: int = 4
    """How many weeks back last week's values may be fetched from where the last one has none."""

    def __post_init__(self) -> None:
        """Refuse what everybody or nobody passes."""
        for key in ("margin", "minimum_error", "demotion_margin", "persistence_h"):
            if not 0 <= getattr(self, key) < np.inf:
                raise ValueError(f"{key} must be 0 or more, got {getattr(self, key)!r}")
        for key in ("minimum_h", "correlation_h"):
            if not 0 < getattr(self, key) < np.inf:
                raise ValueError(f"{key} must be above 0, got {getattr(self, key)!r}")
        for key in ("false_alarms", "demotion_false_alarms"):
            if not 0 < getattr(self, key) < 0.5:
                raise ValueError(f"{key} must be between 0 and 0.5, got {getattr(self, key)!r}")
        for key in ("day_correlation", "coverage_slack"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 0 and below 1, got {getattr(self, key)}")
        if self.bar_weeks < 1:
            raise ValueError(f"bar_weeks must be 1 or more, got {self.bar_weeks!r}")


def last_week(seen: Panel, issued_ms: Floats, weeks: int) -> Floats:
    """The seasonal naive as whoever issued the forecast could have made it, (n_series, n_steps).

    ``issued_ms`` is (n_series, n_steps): when the forecast of each of the panel's last steps was
    issued, in Unix milliseconds. The value is that of a week before, else of the latest earlier
    week, of those whose step was over by then; where a week is no whole number of steps, of the
    nearest step. NaN where there is none.
    """
    n_steps = issued_ms.shape[1]
    first = seen.n_steps - n_steps
    over_ms = (seen.times + seen.step).as_unit("ms").astype("int64").to_numpy()
    out = np.full(issued_ms.shape, np.nan)
    for k in range(1, weeks + 1):
        lag = max(round(k * _WEEK / seen.step), 1)
        lo = max(lag - first, 0)  # before, the panel has no such week
        if lo >= n_steps:
            break
        source = slice(first + lo - lag, first + n_steps - lag)
        known = np.isnan(out[:, lo:]) & (over_ms[source] <= issued_ms[:, lo:])
        np.copyto(out[:, lo:], seen.values[:, source], where=known)
    return out


def measure(
    actual: Floats,
    q50: Floats,
    q90: Floats,
    bar: Floats,
    times: pd.DatetimeIndex,
    step: pd.Timedelta,
    params: DriftParams,
) -> pd.DataFrame:
    """What issued forecasts were worth, one row a series. All arrays are (n_series, n_steps).

    Columns: ``wape, pinball_q50, pinball_q90, coverage_q90, peak_coverage_q90, points`` of all
    steps with a value and a forecast; ``hours`` of them; ``own_wape, bar_wape`` of those where
    the bar has a value too; ``behind, behind_low``: by which share of the bar's error that of the
    forecast is larger there, and its lower bound; ``error, error_low``: the error as a share of
    what was measured or forecast, whichever is more (so that load that stopped is an error of 1),
    and its lower bound; ``coverage_low, coverage_high``: the bounds; ``behind_usual, error_usual``:
    the middle day's figures.
    NaN where there is nothing to compare.
    """
    days = np.flatnonzero(np.diff(times.floor("D").astype("int64").to_numpy(), prepend=-1))
    blocks = [slice(at, at + _BLOCK) for at in range(0, max(len(actual), 1), _BLOCK)]
    found = [_figures(actual[b], q50[b], q90[b], bar[b], days, step, params) for b in blocks]
    return pd.concat(found, ignore_index=True)


def _figures(
    actual: Floats,
    q50: Floats,
    q90: Floats,
    bar: Floats,
    days: NDArray[np.intp],
    step: pd.Timedelta,
    params: DriftParams,
) -> pd.DataFrame:
    there = np.isfinite(actual - q50)
    points = measures.points(actual, q50)
    error, error_width, error_usual = _error(actual, q50, there, days, params)
    covered, covered_width = _covered(actual, q90, days, step, params)
    common = np.where(there & np.isfinite(bar), actual, np.nan)
    behind, behind_width, behind_usual = _behind(actual, q50, bar, days, params)
    return pd.DataFrame(
        {
            "wape": measures.wape(actual, q50),
            "pinball_q50": measures.pinball(actual, q50, 0.5),
            "pinball_q90": measures.pinball(actual, q90, 0.9),
            "coverage_q90": covered,
            "peak_coverage_q90": measures.peak_coverage(actual, q90),
            "points": points,
            "hours": points * (step / pd.Timedelta(hours=1)),
            "own_wape": measures.wape(common, q50),
            "bar_wape": measures.wape(common, bar),
            "behind": behind,
            "behind_low": behind - behind_width,
            "behind_usual": behind_usual,
            "error": error,
            "error_low": error - error_width,
            "error_usual": error_usual,
            "coverage_low": covered - covered_width,
            "coverage_high": covered + covered_width,
        }
    )


def _error(
    actual: Floats,
    q50: Floats,
    there: NDArray[np.bool_],
    days: NDArray[np.intp],
    params: DriftParams,
) -> tuple[Floats, Floats, Floats]:
    """The absolute error over what was measured or forecast, whichever is more."""
    off, came, told = (
        _by_day(np.where(there, np.abs(v), 0.0), days) for v in (actual - q50, actual, q50)
    )
    more = came.sum(axis=1) >= told.sum(axis=1)
    judged = _by_day(there.astype(np.float64), days) > 0
    below = np.where(more[:, None], came, told)
    return *_with_width(off, below, judged, params, params.false_alarms), _usual(off, below)


def _behind(
    actual: Floats, q50: Floats, bar: Floats, days: NDArray[np.intp], params: DriftParams
) -> tuple[Floats, Floats, Floats]:
    """How much larger the error is than that of the bar, as a share of the bar's."""
    both = np.isfinite(actual - q50) & np.isfinite(bar)
    own, other = (_by_day(np.where(both, np.abs(actual - v), 0.0), days) for v in (q50, bar))
    judged = _by_day(both.astype(np.float64), days) > 0
    width = _with_width(own - other, other, judged, params, params.demotion_false_alarms)
    return *width, _usual(own - other, other)


def _covered(
    actual: Floats, q90: Floats, days: NDArray[np.intp], step: pd.Timedelta, params: DriftParams
) -> tuple[Floats, Floats]:
    """Share of the steps at or below the 90 % quantile."""
    there = np.isfinite(actual - q90)
    count = _by_day(there.astype(np.float64), days)
    hits = _by_day((there & (actual <= q90)).astype(np.float64), days)
    share, spread = _ratio(hits, count, count > 0, params)
    draws = count.sum(axis=1) * (step / pd.Timedelta(hours=1)) / params.correlation_h
    at_least = np.sqrt(_over(np.full(len(draws), NOMINAL * (1 - NOMINAL)), draws))
    # a share of hits has no long tail: Student's quantile would see nothing in a week
    return share, -ndtri(params.false_alarms) * np.maximum(spread, at_least)


def _usual(above: Floats, below: Floats) -> Floats:
    """The middle day's ratio, (n_series,); NaN without any."""
    daily = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return measures.row_quantiles(daily, [0.5])[0]


def _with_width(
    above: Floats, below: Floats, judged: NDArray[np.bool_], params: DriftParams, chance: float
) -> tuple[Floats, Floats]:
    """Ratio of the sums over days, and how far a bound is from it that it passes by ``chance``."""
    ratio, spread = _ratio(above, below, judged, params)
    free = np.maximum(judged.sum(axis=1) - 1, 1)
    return ratio, -stdtrit(free, chance) * spread


def _ratio(
    above: Floats, below: Floats, judged: NDArray[np.bool_], params: DriftParams
) -> tuple[Floats, Floats]:
    """Ratio of the sums over days and its standard error; all given are (n_series, n_days)."""
    n_days, total = judged.sum(axis=1), below.sum(axis=1)
    ratio = _over(above.sum(axis=1), total)
    left = _over(np.where(judged, above - ratio[:, None] * below, 0.0), total[:, None])
    spread = np.sqrt(_over((left**2).sum(axis=1) * n_days, n_days - 1))
    return ratio, spread * np.sqrt((1 + params.day_correlation) / (1 - params.day_correlation))


def _by_day(values: Floats, days: NDArray[np.intp]) -> Floats:
    """Sums over the steps from each of ``days`` to the next, (n_series, n_days)."""
    if not values.size:
        return np.zeros((len(values), len(days)))
    return np.add.reduceat(values, days, axis=1)


def _over(above: NDArray[np.number], below: NDArray[np.number]) -> Floats:
    out = np.full(np.shape(above), np.nan)
    return np.divide(above, below, out=out, where=below > 0)
