"""Who is live: for every series the model that did best out of sample, and never one below the bar.

The bar is last week: the seasonal forecasts. A challenger is champion of a series only where its
backtest beats the better of them by a margin. Whoever wins is fitted again on all of the history,
and its quantiles are calibrated on what it got wrong in the backtest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel
from models.backtest import Backtest, BacktestParams, Floats32, rolling_origin
from models.base import Baselines, Forecaster
from models.calibrate import CalibrationParams, apply_quantiles, fit_quantiles
from models.choice import BARS, FIGURES, REASONS, choose

__all__ = ["ChampionParams", "Champions", "fit_champions"]


@dataclass(frozen=True, slots=True)
class ChampionParams:
    """How much better a challenger has to be, and how that is found out."""

    margin: float = 0.02
    """Share of the bar's loss by which a challenger must be better."""
    backtest: BacktestParams = field(default_factory=BacktestParams)
    calibration: CalibrationParams = field(default_factory=CalibrationParams)

    def __post_init__(self) -> None:
        """Refuse a margin that nobody or everybody meets."""
        if not 0 <= self.margin < 1:
            raise ValueError(f"margin must be at least 0 and below 1, got {self.margin!r}")


@dataclass(frozen=True, slots=True)
class Champions:
    """The live model of every series, fitted and calibrated.

    Attributes
    ----------
    members : model → baselines of all series
        Only the models that are champion somewhere.
    chosen : frame, one row a series
        ``workload, metric, model, reason``; ``loss`` of the champion and ``bar_loss`` of the better
        bar: mean pinball loss of q50 and q90 in the metric's unit; ``wape`` and ``naive_wape`` (of
        the better bar); ``origins`` compared. NaN and 0 without a backtest.
    calibration : baselines
        Arrays of ``models.calibrate.fit_quantiles`` and ``nonnegative``; meta has ``end``, where
        the history ended, and ``step_s``.
    table : frame
        BACKTEST contract; empty after ``from_baselines``: it is a table of the store.
    outlook : float32, (n_series, n_predicted), or nothing after ``from_baselines``
        The champion's out-of-sample medians of the backtest, the last one just before ``end``.
    """

    members: Mapping[str, Baselines]
    chosen: pd.DataFrame
    calibration: Baselines
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    outlook: Floats32 | None = None

    @property
    def end(self) -> pd.Timestamp:
        """Where the history ended that the champions were fitted on."""
        return pd.Timestamp(self.calibration.meta["end"]).as_unit("ms")

    @property
    def step(self) -> pd.Timedelta:
        """Length of a step."""
        return pd.Timedelta(self.calibration.meta["step_s"], "s")

    def predict(
        self,
        start: pd.Timestamp,
        n_steps: int,
        quantiles: Sequence[float],
        forecasters: Sequence[Forecaster],
    ) -> tuple[Floats, NDArray[np.str_]]:
        """Forecast every series with its champion; rows in the order of ``chosen``.

        A series without a backtest has its model's own quantiles.

        Returns
        -------
        values : float64, (n_quantiles, n_series, n_steps)
            Never crossing; never below 0 where the history never was. NaN where the champion has no
            answer: nothing was ever measured.
        models : str, (n_series,)

        Raises
        ------
        ValueError
            A champion's forecaster is not among those given, or ``start`` is in the history.
        """
        if start < self.end:
            raise ValueError(f"start must not be before the history's end {self.end}, got {start}")
        arrays = self.calibration.arrays
        calibrated = arrays["calibrated"]
        point = self._ask(calibrated, start, n_steps, (0.5,), forecasters)[0]
        times = pd.date_range(start, periods=n_steps, freq=self.step)
        around = apply_quantiles(arrays, point, times, quantiles, arrays["nonnegative"])
        own = self._ask(~calibrated, start, n_steps, quantiles, forecasters)
        values = np.where(calibrated[:, None], around, own)
        floor = np.where(arrays["nonnegative"], 0.0, -np.inf)[:, None]
        return np.maximum(values, floor), self.chosen["model"].to_numpy(dtype=str)

    def expected(self, panel: Panel, forecasters: Sequence[Forecaster]) -> Floats:
        """What the champion would have said, (n_series, n_steps) of the panel, for detectors.

        Nothing here was fitted to the value it is compared with: after the history's end it is the
        forecast; inside it, the backtest's out-of-sample median where there is one, else the value
        of a week before, else of a week after, else of a day before, else of a day after (values
        after are taken from the history only). NaN where there is none of these, and for series
        without a champion.

        Raises
        ------
        ValueError
            The panel is on another grid.
        """
        ahead = (self.end - panel.start) / self.step
        if panel.step != self.step or ahead != round(ahead):
            raise ValueError(
                f"expected a panel of step {self.step} that meets {self.end}, "
                f"got step {panel.step} from {panel.start}"
            )
        row = self._rows(panel.keys)
        history = panel.window(end=self.end)
        out = np.full(panel.values.shape, np.nan)
        if not (row >= 0).any():
            return out
        out[:, : history.n_steps] = _neighbouring(history)
        if self.outlook is not None:
            outlook = np.where(row[:, None] >= 0, self.outlook[row], np.float32(np.nan))
            # Column j of the panel is column j - shift of the outlook.
            shift = round(ahead) - outlook.shape[1]
            lo, hi = min(max(shift, 0), history.n_steps), history.n_steps
            told = outlook[:, lo - shift : hi - shift]
            out[:, lo:hi] = np.where(np.isnan(told), out[:, lo:hi], told)
        if panel.end > self.end:
            first = max(panel.start, self.end)
            later = panel.n_steps - history.n_steps
            told = self.predict(first, later, (0.5,), forecasters)[0][0]
            out[:, history.n_steps :] = told[row]
        out[row < 0] = np.nan
        return out

    def to_baselines(self) -> dict[str, Baselines]:
        """Plain arrays for a bundle: ``champion`` (who and why), ``calibration``, and the members.

        The backtest's table and ``outlook`` are not among them: one belongs to the store, the other
        serves the training of detectors in the same run.
        """
        models = sorted(self.members)
        arrays = {name: self.chosen[name].to_numpy(dtype=np.float64) for name in FIGURES}
        arrays["model"] = _codes(self.chosen["model"], models)
        arrays["reason"] = _codes(self.chosen["reason"], REASONS)
        who = Baselines(
            "champion",
            self.chosen[["workload", "metric"]],
            arrays,
            {"models": models, "reasons": list(REASONS)},
        )
        return {"champion": who, "calibration": self.calibration, **self.members}

    @classmethod
    def from_baselines(cls, baselines: Mapping[str, Baselines]) -> Self:
        """What ``to_baselines`` gave, or some rows of it.

        Raises
        ------
        ValueError
            A part is missing: the message names it.
        """
        for name in ("champion", "calibration"):
            if name not in baselines:
                raise ValueError(f"champions: {name!r} is missing; got {', '.join(baselines)}")
        who = baselines["champion"]
        missing = [name for name in who.meta["models"] if name not in baselines]
        if missing:
            raise ValueError(f"champions: {missing[0]!r} is missing; got {', '.join(baselines)}")
        words = {
            "model": np.array(who.meta["models"], dtype=str)[who.arrays["model"]],
            "reason": np.array(who.meta["reasons"], dtype=str)[who.arrays["reason"]],
        }
        chosen = who.keys.assign(
            **{name: pd.Series(text, dtype="str") for name, text in words.items()},
            **{name: np.array(who.arrays[name]) for name in FIGURES},
        )
        members = {name: baselines[name] for name in who.meta["models"]}
        return cls(members, chosen, baselines["calibration"])

    def _ask(
        self,
        rows: NDArray[np.bool_],
        start: pd.Timestamp,
        n_steps: int,
        quantiles: Sequence[float],
        forecasters: Sequence[Forecaster],
    ) -> Floats:
        """The champions' own quantiles for the given series, NaN for the others."""
        out = np.full((len(quantiles), len(rows), n_steps), np.nan)
        for name, baselines in self.members.items():
            mine = np.flatnonzero(rows & (self.chosen["model"] == name).to_numpy())
            if len(mine):
                forecaster = _named(forecasters, name)
                told = forecaster.predict(baselines.select(mine), start, n_steps, quantiles)
                out[:, mine] = told
        return out

    def _rows(self, keys: pd.DataFrame) -> NDArray[np.intp]:
        """Row of each of the given series; -1 where there is none."""
        own = pd.MultiIndex.from_frame(self.chosen[["workload", "metric"]])
        return own.get_indexer(pd.MultiIndex.from_frame(keys[["workload", "metric"]]))


