"""The length of a step: asked for, or as the samples come."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.frames import FrameError

__all__ = ["as_step", "infer_step"]

_STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600, 43200, 86400)


def as_step(step: pd.Timedelta | str) -> pd.Timedelta:
    """A length of whole milliseconds, as a Timedelta or in its words, ``"15min"``.

    Raises
    ------
    FrameError
        It is none.
    """
    try:
        length = pd.Timedelta(step)
    except ValueError:
        length = pd.Timedelta(0)
    ms = pd.Timedelta(1, "ms")
    if not (length >= ms and length % ms == pd.Timedelta(0)):
        raise FrameError(f"step: expected a length of time like '15min', got {step!r}")
    return length


def infer_step(series: NDArray[np.int64], ts_ms: NDArray[np.int64]) -> pd.Timedelta:
    """The resolution: the usual gap between neighbours, snapped to a divisor of the day."""
    gaps = np.diff(ts_ms)[series[1:] == series[:-1]] / 1000
    if not len(gaps):
        return pd.Timedelta(300, "s")
    usual = float(np.median(gaps))
    return pd.Timedelta(min(_STEPS_S, key=lambda s: abs(np.log(s / max(usual, 1e-3)))), "s")
