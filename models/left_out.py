"""What was no example of usual load in a history: noted with the champions, a bit a step.

A training learns from a history without it; so does whoever fits the members again later on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Panel
from models.base import Baselines

__all__ = ["left_out", "noting"]


def noting(calibration: Baselines, mask: NDArray[np.bool_], start: pd.Timestamp) -> Baselines:
    """The champions' calibration with a note of the mask, (n_series, n_steps) from ``start`` on."""
    noted = {"left_out": np.packbits(mask, axis=1)}
    about = {"left_out_from": start.isoformat(), "left_out_steps": mask.shape[1]}
    arrays, meta = {**calibration.arrays, **noted}, {**calibration.meta, **about}
    return replace(calibration, arrays=arrays, meta=meta)


def left_out(calibration: Baselines, panel: Panel) -> NDArray[np.bool_]:
    """What was noted, on the steps of a panel of the same grid, (n_series, panel.n_steps)."""
    out = np.zeros((len(calibration.keys), panel.n_steps), dtype=bool)
    packed, meta = calibration.arrays.get("left_out"), calibration.meta
    if packed is None:
        return out
    noted = np.unpackbits(packed, axis=1)[:, : meta["left_out_steps"]].astype(bool)
    shift = round((pd.Timestamp(meta["left_out_from"]) - panel.start) / panel.step)
    lo, hi = max(shift, 0), min(shift + noted.shape[1], panel.n_steps)
    if lo < hi:
        out[:, lo:hi] = noted[:, lo - shift : hi - shift]
    return out
