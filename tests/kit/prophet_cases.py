"""Histories that prophet is held against, and the fits of the packages that it is held against."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from features.panel import Floats, Panel
from models.base import Baselines
from models.prophet import SpecialDays

START = pd.Timestamp("2026-05-04", tz="UTC").as_unit("ms")
HOUR = pd.Timedelta(3600, "s")
SPECIAL = (
    SpecialDays("sale", ("2026-05-10", "2026-05-24", "2026-06-03")),
    SpecialDays("bank", ("2026-05-25", "2026-08-31"), 0.05),
    SpecialDays("later", ("2026-06-20",)),
)


def panel(
    values: Any, start: pd.Timestamp = START, step: pd.Timedelta = HOUR, names: Any = None
) -> Panel:
    values = np.atleast_2d(np.asarray(values, dtype=float))
    names = names or [f"c/n/Deployment/w{i}" for i in range(len(values))]
    return Panel(pd.DataFrame({"workload": names, "metric": "x"}), start, step, values)


def load(seed: int, n_steps: int = 672, noise: float = 0.1, steps_per_day: int = 24) -> Floats:
    rng = np.random.default_rng(seed)
    day = np.arange(n_steps) / steps_per_day
    wave = 0.4 * np.sin(2 * np.pi * day + 6 * rng.uniform()) + 0.2 * np.sin(2 * np.pi * day / 7)
    return 100 * (1 + wave + 0.01 * day * rng.normal() + noise * rng.normal(size=n_steps))


def growing(seed: int, n_steps: int = 672, steps_per_day: int = 24) -> Floats:
    """A wave whose height is a share of a trend."""
    rng = np.random.default_rng(seed)
    day = np.arange(n_steps) / steps_per_day
    wave = 0.4 * np.sin(2 * np.pi * day + 6 * rng.uniform())
    wave = wave + 0.2 * np.sin(2 * np.pi * day / 7) + 0.1 * np.sin(4 * np.pi * day)
    return np.abs(100 * (1 + 0.03 * day * rng.normal()) * (1 + wave))


def spoiled(base: Floats, seed: int) -> dict[str, Floats]:
    """What real histories are like, by name, each made from ``base``."""
    rng, n = np.random.default_rng(seed), len(base)
    noisy = base * (1 + 0.1 * rng.normal(size=n))
    hole = np.where((np.arange(n) > n // 7) & (np.arange(n) < n // 2), np.nan, noisy)
    return {
        "clean": base * (1 + 0.01 * rng.normal(size=n)),
        "noisy": base * (1 + 0.4 * rng.normal(size=n)),
        "bursts": noisy + 400 * (rng.uniform(size=n) < 0.01) * rng.pareto(1.5, n),
        "level shift": noisy * np.where(np.arange(n) > rng.integers(n // 6, n - n // 6), 1.8, 1),
        "heavy tails": base + 20 * rng.standard_t(2, n),
        "counts": rng.poisson(np.clip(base / 40, 0, None)).astype(float),
        "gaps": np.where(rng.uniform(size=n) < 0.3, np.nan, noisy),
        "late start": np.where(np.arange(n) < rng.integers(n // 6, n // 2), np.nan, noisy),
        "hole": hole,
        "short": np.where(np.arange(n) < n - n // 4, np.nan, noisy),
        "rare": (rng.uniform(size=n) < 0.05) * rng.exponential(5, n),
        "around zero": base - base.mean() + 5 * rng.normal(size=n),
    }


def frame(p: Panel, i: int) -> pd.DataFrame:
    times = pd.date_range(p.start, periods=p.n_steps, freq=p.step).tz_localize(None)
    return pd.DataFrame({"ds": times, "y": p.values[i]})


def blank_stock(special: Sequence[SpecialDays] = (), **knobs: Any) -> Any:
    for name in ("prophet", "prophet.models", "cmdstanpy", "prophet_batch"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    import prophet

    rows = [
        {"holiday": one.name, "ds": pd.Timestamp(day), "prior_scale": one.prior_scale}
        for one in special
        for day in one.days
    ]
    holidays = pd.DataFrame(rows).astype({"prior_scale": float}) if rows else None
    return prophet.Prophet(holidays=holidays, **knobs)


def stock_fits(p: Panel, special: Sequence[SpecialDays] = (), **knobs: Any) -> list[Any]:
    """The ``prophet`` package's fit of every series."""
    return [blank_stock(special, **knobs).fit(frame(p, i), seed=1) for i in range(p.n_series)]


