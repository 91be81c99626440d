"""Our baselines to a fitted ``prophet.Prophet`` and back: users keep its plots and components."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel
from models.base import Baselines
from models.prophet_events import SpecialDays, from_meta, to_meta
from models.prophet_setup import CONSTANT, FITTED, NO_DATA, ProphetParams

__all__ = ["from_prophet", "to_prophet"]

_PERIODS_D = {"weekly": 7.0, "daily": 1.0}
_DELIMITER = "_delim_"  # prophet's, between a holiday's name and its offset in days
_NEAR = 1e-9


def to_prophet(baselines: Baselines, row: int, panel: Panel) -> Any:
    """A fitted stock object of one series: its ``predict`` gives our median (before it is cut at
    zero), its ``plot`` and ``plot_components`` work.

    Parameters
    ----------
    row
        The series, by position in the baselines.
    panel
        What they were fitted on; the series is found by its key.

    Raises
    ------
    ValueError
        The panel does not have the series or has other values than were fitted, or the series has
        fewer than two.
    """
    meta, one = baselines.meta, {name: a[row] for name, a in baselines.arrays.items()}
    key = tuple(baselines.keys.iloc[row][["workload", "metric"]])
    history = _history(panel, key)
    if one["status"] == NO_DATA or history["y"].count() < 2:
        raise ValueError(f"{key}: expected two values or more, got {history['y'].count()}")
    params, special = ProphetParams(**meta["params"]), from_meta(meta)
    model = _unfitted(one, params, special)
    features = model.preprocess(history).X.columns
    _check_scales(model, one, key)
    _set_changepoints(model, one)
    model.params = {
        "k": np.array([[one["k"]]]),
        "m": np.array([[one["m"]]]),
        "delta": np.zeros((1, len(model.changepoints_t))),
        "beta": _beta(list(features), one["beta"], params, special)[None],
        "sigma_obs": np.array([[one["sigma"]]]),
    }
    number = int(one["n_changepoints"])
    model.params["delta"][0, :number] = one["delta"][:number]
    return model


def from_prophet(model: Any, *, workload: str, metric: str, step: pd.Timedelta) -> Baselines:
    """Baselines of one series from a fitted stock object; the panel's clock is its ``ds``.

    A holiday's window becomes one set of special days for each offset.

    Raises
    ------
    ValueError
        The model is not fitted, or has something that ours does not: the message names it.
    """
    _refuse(next(_strange(model), None))
    history, p = model.history, {name: np.ravel(a) for name, a in model.params.items()}
    start_s = pd.Timestamp(model.start, tz="UTC").timestamp()
    span_s, step_s = model.t_scale.total_seconds(), step.total_seconds()
    number = len(model.changepoints)
    special = _special(model)
    params = _params(model)
    flat = params.growth == "flat"
    constant = history["y"].min() == history["y"].max()
    arrays: dict[str, NDArray[Any]] = {
        "status": np.array([CONSTANT if constant else FITTED]),
        "multiplicative": np.array([params.seasonality_mode == "multiplicative" and not constant]),
        "scale": np.array([model.y_scale]),
        "m": p["m"],
        "k": np.zeros(1) if flat else p["k"],
        "sigma": p["sigma_obs"],
        "delta": np.zeros((1, number)) if flat else p["delta"][None, :number],
        "changepoints": model.changepoints_t[None, :number],
        "n_changepoints": np.array([number]),
        "beta": _our_beta(model, p["beta"], params, special)[None],
        "t_start_s": np.array([start_s]),
        "t_span_s": np.array([span_s]),
        "non_negative": np.array([history["y"].min() >= 0]),
        "rounds": np.zeros(1, dtype=np.int64),
    }
    meta = {
        "start": pd.Timestamp(model.start, tz="UTC").isoformat(),
        "step_s": step_s,
        "n_steps": int(span_s // step_s) + 1,
        "params": asdict(params),
        "special": to_meta(special),
    }
    keys = pd.DataFrame({"workload": [workload], "metric": [metric]})
    return Baselines("prophet", keys, arrays, meta)


def _params(model: Any) -> ProphetParams:
    orders = {name: props["fourier_order"] for name, props in model.seasonalities.items()}
    return ProphetParams(
        growth=model.growth,
        n_changepoints=len(model.changepoints),
        changepoint_range=model.changepoint_range,
        changepoint_prior_scale=model.changepoint_prior_scale,
        seasonality_mode=model.seasonality_mode,
        seasonality_prior_scale=model.seasonality_prior_scale,
        holidays_prior_scale=model.holidays_prior_scale,
        weekly_order=orders.get("weekly", 0),
        daily_order=orders.get("daily", 0),
    )


def _unfitted(one: dict[str, Any], params: ProphetParams, special: tuple[SpecialDays, ...]) -> Any:
    """A stock object with one series' knobs."""
    import prophet

    orders = _orders(one, params)
    return prophet.Prophet(
        growth=params.growth,
        n_changepoints=params.n_changepoints,
        changepoint_range=params.changepoint_range,
        changepoint_prior_scale=params.changepoint_prior_scale,
        seasonality_mode="multiplicative" if one.get("multiplicative", False) else "additive",
        seasonality_prior_scale=params.seasonality_prior_scale,
        holidays_prior_scale=params.holidays_prior_scale,
        holidays=_holidays(special),
        yearly_seasonality=False,
        weekly_seasonality=orders["weekly"] or False,
        daily_seasonality=orders["daily"] or False,
    )


