"""What the fit is held against: stock ``prophet`` and PyPI's ``prophet-batch``, on one thread.

Both are asked for their own defaults. Stock is timed series by series; ``prophet-batch`` solves all
its series in one call, in a process of its own and after a small fit that is not counted. Frames
are made before the clock starts.
"""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from prophet_cases import blank_stock, frame

from features.panel import Panel

_PACKAGES = ("numpy", "numba", "pandas", "pyarrow", "prophet", "cmdstanpy", "prophet-batch")


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds on the wall, and of a processor, children included."""

    seconds: float
    cpu_seconds: float

    def over(self, n_series: int) -> Took:
        return Took(self.seconds / n_series, self.cpu_seconds / n_series)

    @staticmethod
    def median(each: Sequence[Took]) -> Took:
        walls, processors = zip(*((one.seconds, one.cpu_seconds) for one in each), strict=True)
        return Took(statistics.median(walls), statistics.median(processors))


class Clock:
    """Begins when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()

    def took(self) -> Took:
        return Took(time.perf_counter() - self._wall, _cpu_seconds() - self._cpu)


@dataclass(frozen=True, slots=True)
class Stock:
    """Fitted models of the ``prophet`` package and what each took, and the forecasts with them."""

    models: list[Any] = field(default_factory=list)
    fits: list[Took] = field(default_factory=list)
    predictions_s: dict[pd.Timedelta, list[float]] = field(default_factory=dict)

    def add(self, panel: Panel, n_days: int) -> None:
        """Fit some more series; predict so many days at the panel's step, and by the hour."""
        for i in range(panel.n_series):
            history, model = frame(panel, i), blank_stock()
            clock = Clock()
            model.fit(history)
            self.fits.append(clock.took())
            self.models.append(model)
            for step in (panel.step, pd.Timedelta(1, "h")):
                n_steps = int(pd.Timedelta(n_days, "D") / step)
                times = pd.date_range(panel.end, periods=n_steps, freq=step).tz_localize(None)
                clock = Clock()
                model.predict(pd.DataFrame({"ds": times}))
                self.predictions_s.setdefault(step, []).append(clock.took().seconds)

    def whole_s(self, step: pd.Timedelta) -> float:
        """Median of fitting a series and predicting it at a step."""
        pairs = zip(self.fits, self.predictions_s[step], strict=True)
        return statistics.median(fit.seconds + more for fit, more in pairs)


def batch_fits(panel: Panel) -> tuple[Took, list[Any]]:
    """Time and models of one ``prophet_batch.fit_many``, in a process of its own."""
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned) as pool:
        return pool.submit(_batch_fits, panel).result()


def _batch_fits(panel: Panel) -> tuple[Took, list[Any]]:
    blank_stock()  # quiet
    import prophet_batch

    rows = [frame(panel, i).assign(unique_id=i) for i in range(panel.n_series)]
    history = pd.concat(rows)
    prophet_batch.fit_many(pd.concat(rows[:2]), n_jobs=1)
    clock = Clock()
    models = prophet_batch.fit_many(history, n_jobs=1)
    return clock.took(), [models[i] for i in range(panel.n_series)]


def environment() -> str:
    """The machine and the versions, in two lines."""
    info = Path("/proc/cpuinfo")
    found = [
        line.split(":", 1)[1].strip()
        for line in (info.read_text().splitlines() if info.exists() else ())
        if line.startswith("model name")
    ]
    cpu = found[0] if found else platform.processor() or "unknown processor"
    versions = [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES]
    return (
        f"{os.cpu_count()} cores, {cpu}, {platform.machine()}, Python {platform.python_version()}, "
        f"native threads {os.environ.get('OMP_NUM_THREADS', 'not capped')}\n{', '.join(versions)}"
    )


def load() -> str:
    """Load average: what else the machine was doing."""
    return "load average " + " ".join(f"{one:.1f}" for one in os.getloadavg())


def _cpu_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)
