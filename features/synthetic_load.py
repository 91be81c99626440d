"""The load of simulated workloads: what hour, weekday and calendar make expected, and its noise."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from features.panel import Floats
from features.synthetic_fleet import Clock

__all__ = ["MONDAY_H", "MONDAY_OVER_H", "ar_noise", "column", "offered_load", "served_counts"]

MONDAY_H = 9.0
"""Local hour at which the Monday peak begins."""
MONDAY_OVER_H = 12.5
"""Local hour at which it is over."""
_RAMP_H, _HOLD_UNTIL_H = 0.3, 10.5


def column(fleet: pd.DataFrame, name: str) -> Floats:
    """One number a workload, (n_workloads, 1)."""
    return fleet[name].to_numpy(np.float64)[:, None]


def offered_load(
    fleet: pd.DataFrame, clock: Clock, step_s: int, monday_factor: float, rng: np.random.Generator
) -> Floats:
    """Requests per second that users send before chance counts them: (n_workloads, n_steps).

    Daily and weekly shape in local time, the Monday ramp, growth, and noise that lasts minutes to
    days.
    """
    zone = fleet["zone"].to_numpy(np.intp)
    shape = fleet["shape"].to_numpy(dtype=object)
    hour, weekday, special = clock.hour[zone], clock.weekday[zone], clock.special[zone]
    daily = np.where(
        (shape == "consumer")[:, None],
        _daily(hour, fleet, ((12.5, 3.5, 0.55), (20.0, 2.6, 0.8)), 0.2),
        _daily(hour, fleet, ((10.5, 1.9, 1.0), (15.0, 2.2, 0.95)), 0.12),
    )
    weekend = column(fleet, "weekend")
    week = np.where(weekday == 4, 0.95, 1.0)
    week = np.where(weekday == 5, weekend, week)
    week = np.where((weekday == 6) | special, weekend * 0.9, week)
    monday = (weekday == 0) & ~special & fleet["seasonal"].to_numpy()[:, None]
    peak = 1 + (monday_factor - 1) * _monday(hour) * monday
    weeks = np.arange(hour.shape[1]) * (step_s / (7 * 86400))
    growth = (1 + column(fleet, "growth_per_week")) ** weeks
    cv = column(fleet, "noise_cv")
    noise = cv * (
        0.6 * ar_noise(rng, hour.shape, 3600 / step_s)
        + 0.53 * ar_noise(rng, hour.shape, 86400 / step_s)
        + 0.6 * rng.standard_normal(hour.shape)
    )
    load = column(fleet, "rps") * daily * week * peak * growth * np.exp(noise - cv**2 / 2)
    constant = (shape == "constant")[:, None]
    batch = np.isin(shape, ["hourly", "nightly"])[:, None]
    load = np.where(batch, column(fleet, "rps") * _batch_load(fleet, clock, rng), load)
    return np.where(constant, column(fleet, "rps"), load)


def _batch_load(fleet: pd.DataFrame, clock: Clock, rng: np.random.Generator) -> Floats:
    """Jobs: about 1 while one runs, 0 otherwise; every hour from :10 on, or once a night."""
    zone = fleet["zone"].to_numpy(np.intp)
    hour, day = clock.hour[zone], clock.day[zone]
    minute = hour % 1 * 60
    hourly = (minute >= 10) & (minute < 28)
    lasts_h = rng.uniform(1.2, 2.4, (len(fleet), int(clock.day.max()) + 1))
    end_h = 1 + np.take_along_axis(lasts_h, day, axis=1)
    nightly = (hour >= 1) & (hour < end_h)
    runs = np.where((fleet["shape"] == "nightly").to_numpy()[:, None], nightly, hourly)
    return runs * np.exp(0.08 * rng.standard_normal(hour.shape))


def served_counts(
    load: Floats, fleet: pd.DataFrame, step_s: int, rng: np.random.Generator
) -> Floats:
    """How many requests a step really sees: Poisson, or just the load where it is constant."""
    exact = (fleet["shape"] == "constant").to_numpy()
    counts = rng.poisson(np.clip(load * step_s, 0, 1e15)).astype(np.float64)
    return np.where(exact[:, None], load * step_s, counts)


def ar_noise(rng: np.random.Generator, shape: tuple[int, ...], memory_steps: float) -> Floats:
    """Stationary first-order autoregression with unit variance along the last axis."""
    phi = float(np.exp(-1 / max(memory_steps, 1e-6)))
    shocks = rng.standard_normal(shape)
    shocks[..., 1:] *= np.sqrt(1 - phi**2)
    return np.asarray(lfilter([1.0], [1.0, -phi], shocks, axis=-1), dtype=np.float64)


def _daily(
    hour: Floats, fleet: pd.DataFrame, bumps: tuple[tuple[float, float, float], ...], floor: float
) -> Floats:
    """Bumps (centre h, width h, height) around the clock; the highest point of the day is 1."""
    shift = column(fleet, "hour_shift_h")
    top = _bumps(np.arange(0, 24, 0.25)[None, :], bumps).max() + floor
    return (_bumps(hour - shift, bumps) + floor) / top


def _bumps(hour: Floats, bumps: tuple[tuple[float, float, float], ...]) -> Floats:
    out = np.zeros(np.shape(hour))
    for centre, width, height in bumps:
        away = np.abs((hour - centre + 12) % 24 - 12)
        out += height * np.exp(-0.5 * (away / width) ** 2)
    return out


def _monday(hour: Floats) -> Floats:
    """0 before 09:00, 1 after eighteen minutes, held, and over by half past noon."""
    rise = np.clip((hour - MONDAY_H) / _RAMP_H, 0, 1)
    fall = np.clip((MONDAY_OVER_H - hour) / (MONDAY_OVER_H - _HOLD_UNTIL_H), 0, 1)
    return rise * fall
