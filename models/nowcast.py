"""The next hours, corrected by what the forecast has just got wrong.

A forecast that was made from last week's shape errs in stretches: a busy hour is followed by a busy
hour. So its error of the coming steps is regressed on its errors of the last step, the last quarter
of an hour and the last hours (ridge regression, for several steps ahead), and what is then still
wrong gives the quantiles: far tighter ones than those of a week ahead, which is why floors that are
renewed every quarter of an hour cost little. The quantiles grow when the last hour was more
restless than usual.

Errors are taken relative to level ** power, where the power (0: load is as noisy when it is low, 1:
in proportion, 0.5: as counts are) is the one whose high quantile did best for the series.

Sources: Makridakis, Wheelwright & Hyndman 1998, section 8 (regression with autocorrelated errors);
Vovk, Gammerman & Shafer 2005 (split conformal quantiles).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.panel import Floats
from models.nowcast_fit import fit
from models.nowcast_kernels import correct, offsets_at

__all__ = ["LEVELS", "Nowcast", "NowcastParams", "fit_nowcast"]

LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99)
"""Quantiles that are learned; between them they are interpolated."""
_POWERS = np.array([0.0, 0.5, 1.0])
_SHORT_H = 0.25
_RESTLESS_H = 1.0
_LOW_SHARE = 0.05
"""Levels below this share of the highest count as that: an error relative to nothing is none."""


@dataclass(frozen=True, slots=True)
class NowcastParams:
    """How far the last errors are looked at and believed."""

    recent_h: float = 3.0
    """How far back errors are looked at."""
    reach_h: float = 3.0
    """How far ahead they count."""
    restlessness: float = 0.5
    """How far quantiles follow the last hour's errors: 0 not at all, 1 in proportion."""
    minimum_h: float = 72.0
    """Fewer hours of out-of-sample forecasts give no correction."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        for key in ("recent_h", "reach_h", "minimum_h"):
            if not 0 < (value := getattr(self, key)) < np.inf:
                raise ValueError(f"nowcast: {key} must be more than 0, got {value!r}")
        if not 0 <= self.restlessness <= 1:
            raise ValueError(
                f"nowcast: restlessness must be from 0 to 1, got {self.restlessness!r}"
            )


@dataclass(frozen=True, slots=True)
class Nowcast:
    """What was learned for n series, (n, …) each; NaN rows where too little was seen.

    Attributes
    ----------
    power, low, norm, unrest : float64, (n,)
        Of the scale of errors: its power, the lowest level that counts, the usual level, and the
        usual absolute error in that scale.
    weights : float64, (n, n_ahead, 3)
        Of the errors of the last step, the last quarter of an hour, and ``recent_h``.
    offsets : float64, (n, n_ahead, len(LEVELS))
        What is still wrong, in the scale of errors.
    ahead : int64, (n_ahead,)
        For how many steps ahead, 1 being the next, weights and offsets are; others are between.
    recent : int64, (3,)
        Of how many steps the errors are averaged, and (the last) of how many the unrest is.
    restlessness : float
    """

    power: Floats
    low: Floats
    norm: Floats
    unrest: Floats
    weights: Floats
    offsets: Floats
    ahead: NDArray[np.int64]
    recent: NDArray[np.int64]
    restlessness: float

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which series can be corrected, (n,)."""
        return np.isfinite(self.power)

    def paths(
        self, actual: Floats, point: Floats, at: NDArray[np.int64], n_ahead: int, level: Floats
    ) -> Floats:
        """Corrected quantiles of the steps after each moment, (n, len(at), n_ahead).

        Parameters
        ----------
        actual : (n, m)
            What was measured; NaN where nothing was. Nothing from ``at`` on is looked at.
        point : (n, m)
            What had been forecast for all of those steps, before them.
        at : (n_moments,)
            The first steps that are not known yet; ``at + n_ahead`` may not pass m.
        level : (n,)
            The quantile of each series.

        NaN for a series that is not known, and further ahead than ``reach_h``.
        """
        middle, unit = self.parts(actual, point, at, n_ahead)
        return middle + unit * self.offsets_at(level, n_ahead)[:, None]

    def parts(
        self, actual: Floats, point: Floats, at: NDArray[np.int64], n_ahead: int
    ) -> tuple[Floats, Floats]:
        """What ``paths`` is made of, (n, len(at), n_ahead) each: middles, and what offsets are in
        units of."""
        middle, unit = (np.full((len(actual), len(at), n_ahead), np.nan) for _ in range(2))
        correct(
            np.ascontiguousarray(actual, dtype=np.float64),
            np.ascontiguousarray(point, dtype=np.float64),
            at,
            (self.power, self.low, self.norm, self.unrest),
            self.weights,
            self.ahead,
            self.recent,
            self.restlessness,
            middle,
            unit,
        )
        return middle, unit

    def offsets_at(self, level: Floats, n_ahead: int) -> Floats:
        """The offsets of each series' level, (n, n_ahead)."""
        out = np.full((len(level), n_ahead), np.nan)
        known = np.where(self.known, np.asarray(level, dtype=np.float64), np.nan)
        offsets_at(known, np.array(LEVELS), self.offsets, self.ahead, out)
        return out

    def select(self, rows: NDArray[np.intp]) -> Nowcast:
        """The given series, by place."""
        return replace(
            self,
            power=self.power[rows],
            low=self.low[rows],
            norm=self.norm[rows],
            unrest=self.unrest[rows],
            weights=self.weights[rows],
            offsets=self.offsets[rows],
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Plain arrays of n rows for a bundle."""
        return {
            "nowcast_scale": np.stack([self.power, self.low, self.norm, self.unrest], axis=1),
            "nowcast_weights": self.weights,
            "nowcast_offsets": self.offsets,
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], step_h: float, params: NowcastParams
    ) -> Nowcast | None:
        """What ``arrays`` gave; nothing where it is not there or of another reach."""
        ahead, recent = _grid(step_h, params)
        if "nowcast_scale" not in arrays or arrays["nowcast_weights"].shape[1] != len(ahead):
            return None
        power, low, norm, unrest = np.ascontiguousarray(arrays["nowcast_scale"].T)
        weights = np.ascontiguousarray(arrays["nowcast_weights"], dtype=np.float64)
        offsets = np.ascontiguousarray(arrays["nowcast_offsets"], dtype=np.float64)
        return cls(power, low, norm, unrest, weights, offsets, ahead, recent, params.restlessness)


def fit_nowcast(
    actual: NDArray[Any], point: NDArray[Any], step_h: float, params: NowcastParams | None = None
) -> Nowcast:
    """Learn from out-of-sample forecasts, (n, m) each: what came, and what had been forecast."""
    params = params or NowcastParams()
    ahead, recent = _grid(step_h, params)
    n = len(actual)
    levels = np.array(LEVELS)
    scale = np.full((n, 4), np.nan)
    weights = np.full((n, len(ahead), 3), np.nan)
    offsets = np.full((n, len(ahead), len(levels)), np.nan)
    fit(
        np.ascontiguousarray(actual, dtype=np.float64),
        np.ascontiguousarray(point, dtype=np.float64),
        ahead,
        recent,
        levels,
        _POWERS,
        params.restlessness,
        max(int(np.ceil(params.minimum_h / step_h)), 24),
        _LOW_SHARE,
        scale,
        weights,
        offsets,
    )
    power, low, norm, unrest = np.ascontiguousarray(scale.T)
    return Nowcast(power, low, norm, unrest, weights, offsets, ahead, recent, params.restlessness)


def _grid(step_h: float, params: NowcastParams) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For which steps ahead is learned, and of how many steps errors are averaged."""
    reach = max(round(params.reach_h / step_h), 1)
    ahead = np.unique(np.minimum([1, 2, 3, 6, 12, 24, 48, reach], reach)).astype(np.int64)
    lengths = (_SHORT_H, params.recent_h, _RESTLESS_H)
    recent = [max(round(hours / step_h), 1) for hours in lengths]
    recent[1] = max(recent[1], recent[0])
    recent[2] = max(recent[2], 3)
    return ahead, np.array(recent, dtype=np.int64)