def fit_champions(
    panel: Panel, forecasters: Sequence[Forecaster], params: ChampionParams
) -> Champions:
    """Backtest, choose, fit again on all of the history, calibrate.

    Raises
    ------
    ValueError
        The first bar is not among the forecasters, or two have the same name.
    """
    names = [f.name for f in forecasters]
    if BARS[0] not in names or len(set(names)) < len(names):
        raise ValueError(
            f"forecasters must have different names and contain {BARS[0]!r}, got {names}"
        )
    backtest = rolling_origin(panel, forecasters, params.backtest)
    chosen = choose(backtest, params.margin)
    model = chosen["model"].to_numpy()
    members = {f.name: f.fit(panel) for f in forecasters if (model == f.name).any()}
    per_series = len(backtest.table) // max(panel.n_series, 1)
    table = backtest.table.assign(
        champion=backtest.table["model"].to_numpy() == np.repeat(model, per_series)
    )
    outlook = _outlook(backtest, model)
    arrays = fit_quantiles(
        backtest.actual.reshape(outlook.shape), outlook, backtest.times, params.calibration
    )
    arrays["nonnegative"] = np.fmin.reduce(panel.values, axis=1, initial=np.inf) >= 0
    meta: dict[str, Any] = {
        "end": panel.end.isoformat(),
        "step_s": panel.step.total_seconds(),
    }
    calibration = Baselines("calibration", panel.keys, arrays, meta)
    return Champions(members, chosen, calibration, table, outlook)


