"""Rolling origin: fit on what is before an origin, predict, and hold that against what came.

Measures of a forecast are free functions in ``models/measures.py``, those of a detector in
``models/events.py``. Origin after origin, nothing at or after the origin is given to a model, not
even as a view (Tashman 2000, "Out-of-sample tests of forecasting accuracy").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.frames import BACKTEST
from features.panel import Floats, Panel
from models.backtest_scores import PREDICTED, SCORES, all_scores
from models.base import Forecaster, Solves
from models.measures import seasonal_scale

__all__ = ["PREDICTED", "Backtest", "BacktestParams", "Floats32", "rolling_origin"]

Floats32 = NDArray[np.float32]

_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True, slots=True)
class BacktestParams:
    """Where the origins lie."""

    origins: int = 3
    """At most so many; fewer where history is short."""
    horizon_h: float = 168.0
    """Length of each horizon and distance of the origins; at most half of the history."""
    minimum_train_days: float = 7.0
    """A series is backtested at an origin when its first sample is at least so long before it: with
    less than a week nobody knows what last week is worth."""

    def __post_init__(self) -> None:
        """Refuse values that allow no origin at all."""
        if self.origins < 0:
            raise ValueError(f"origins must be at least 0, got {self.origins!r}")
        if not (np.isfinite(self.horizon_h) and self.horizon_h >= 24):
            raise ValueError(
                f"horizon_h must be a finite number of at least 24, got {self.horizon_h!r}"
            )
        if not (np.isfinite(self.minimum_train_days) and self.minimum_train_days > 0):
            raise ValueError(
                "minimum_train_days must be a finite number above 0, "
                f"got {self.minimum_train_days!r}"
            )


@dataclass(frozen=True, slots=True)
class Backtest:
    """What every model would have said, and what came.

    Attributes
    ----------
    keys : frame, (n_series,)
    models : (n_models,)
    origins : oldest first, (n_origins,)
    step : length of a step
    actual : float32, (n_series, n_origins, n_horizon)
        NaN where nothing was measured.
    point : model → float32, (n_series, n_origins, n_horizon)
        Predicted median; NaN where the model had no answer or the series too little history.
    scores : (n_measures, n_series, n_models, n_origins)
        The measures of the BACKTEST contract in its order; NaN where one cannot be had.
    points : int64, (n_series, n_models, n_origins)
        Steps that could be compared.
    scale : (n_series, n_origins)
        What MASE divides by.
    solver : str, (n_series, n_models, n_origins)
        How a model came to its answer, where it has several ways (``solvers`` of a forecaster).
    quantiles : model → float32, (n_quantiles, n_series, n_origins, n_horizon)
        At ``PREDICTED``, of the models that were to be kept.
    """

    keys: pd.DataFrame
    models: tuple[str, ...]
    origins: pd.DatetimeIndex
    step: pd.Timedelta
    actual: Floats32
    point: Mapping[str, Floats32]
    scores: Floats
    points: NDArray[np.int64]
    scale: Floats
    solver: NDArray[np.str_]
    quantiles: Mapping[str, Floats32] = field(default_factory=dict[str, Floats32])

    @property
    def times(self) -> pd.DatetimeIndex:
        """Left edges of all predicted steps, oldest origin first, (n_origins · n_horizon,).

        Horizons follow each other without a gap.
        """
        if not len(self.origins):
            return self.origins
        n_steps = self.actual.shape[1] * self.actual.shape[2]
        return pd.date_range(self.origins[0], periods=n_steps, freq=self.step).as_unit("ms")

    @property
    def table(self) -> pd.DataFrame:
        """BACKTEST contract without ``champion``; rows in order of series, model, origin."""
        series, model, origin = (i.ravel() for i in np.indices(self.points.shape))
        horizon_s = self.actual.shape[2] * self.step.total_seconds()
        columns = {
            "workload": self.keys["workload"].to_numpy()[series],
            "metric": self.keys["metric"].to_numpy()[series],
            "model": np.array(self.models, dtype=object)[model],
            "solver": self.solver.ravel(),
            "origin": self.origins[origin],
            "horizon_s": np.full(len(series), horizon_s),
            **{name: self.scores[i].ravel() for i, name in enumerate(SCORES)},
            "points": self.points.ravel(),
        }
        frame = pd.DataFrame(columns).astype(
            {"workload": "str", "metric": "str", "model": "str", "solver": "str"}
        )
        return frame[[c for c in BACKTEST.schema.names if c in columns]]

    def score(self, column: str) -> Floats:
        """One measure, (n_series, n_models, n_origins)."""
        return self.scores[SCORES.index(column)]

    def joined(self, name: str, told: Floats32) -> Backtest:
        """The same with a further model, the last one.

        ``told`` is (n_quantiles, n_series, n_origins, n_horizon) at ``PREDICTED``.
        """
        scores = np.empty((len(SCORES), *self.scale.shape))
        points = np.zeros(self.scale.shape, dtype=np.int64)
        for o in range(len(self.origins)):
            scores[:, :, o], points[:, o] = all_scores(
                self.actual[:, o], told[:, :, o], self.scale[:, o]
            )
        return replace(
            self,
            models=(*self.models, name),
            point={**self.point, name: told[0]},
            scores=np.concatenate([self.scores, scores[:, :, None]], axis=2),
            points=np.concatenate([self.points, points[:, None]], axis=1),
            solver=np.concatenate([self.solver, np.full_like(self.solver[:, :1], "")], axis=1),
        )

    def without(self, name: str) -> Backtest:
        """The same as if one of its models had not been there."""
        left = [i for i, model in enumerate(self.models) if model != name]
        return replace(
            self,
            models=tuple(self.models[i] for i in left),
            point={model: said for model, said in self.point.items() if model != name},
            scores=self.scores[:, :, left],
            points=self.points[:, left],
            solver=self.solver[:, left],
        )


def rolling_origin(
    panel: Panel,
    forecasters: Sequence[Forecaster],
    params: BacktestParams,
    keep: Collection[str] = (),
) -> Backtest:
    """Backtest all series with all forecasters.

    The horizon is ``horizon_h``, or whole days of at most half of a shorter history, at least one
    day; the last horizon ends with the panel. Where not even a day is left after
    ``minimum_train_days`` there is no origin, and the table is empty. Of the models named in
    ``keep`` all quantiles stay.
    """
    horizon, origins = _plan(panel, params)
    shape = (panel.n_series, len(origins), horizon)
    names = tuple(f.name for f in forecasters)
    actual = np.full(shape, np.nan, dtype=np.float32)
    point = {name: np.full(shape, np.nan, dtype=np.float32) for name in names}
    kept = {n: np.full((len(PREDICTED), *shape), np.nan, np.float32) for n in names if n in keep}
    scores = np.full((len(SCORES), panel.n_series, len(names), len(origins)), np.nan)
    points = np.zeros(scores.shape[1:], dtype=np.int64)
    scale = np.full(shape[:2], np.nan)
    solver = np.full(points.shape, "", dtype="U24")
    for o, origin in enumerate(origins):
        train = panel.window(end=origin)
        truth = panel.window(origin, origin + horizon * panel.step).values
        young = _history_steps(train) * panel.step < _days(params.minimum_train_days)
        scale[:, o] = seasonal_scale(train.values, round(panel.steps_per_day))
        actual[:, o] = _narrow(truth)
        for m, forecaster in enumerate(forecasters):
            fitted = forecaster.fit(train)
            told = forecaster.predict(fitted, origin, horizon, PREDICTED)
            solver[:, m, o] = forecaster.solvers(fitted) if isinstance(forecaster, Solves) else ""
            told = np.where(young[None, :, None], np.nan, told) if young.any() else told
            point[names[m]][:, o] = _narrow(told[0])
            if names[m] in kept:
                kept[names[m]][:, :, o] = _narrow(told)
            scores[:, :, m, o], points[:, m, o] = all_scores(truth, told, scale[:, o])
    return Backtest(
        panel.keys, names, origins, panel.step, actual, point, scores, points, scale, solver, kept
    )


def _plan(panel: Panel, params: BacktestParams) -> tuple[int, pd.DatetimeIndex]:
    """Steps of a horizon, and the origins, oldest first."""
    length = panel.n_steps * panel.step
    spare = min(length / 2, length - _days(params.minimum_train_days))
    horizon = min(pd.Timedelta(params.horizon_h, "h"), spare)
    if horizon < pd.Timedelta(params.horizon_h, "h"):
        horizon = horizon.floor("D")
    if horizon < _DAY:
        return 0, pd.DatetimeIndex([], dtype="datetime64[ms, UTC]")
    n_horizon = int(horizon / panel.step)
    earliest = panel.start + _days(params.minimum_train_days)
    back = [panel.end - k * n_horizon * panel.step for k in range(params.origins, 0, -1)]
    return n_horizon, pd.DatetimeIndex([b for b in back if b >= earliest], tz="UTC").as_unit("ms")


def _narrow(values: Floats) -> Floats32:
    """Half the memory; what float32 cannot hold becomes NaN."""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    return np.where(np.isfinite(narrow), narrow, np.float32(np.nan))


def _days(days: float) -> pd.Timedelta:
    return pd.Timedelta(days, "D")


def _history_steps(train: Panel) -> NDArray[np.intp]:
    """Steps from each series' first sample to the end of the panel; 0 where there is none."""
    there = ~np.isnan(train.values)
    return np.where(there.any(axis=1), train.n_steps - there.argmax(axis=1), 0)