def restarted(p: Panel, models: Sequence[Any], ours: Baselines, **knobs: Any) -> list[Any]:
    """Stan again, from where ``ours`` is; ``models`` say what stock's columns are."""
    out: list[Any] = []
    for i, model in enumerate(models):
        a = {name: array[i] for name, array in ours.arrays.items()}
        init = {
            "k": a["k"],
            "m": a["m"],
            "sigma_obs": a["sigma"],
            "delta": a["delta"][: len(model.changepoints_t)],
            "beta": a["beta"][_columns(model, ours)],
        }
        special = [SpecialDays(**one) for one in ours.meta["special"]]
        out.append(blank_stock(special, **knobs).fit(frame(p, i), seed=1, init=init))
    return out


def batch_fits(p: Panel, special: Sequence[SpecialDays] = (), **knobs: Any) -> list[Any]:
    """``prophet-batch``'s fit of every series."""
    blank_stock()  # quiet
    import prophet_batch

    rows = [frame(p, i).assign(unique_id=i) for i in range(p.n_series)]
    models = prophet_batch.fit_many(
        pd.concat(rows), make_model=lambda _: blank_stock(special, **knobs)
    )
    return [models[i] for i in range(p.n_series)]


def with_parameters(baselines: Baselines, models: Sequence[Any]) -> Baselines:
    """Baselines with the parameters of stock objects in place of their own."""
    arrays = {name: array.copy() for name, array in baselines.arrays.items()}
    arrays["delta"][:], arrays["beta"][:] = 0.0, 0.0
    for i, model in enumerate(models):
        p = {name: np.ravel(value) for name, value in model.params.items()}
        arrays["k"][i], arrays["m"][i], arrays["sigma"][i] = p["k"][0], p["m"][0], p["sigma_obs"][0]
        arrays["delta"][i, : len(p["delta"])] = p["delta"]
        arrays["beta"][i, _columns(model, baselines)] = p["beta"]
        arrays["multiplicative"][i] = model.seasonality_mode == "multiplicative"
    return replace(baselines, arrays=arrays)


def stan_nats(model: Any) -> float:
    """Prophet's Stan program, transcribed, at a model's parameters on stock's own design matrix."""
    p = {name: np.ravel(value) for name, value in model.params.items()}
    t, y = (model.history[c].to_numpy() for c in ("t", "y_scaled"))
    features, scales, parts, _ = model.make_all_seasonality_features(model.history)
    after = (t[:, None] >= model.changepoints_t).astype(float)
    c = model.changepoints_t
    trend = (p["k"] + after @ p["delta"]) * t + (p["m"] + after @ (-c * p["delta"]))
    if model.growth == "flat":
        trend = np.full(len(t), p["m"][0])
    x, beta = features.to_numpy(), p["beta"]
    factor = 1 + x @ (beta * parts["multiplicative_terms"].to_numpy())
    point = trend * factor + x @ (beta * parts["additive_terms"].to_numpy())
    sigma = float(p["sigma_obs"][0])
    return float(
        len(y) * np.log(sigma)
        + ((y - point) ** 2).sum() / (2 * sigma**2)
        + (p["k"][0] ** 2 + p["m"][0] ** 2) / (2 * 5**2)
        + np.abs(p["delta"]).sum() / 0.05
        + (beta**2 / np.array(scales) ** 2).sum() / 2
        + sigma**2 / (2 * 0.5**2)
    )


def _columns(model: Any, baselines: Baselines) -> list[int]:
    """Where each of stock's seasonal columns is in our ``beta`` (orders 3 and 4)."""
    names = [f"weekly_delim_{i}" for i in range(1, 7)] + [f"daily_delim_{i}" for i in range(1, 9)]
    names += [f"{one['name']}_delim_+0" for one in baselines.meta["special"]]
    features = model.make_all_seasonality_features(model.history.head(2))[0].columns
    return [names.index(name) for name in features]