def _outlook(backtest: Backtest, model: NDArray[Any]) -> Floats32:
    """The champion's medians, all origins in a row, (n_series, n_origins · n_horizon)."""
    n_series, n_origins, n_horizon = backtest.actual.shape
    out = np.full((n_series, n_origins * n_horizon), np.nan, dtype=np.float32)
    for name, point in backtest.point.items():
        mine = model == name
        out[mine] = point.reshape(out.shape)[mine]
    return out


def _neighbouring(panel: Panel) -> Floats:
    """The value a week before, else a week after, else a day before, else a day after."""
    out = np.full(panel.values.shape, np.nan)
    day = round(panel.steps_per_day)
    for lag in (7 * day, day):
        if 0 < lag < panel.n_steps:
            early, late = out[:, :-lag], out[:, lag:]
            np.copyto(late, panel.values[:, :-lag], where=np.isnan(late))
            np.copyto(early, panel.values[:, lag:], where=np.isnan(early))
    return out


def _named(forecasters: Sequence[Forecaster], name: str) -> Forecaster:
    for forecaster in forecasters:
        if forecaster.name == name:
            return forecaster
    known = ", ".join(f.name for f in forecasters)
    raise ValueError(f"champions need the forecaster {name!r}, got {known or 'none'}")


def _codes(text: pd.Series, words: Sequence[str]) -> NDArray[np.int8]:
    return pd.Categorical(text, categories=list(words)).codes.astype(np.int8)
