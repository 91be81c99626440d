"""How champions are found: backtest, combination, choice, a last fit on all history, calibration.

Whoever wins is fitted again on all of the history, and its quantiles are calibrated on what it got
wrong in the backtest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.civil import Calendar, maintenance_mask, special_kinds, special_mask
from features.local_time import to_wall
from features.panel import Panel
from models.backtest import Backtest, BacktestParams, Floats32, rolling_origin
from models.base import Baselines, Forecaster
from models.calibrate import CalibrationParams, fit_quantiles
from models.champion import Champions
from models.choice import BARS, ChoiceParams, choose
from models.combination import COMBINATION, CombinationParams, with_combination
from models.left_out import left_out
from models.special_days import last_special

__all__ = ["ChampionParams", "fit_champions", "newcomers", "only", "refitted", "without_unusual"]

_EVERYWHERE = Calendar()
_SUNDAY = 6
_BLOCK = 256  # series calibrated in one go: temporaries of a large panel need not fit in memory


@dataclass(frozen=True, slots=True)
class ChampionParams:
    """How it is found out who is live."""

    choice: ChoiceParams = field(default_factory=ChoiceParams)
    combination: CombinationParams = field(default_factory=CombinationParams)
    backtest: BacktestParams = field(default_factory=BacktestParams)
    calibration: CalibrationParams = field(default_factory=CalibrationParams)


def fit_champions(
    panel: Panel,
    forecasters: Sequence[Forecaster],
    params: ChampionParams,
    calendar: Calendar = _EVERYWHERE,
) -> Champions:
    """Backtest, choose, fit again on all of the history, calibrate.

    Parameters
    ----------
    panel
        All of whose workloads follow the calendar. Its special days and maintenance windows are no
        usual days: nothing of them is learned but what the last special day was like.

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
    wall = to_wall(without_unusual(panel, calendar), calendar.timezone)
    combined = tuple(n for n in names if n in params.combination.members)
    combined = combined if len(combined) > 1 else ()
    backtest = rolling_origin(wall, forecasters, params.backtest, keep=combined)
    weights = np.empty((panel.n_series, 0))
    if combined:
        backtest, weights = with_combination(backtest, params.combination)
        backtest = replace(backtest, quantiles={})  # by far the largest part of it
    chosen = choose(backtest, params.choice)
    model = chosen["model"].to_numpy(dtype=str)
    needed = {BARS[0], *model, *(combined if (model == COMBINATION).any() else ())}
    members = {f.name: f.fit(wall) for f in forecasters if f.name in needed}
    table = backtest.table
    table["champion"] = table["model"].to_numpy() == np.repeat(
        model, len(table) // max(panel.n_series, 1)
    )
    calibration, outlook = _calibration(panel, wall, backtest, chosen, params, calendar)
    return Champions(members, chosen, weights, combined, calibration, table, outlook)


def newcomers(
    panel: Panel,
    rows: NDArray[np.bool_],
    bar: Forecaster,
    params: ChampionParams,
    calendar: Calendar = _EVERYWHERE,
) -> Champions:
    """The given series with last week in charge, for those that came after the last training.

    The others of the panel, which follow the same calendar, are only looked at as workloads that
    may be similar.
    """
    wall = to_wall(without_unusual(panel, calendar), calendar.timezone)
    few = wall.select(rows)
    nothing = rolling_origin(few, [bar], BacktestParams(origins=0))
    members = {bar.name: bar.fit(wall).select(rows)}
    chosen = choose(nothing, params.choice)
    calibration = _calibration(panel.select(rows), few, nothing, chosen, params, calendar)[0]
    return Champions(members, chosen, np.empty((few.n_series, 0)), (), calibration, nothing.table)


def refitted(champions: Champions, panel: Panel, forecasters: Sequence[Forecaster]) -> Champions:
    """The same champions, weights and calibration, the members fitted on what is known by now.

    A training is a week old at times; the last week, which most members repeat, then lies between
    it and the forecast. Series that the panel does not have are no longer answered.

    Raises
    ------
    ValueError
        The panel has another step, or a member's forecaster is not among those given.
    """
    if panel.step != champions.step:
        raise ValueError(f"expected a panel of step {champions.step}, got {panel.step}")
    unknown = sorted(champions.members.keys() - {f.name for f in forecasters})
    if unknown:
        raise ValueError(f"champions need the forecaster {unknown[0]!r}")
    known = pd.MultiIndex.from_frame(panel.keys[["workload", "metric"]])
    row = known.get_indexer(pd.MultiIndex.from_frame(champions.keys))
    values = np.where(row[:, None] >= 0, panel.values[row], np.nan)
    values[left_out(champions.calibration, panel)] = np.nan
    seen = replace(panel, keys=champions.keys.reset_index(drop=True), values=values)
    calendar = champions.calendar
    wall = to_wall(without_unusual(seen, calendar), calendar.timezone)
    members = {f.name: f.fit(wall) for f in forecasters if f.name in champions.members}
    old = champions.calibration
    never_below = np.fmin.reduce(values, axis=1, initial=np.inf) >= 0
    arrays = {
        **old.arrays,
        "nonnegative": old.arrays["nonnegative"] & never_below,
        "special": _kept(_last_special(seen, calendar), old.arrays["special"]),
    }
    if "sunday" in old.arrays:
        sunday, before = _last_sunday(seen, calendar), old.arrays["sunday"]
        arrays["sunday"] = np.where(np.isnan(sunday), before, sunday)
    meta = {**old.meta, "end": seen.end.isoformat(), "wall_end": wall.end.isoformat()}
    calibration = replace(old, arrays=arrays, meta=meta)
    return replace(champions, members=members, calibration=calibration, outlook=None)


