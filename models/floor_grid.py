"""Floors over time: for how long each stands, what it has to carry, how it is given back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.panel import Floats
from models.capacity_params import CapacityParams
from models.floor_windows import largest
from models.hpa import ROUNDING, step_down

__all__ = ["MAX_REPLICAS", "FloorGrid"]

MAX_REPLICAS = 2**31 - 1
"""HPA's own type is int32."""


@dataclass(frozen=True, slots=True)
class FloorGrid:
    """The floors' own steps over those of the demand."""

    start: pd.Timestamp
    floor_s: float
    step_s: float
    first_s: float
    """Where the demand's first step begins, after the first floor."""
    n_floors: int

    @classmethod
    def over(
        cls, start: pd.Timestamp, step: pd.Timedelta, m: int, params: CapacityParams
    ) -> FloorGrid:
        """Floors that cover m steps, by clock times."""
        length = pd.Timedelta(params.floor_step_min, "min")
        begin = start.floor(length)
        count = -((begin - (start + m * step)) // length)
        seconds = pd.Timedelta(1, "s")
        return cls(begin, length / seconds, step / seconds, (start - begin) / seconds, int(count))

    def most(self, pods: Floats, hold_s: float, further_s: Floats) -> Floats:
        """Most pods in each floor's time, ``hold_s`` before and ``further_s``, (n,), after it."""
        begin = np.arange(self.n_floors, dtype=np.float64) * self.floor_s - hold_s
        capped = np.minimum(pods, float(MAX_REPLICAS))
        length = self.floor_s + hold_s + further_s
        return largest(capped, self.first_s + self.step_s / 2, self.step_s, begin, length)

    def floors(
        self, pods: Floats, lead_s: Floats, low: Floats, high: Floats, params: CapacityParams
    ) -> Floats:
        """Floors that carry the pods, a lead time earlier, held, within bounds, stepped down."""
        top = self.most(pods, params.hold_min * 60, lead_s)
        whole = np.nan_to_num(np.ceil(top * ROUNDING), nan=0.0)
        parts = self.floor_s / (params.step_down_min * 60)
        return step_down(np.clip(whole, low, high), 1 - (1 - params.step_down_share) ** parts)