def _history(panel: Panel, key: tuple[str, ...]) -> pd.DataFrame:
    mine = (panel.keys["workload"] == key[0]) & (panel.keys["metric"] == key[1])
    if not mine.any():
        raise ValueError(f"{key}: expected a panel with this series, got {len(mine)} others")
    values = panel.values[int(np.flatnonzero(mine)[0])]
    ds = pd.date_range(panel.start, periods=panel.n_steps, freq=panel.step).tz_localize(None)
    return pd.DataFrame({"ds": ds, "y": np.where(np.isfinite(values), values, np.nan)})


def _orders(one: dict[str, Any], params: ProphetParams) -> dict[str, int]:
    """Fourier orders that the series really has: its coefficients are zero otherwise."""
    middle = 2 * params.weekly_order
    end = middle + 2 * params.daily_order
    has = {"weekly": one["beta"][:middle].any(), "daily": one["beta"][middle:end].any()}
    order = {"weekly": params.weekly_order, "daily": params.daily_order}
    return {name: order[name] if has[name] else 0 for name in order}


def _holidays(special: tuple[SpecialDays, ...]) -> pd.DataFrame | None:
    rows = [
        {"holiday": one.name, "ds": pd.Timestamp(day), "prior_scale": one.prior_scale or np.nan}
        for one in special
        for day in one.days
    ]
    return pd.DataFrame(rows) if rows else None


def _check_scales(model: Any, one: dict[str, Any], key: tuple[str, ...]) -> None:
    start_s = pd.Timestamp(model.start, tz="UTC").timestamp()
    theirs = np.array([start_s, model.t_scale.total_seconds(), model.y_scale])
    ours = np.array([one["t_start_s"], one["t_span_s"], one["scale"]])
    if not np.allclose(theirs, ours, rtol=1e-12, atol=0):
        raise ValueError(
            f"{key}: expected the panel that was fitted on (start, span in seconds, largest value "
            f"{ours.tolist()}), got {theirs.tolist()}"
        )


def _set_changepoints(model: Any, one: dict[str, Any]) -> None:
    """Ours, where they are not the ones that prophet picks by itself (``from_prophet``)."""
    number = int(one["n_changepoints"])
    t = one["changepoints"][:number]
    same = len(model.changepoints) == number
    if number and not (same and np.allclose(t, model.changepoints_t, rtol=0, atol=_NEAR)):
        dates = model.start + pd.to_timedelta(np.rint(t * one["t_span_s"] * 1e3), unit="ms")
        model.changepoints, model.n_changepoints = pd.Series(dates, name="ds"), number
        model.specified_changepoints, model.changepoints_t = True, np.array(t)