def only(champions: Champions, rows: NDArray[np.bool_]) -> Champions:
    """Some of the series, without the table and the outlook of the backtest."""
    return Champions(
        {name: baselines.select(rows) for name, baselines in champions.members.items()},
        champions.chosen[rows].reset_index(drop=True),
        champions.weights[rows],
        champions.combined,
        champions.calibration.select(rows),
    )


def without_unusual(panel: Panel, calendar: Calendar) -> Panel:
    """Holidays, special days and maintenance windows blanked: they teach nothing about usual days.

    All of the panel's workloads follow the calendar.
    """
    own = [replace(calendar, match="*")]
    unusual = (
        special_mask(["*"], panel.times, own)[0] | maintenance_mask(["*"], panel.times, own)[0]
    )
    return panel.with_values(np.where(unusual, np.nan, panel.values)) if unusual.any() else panel


def _calibration(
    panel: Panel,
    wall: Panel,
    backtest: Backtest,
    chosen: pd.DataFrame,
    params: ChampionParams,
    calendar: Calendar,
) -> tuple[Baselines, Floats32]:
    """How far off the champions were, and what they had said (see ``Champions``)."""
    outlook = _outlook(backtest, chosen["model"].to_numpy(dtype=str))
    actual, step_h = backtest.actual.reshape(outlook.shape), panel.step / pd.Timedelta(1, "h")
    blocks = [slice(at, at + _BLOCK) for at in range(0, max(len(actual), 1), _BLOCK)]
    fitted = [
        fit_quantiles(actual[b], outlook[b], backtest.times, params.calibration, step_h)
        for b in blocks
    ]
    arrays = {name: np.concatenate([block[name] for block in fitted]) for name in fitted[0]}
    arrays["nonnegative"] = np.fmin.reduce(panel.values, axis=1, initial=np.inf) >= 0
    arrays["special"] = _last_special(panel, calendar)
    arrays["sunday"] = _last_sunday(panel, calendar)
    about = {"timezone", "country", "special_days"}
    meta: dict[str, Any] = {
        "end": panel.end.isoformat(),
        "trained_until": panel.end.isoformat(),
        "wall_end": wall.end.isoformat(),
        "step_s": panel.step.total_seconds(),
        "calendar": {k: v for k, v in asdict(calendar).items() if k in about},
    }
    return Baselines("calibration", panel.keys, arrays, meta), outlook


def _outlook(backtest: Backtest, model: NDArray[np.str_]) -> Floats32:
    """The champion's medians, all origins in a row, (n_series, n_origins · n_horizon)."""
    n_series, n_origins, n_horizon = backtest.actual.shape
    out = np.full((n_series, n_origins * n_horizon), np.nan, dtype=np.float32)
    for name, point in backtest.point.items():
        mine = model == name
        out[mine] = point.reshape(out.shape)[mine]
    return out


def _kept(new: NDArray[np.float64], old: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a special day was like when it was last seen: history moves on and forgets it."""
    if not old.shape[2] or not new.shape[2]:
        return new if new.shape[2] else old
    return np.where(np.isnan(new), old, new)


def _last_special(panel: Panel, calendar: Calendar) -> NDArray[np.float64]:
    """What the last holiday and the last other special day were like, by local time of day,
    (n_series, 2, steps_per_day or 0)."""
    wall = to_wall(panel, calendar.timezone)
    kinds = special_kinds(wall.times, replace(calendar, timezone="UTC", maintenance=()))
    if not kinds.any():
        return np.empty((panel.n_series, 2, 0))
    told = [last_special(wall.values, wall.times, special, wall.step) for special in kinds]
    return np.stack(told, axis=1)


def _last_sunday(panel: Panel, calendar: Calendar) -> NDArray[np.float64]:
    """What the last usual Sunday was like, by local time of day, (n_series, steps_per_day): a
    holiday is forecast from it where none was ever seen. Nothing, (n_series, 0), without a country.
    """
    if calendar.country is None:
        return np.empty((panel.n_series, 0))
    wall = to_wall(panel, calendar.timezone)
    kinds = special_kinds(wall.times, replace(calendar, timezone="UTC", maintenance=()))
    sundays = np.asarray(wall.times.day_of_week == _SUNDAY) & ~kinds.any(axis=0)
    return last_special(wall.values, wall.times, sundays, wall.step)
