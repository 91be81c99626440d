"""Rolling origin: fit on what is before an origin, predict, and hold that against what came.

Measures of a forecast are free functions in ``models/measures.py``, those of a detector in
``models/events.py``. Origin after origin, nothing at or after the origin is given to a model, not
even as a view (Tashman 2000, "Out-of-sample tests of forecasting accuracy").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.frames import BACKTEST
from features.panel import Floats, Panel
from models import measures
from models.base import Forecaster

__all__ = ["Backtest", "BacktestParams", "rolling_origin"]

Floats32 = NDArray[np.float32]

_SCORES = (
    "wape", "mase", "pinball_q50", "pinball_q90", "pinball_q99", "coverage_q90",
    "peak_coverage_q90",
)  # fmt: skip
_PREDICTED = (0.5, 0.9, 0.99)
_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True, slots=True)
class BacktestParams:
    """Where the origins lie."""

    origins: int = 3
    """At most so many; fewer where history is short."""
    horizon_h: float = 168.0
    """Length of each horizon and distance of the origins; at most half of the history."""
    minimum_train_days: float = 3.0
    """A series is backtested at an origin when its first sample is at least so long before it."""

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
    residual : model → float32, (n_series, n_origins, n_horizon)
        Actual minus point.
    table : frame
        BACKTEST contract without ``champion``; rows in order of series, model, origin. A measure
        that cannot be had is NaN; where nothing could be compared, ``points`` is 0.
    """

    keys: pd.DataFrame
    models: tuple[str, ...]
    origins: pd.DatetimeIndex
    step: pd.Timedelta
    actual: Floats32
    point: Mapping[str, Floats32]
    residual: Mapping[str, Floats32]
    table: pd.DataFrame

    @property
    def times(self) -> pd.DatetimeIndex:
        """Left edges of all predicted steps, oldest origin first, (n_origins · n_horizon,).

        Horizons follow each other without a gap.
        """
        if not len(self.origins):
            return self.origins
        n_steps = self.actual.shape[1] * self.actual.shape[2]
        return pd.date_range(self.origins[0], periods=n_steps, freq=self.step).as_unit("ms")

    def score(self, column: str) -> Floats:
        """A column of the table as an array, (n_series, n_models, n_origins)."""
        shape = (len(self.keys), len(self.models), len(self.origins))
        return self.table[column].to_numpy(dtype=np.float64).reshape(shape)


def rolling_origin(
    panel: Panel, forecasters: Sequence[Forecaster], params: BacktestParams
) -> Backtest:
    """Backtest all series with all forecasters.

    The horizon is ``horizon_h``, or whole days of at most half of a shorter history, at least one
    day; the last horizon ends with the panel. Where not even a day is left after
    ``minimum_train_days`` there is no origin, and the table is empty.
    """
    horizon, origins = _plan(panel, params)
    shape = (panel.n_series, len(origins), horizon)
    names = tuple(f.name for f in forecasters)
    actual = np.full(shape, np.nan, dtype=np.float32)
    point = {name: np.full(shape, np.nan, dtype=np.float32) for name in names}
    residual = {name: np.full(shape, np.nan, dtype=np.float32) for name in names}
    scores = np.full((len(_SCORES), panel.n_series, len(names), len(origins)), np.nan)
    points = np.zeros(scores.shape[1:], dtype=np.int64)
    for o, origin in enumerate(origins):
        train = panel.window(end=origin)
        truth = panel.window(origin, origin + horizon * panel.step).values
        young = _history_steps(train) * panel.step < _days(params.minimum_train_days)
        scale = measures.seasonal_scale(train.values, round(panel.steps_per_day))
        actual[:, o] = _narrow(truth)
        for m, forecaster in enumerate(forecasters):
            told = forecaster.predict(forecaster.fit(train), origin, horizon, _PREDICTED)
            told = np.where(young[None, :, None], np.nan, told)
            point[names[m]][:, o] = _narrow(told[0])
            residual[names[m]][:, o] = _narrow(truth - told[0])
            scores[:, :, m, o] = _scores(truth, told, scale)
            points[:, m, o] = measures.points(truth, told[0])
    return Backtest(
        keys=panel.keys,
        models=names,
        origins=origins,
        step=panel.step,
        actual=actual,
        point=point,
        residual=residual,
        table=_table(panel, names, origins, horizon, scores, points),
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
    return n_horizon, pd.DatetimeIndex([b for b in back if b >= earliest]).as_unit("ms")


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


def _scores(truth: Floats, told: Floats, scale: Floats) -> Floats:
    """The measures in the order of ``_SCORES``, (n_scores, n_series)."""
    median, q90, q99 = told
    return np.stack(
        [
            measures.wape(truth, median),
            measures.mase(truth, median, scale),
            measures.pinball(truth, median, 0.5),
            measures.pinball(truth, q90, 0.9),
            measures.pinball(truth, q99, 0.99),
            measures.coverage(truth, q90),
            measures.peak_coverage(truth, q90),
        ]
    )


def _table(
    panel: Panel,
    models: tuple[str, ...],
    origins: pd.DatetimeIndex,
    horizon: int,
    scores: Floats,
    points: NDArray[np.int64],
) -> pd.DataFrame:
    series, model, origin = (i.ravel() for i in np.indices(points.shape))
    columns = {
        "workload": panel.keys["workload"].to_numpy()[series],
        "metric": panel.keys["metric"].to_numpy()[series],
        "model": np.array(models, dtype=object)[model],
        "origin": origins[origin],
        "horizon_s": np.full(len(series), horizon * panel.step.total_seconds()),
        **{name: scores[i].ravel() for i, name in enumerate(_SCORES)},
        "points": points.ravel(),
    }
    frame = pd.DataFrame(columns).astype({"workload": "str", "metric": "str", "model": "str"})
    return frame[[c for c in BACKTEST.schema.names if c != "champion"]]
