"""Who is live: for every series what did best out of sample, calibrated, on the clock of the wall.

Forecasters, and weights where several are combined, are learned on local time (a Monday 09:00 stays
one when daylight saving begins); quantiles are put around the champion's median by what it got
wrong in the backtest; special days are forecast from the last such day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.civil import Calendar, special_kinds
from features.local_time import wall_lattice, wall_positions
from features.panel import Floats, Panel
from models.ask import Together, ask
from models.backtest import Floats32
from models.base import Baselines, Forecaster
from models.calibrate import apply_quantiles
from models.choice import BARS, FIGURES, REASONS
from models.combination import COMBINATION
from models.neighbours import neighbouring
from models.seasonal_naive import CONFIDENCE
from models.special_days import apply_special

__all__ = ["Champions"]


@dataclass(frozen=True, slots=True)
class Champions:
    """The live model of every series, fitted and calibrated.

    Attributes
    ----------
    members : model → baselines of all series
        The bar, the models that are champion somewhere, and those that are combined.
    chosen : frame, one row a series
        ``workload, metric, model, reason``; ``loss`` of the champion and ``bar_loss`` of the better
        bar (see ``models.choice``) in the metric's unit; ``wape`` and ``naive_wape`` (of the better
        bar); ``origins`` compared. NaN and 0 without a backtest.
    weights : float64, (n_series, n_combined)
        What each of ``combined`` weighs where the combination is champion.
    combined : models
    calibration : baselines
        Arrays of ``models.calibrate.fit_quantiles``, ``nonnegative``, ``special`` (n_series, 2,
        steps_per_day or 0), the last holiday and the last other special day, and ``sunday``
        (n_series, steps_per_day or 0), the last usual Sunday; meta has ``end``,
        where the history ended, ``wall_end``, that on the clock of the wall, ``trained_until``,
        ``step_s``, ``calendar``.
    table : frame
        BACKTEST contract; empty after ``from_baselines``: it is a table of the store.
    outlook : float32, (n_series, n_predicted), or nothing after ``from_baselines``
        The champion's out-of-sample medians of the backtest in local time, the last one just before
        ``end``.
    """

    members: Mapping[str, Baselines]
    chosen: pd.DataFrame
    weights: Floats
    combined: tuple[str, ...]
    calibration: Baselines
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    outlook: Floats32 | None = None

    @property
    def keys(self) -> pd.DataFrame:
        """``workload`` and ``metric`` of each series."""
        return self.chosen[["workload", "metric"]]

    @property
    def end(self) -> pd.Timestamp:
        """Where the history ended that the members were fitted on, UTC."""
        return pd.Timestamp(self.calibration.meta["end"]).as_unit("ms")

    @property
    def trained_until(self) -> pd.Timestamp:
        """Until when it is known who is best, and how far off: before ``end`` where the members
        were fitted again since."""
        return pd.Timestamp(self.calibration.meta["trained_until"]).as_unit("ms")

    @property
    def step(self) -> pd.Timedelta:
        """Length of a step."""
        return pd.Timedelta(self.calibration.meta["step_s"], "s")

    @property
    def calendar(self) -> Calendar:
        """Whose clock and whose special days the series follow."""
        told: Mapping[str, Any] = self.calibration.meta["calendar"]
        days = tuple(str(day) for day in told["special_days"])
        return Calendar(timezone=told["timezone"], country=told["country"], special_days=days)

    @property
    def _wall_end(self) -> pd.Timestamp:
        return pd.Timestamp(self.calibration.meta["wall_end"]).as_unit("ms")

    @property
    def confidence(self) -> NDArray[np.str_]:
        """What a series' last week, the fallback, rests on: one of ``CONFIDENCE``, (n_series,)."""
        codes = self.members[BARS[0]].arrays.get("confidence")
        return np.array(CONFIDENCE)[np.zeros(len(self.chosen), int) if codes is None else codes]

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
        zone = self.calendar.timezone
        begin, n_wall, position = wall_positions(start, n_steps, self.step, zone, self._wall_end)
        told = self._on_the_wall(begin, n_wall, quantiles, forecasters)
        return told[:, :, position], self.chosen["model"].to_numpy(dtype=str)

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
        out[:, : history.n_steps] = self._inside(history, row)
        if panel.end > self.end:
            first = max(panel.start, self.end)
            later = panel.n_steps - history.n_steps
            told = self.predict(first, later, (0.5,), forecasters)[0][0]
            out[:, history.n_steps :] = told[row]
        out[row < 0] = np.nan
        return out

    def demoted(self, rows: NDArray[np.bool_]) -> Champions:
        """The same with last week, and its own quantiles, in charge of the given series."""
        chosen = self.chosen.assign(model=self.chosen["model"].mask(rows, BARS[0]))
        arrays = dict(self.calibration.arrays)
        arrays["calibrated"] = arrays["calibrated"] & ~rows
        return replace(self, chosen=chosen, calibration=replace(self.calibration, arrays=arrays))

    def to_baselines(self) -> dict[str, Baselines]:
        """Plain arrays for a bundle: ``champion`` (who and why), ``calibration``, and the members.

        The backtest's table and ``outlook`` are not among them: one belongs to the store, the other
        serves the training of detectors in the same run.
        """
        models = sorted({*self.members, COMBINATION})
        arrays = {name: self.chosen[name].to_numpy(dtype=np.float64) for name in FIGURES}
        arrays["model"] = _codes(self.chosen["model"], models)
        arrays["reason"] = _codes(self.chosen["reason"], REASONS)
        arrays["weights"] = self.weights
        meta = {"models": models, "reasons": list(REASONS), "combined": list(self.combined)}
        who = Baselines("champion", self.keys, arrays, meta)
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
        if "combined" not in who.meta or baselines["calibration"].arrays["special"].ndim < 3:
            raise ValueError("champions: trained by an older release; run `foretide train` again")
        models = [name for name in who.meta["models"] if name != COMBINATION]
        missing = [name for name in models if name not in baselines]
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
        members = {name: baselines[name] for name in models}
        combined = tuple(who.meta["combined"])
        return cls(members, chosen, who.arrays["weights"], combined, baselines["calibration"])

    def _on_the_wall(
        self,
        start: pd.Timestamp,
        n_steps: int,
        quantiles: Sequence[float],
        forecasters: Sequence[Forecaster],
    ) -> Floats:
        """Quantiles in local time, (n_quantiles, n_series, n_steps)."""
        arrays, calibrated = self.calibration.arrays, self.calibration.arrays["calibrated"]
        nonnegative = arrays["nonnegative"]
        point = self._ask(np.ones(len(calibrated), bool), start, n_steps, (0.5,), forecasters)[0]
        times = pd.date_range(start, periods=n_steps, freq=self.step)
        step_h = self.step / pd.Timedelta(1, "h")
        values = apply_quantiles(arrays, point, times, quantiles, nonnegative, step_h)
        if not calibrated.all():
            own = self._ask(~calibrated, start, n_steps, quantiles, forecasters)
            values = np.where(calibrated[:, None], values, own)
        floor = np.where(nonnegative, 0.0, -np.inf)[:, None]
        values = np.maximum(values, floor, out=values)
        profiles = self._profiles()
        if not profiles.shape[2]:
            return values
        for kind, special in enumerate(
            special_kinds(times, replace(self.calendar, timezone="UTC"))
        ):
            profile = profiles[:, kind]
            values = apply_special(values, point, profile, times, special, self.step, nonnegative)
        return values

    def _profiles(self) -> Floats:
        """What the last special days were like, (n_series, 2, steps_per_day); the last Sunday where
        no holiday was ever seen."""
        special, sunday = self.calibration.arrays["special"], self.calibration.arrays.get("sunday")
        if sunday is None or not sunday.shape[1]:
            return special
        seen = (
            special if special.shape[2] else np.full((*special.shape[:2], sunday.shape[1]), np.nan)
        )
        holiday = np.where(np.isnan(seen[:, 0]), sunday, seen[:, 0])
        return np.stack([holiday, seen[:, 1]], axis=1)

    def _ask(
        self,
        rows: NDArray[np.bool_],
        start: pd.Timestamp,
        n_steps: int,
        quantiles: Sequence[float],
        forecasters: Sequence[Forecaster],
    ) -> Floats:
        """The champions' own quantiles for the given series, NaN for the others."""
        model = np.where(rows, self.chosen["model"].to_numpy(dtype=str), "")
        together = Together(self.combined, self.weights)
        return ask(self.members, model, together, forecasters, (start, n_steps, quantiles))

    def _inside(self, history: Panel, row: NDArray[np.intp]) -> Floats:
        """What would have been said inside the history, (n_series, n_steps)."""
        out = neighbouring(history)
        if self.outlook is None:
            return out
        n_told = self.outlook.shape[1]
        zone = self.calendar.timezone
        begin = self._wall_end - n_told * self.step
        at = wall_lattice(history.start, history.n_steps, self.step, zone, begin)
        inside = (at >= 0) & (at < n_told)
        told = np.where(row[:, None] >= 0, self.outlook[row], np.float32(np.nan))[:, at[inside]]
        out[:, inside] = np.where(np.isnan(told), out[:, inside], told)
        return out

    def _rows(self, keys: pd.DataFrame) -> NDArray[np.intp]:
        """Row of each of the given series; -1 where there is none."""
        own = pd.MultiIndex.from_frame(self.keys)
        return own.get_indexer(pd.MultiIndex.from_frame(keys[["workload", "metric"]]))


def _codes(text: pd.Series, words: Sequence[str]) -> NDArray[np.int8]:
    return pd.Categorical(text, categories=list(words)).codes.astype(np.int8)