def _places(params: ProphetParams, special: tuple[SpecialDays, ...]) -> dict[str, int]:
    """Prophet's name of each of our ``beta``."""
    names = [
        f"{name}{_DELIMITER}{i + 1}"
        for name, order in (("weekly", params.weekly_order), ("daily", params.daily_order))
        for i in range(2 * order)
    ]
    names += [f"{one.name}{_DELIMITER}+0" for one in special]
    return {name: place for place, name in enumerate(names)}


def _beta(
    features: list[str], ours: Floats, params: ProphetParams, special: tuple[SpecialDays, ...]
) -> Floats:
    place = _places(params, special)
    return np.array([ours[place[name]] if name in place else 0.0 for name in features])


def _our_beta(
    model: Any, theirs: Floats, params: ProphetParams, special: tuple[SpecialDays, ...]
) -> Floats:
    features = model.make_all_seasonality_features(model.history)[0].columns
    out, place = np.zeros(len(_places(params, special))), _places(params, special)
    for feature, value in zip(features, theirs, strict=True):
        name, _, offset = str(feature).partition(_DELIMITER)
        if offset[:1] in ("+", "-"):
            feature = f"{_offset_name(name, int(offset))}{_DELIMITER}+0"  # noqa: PLW2901
        if feature in place:
            out[place[feature]] = value
    return out


def _offset_name(name: str, offset: int) -> str:
    return f"{name} {offset:+d}" if offset else name


def _special(model: Any) -> tuple[SpecialDays, ...]:
    """Its holidays, one set for each offset from the day."""
    if model.holidays is None:
        return ()
    days: dict[str, list[str]] = {}
    scales: dict[str, float] = {}
    frame = model.holidays.reindex(
        columns=["holiday", "ds", "lower_window", "upper_window", "prior_scale"]
    )
    windows = frame[["lower_window", "upper_window"]].fillna(0).astype(int)
    scale = frame["prior_scale"].astype(float).fillna(model.holidays_prior_scale)
    for name, ds, low, high, width in zip(
        frame["holiday"], frame["ds"], *(windows[c] for c in windows), scale, strict=True
    ):
        for offset in range(low, high + 1):
            day = (pd.Timestamp(ds) + pd.Timedelta(days=offset)).date().isoformat()
            days.setdefault(_offset_name(name, offset), []).append(day)
            scales[_offset_name(name, offset)] = width
    return tuple(SpecialDays(n, tuple(sorted(set(days[n]))), scales[n]) for n in sorted(days))


def _refuse(reason: str | None) -> None:
    if reason:
        raise ValueError(f"this prophet model cannot be converted: {reason}")


def _strange(model: Any) -> Iterator[str]:
    """What ours does not have."""
    if model.history is None or not model.params:
        yield "it is not fitted"
    mode = model.seasonality_mode
    for name, known in (
        ("growth", ("linear", "flat")),
        ("mcmc_samples", (0,)),
        ("scaling", ("absmax",)),
        ("holidays_mode", (mode,)),
        ("country_holidays", (None,)),
    ):
        got = getattr(model, name, known[0])  # older ones do not have them all
        if got not in known:
            yield f"{name} is {got!r}, expected {' or '.join(map(repr, known))}"
    if model.extra_regressors:
        yield f"extra regressors {list(model.extra_regressors)}"
    for name, props in model.seasonalities.items():
        if props["period"] != _PERIODS_D.get(name) or props["condition_name"] is not None:
            yield f"seasonality {name!r} of {props['period']} days"
        if (props["mode"], props["prior_scale"]) != (mode, model.seasonality_prior_scale):
            yield f"seasonality {name!r} has a mode or a prior scale of its own"
