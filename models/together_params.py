"""The knobs of the joint score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["TogetherParams"]


@dataclass(frozen=True, slots=True)
class TogetherParams:
    """Knobs of the joint score.

    ``smoothing_min``, ``shrinkage`` and ``clip`` were chosen in the middle of where simulated
    servers (daily load, correlated metrics of several kinds, five kinds of faults) are
    indifferent: 30–60 min, 0.05–0.2, 8–15.
    """

    smoothing_min: float = 30.0
    """Span of the exponential mean, minutes; a step or less: no smoothing."""
    shrinkage: float = 0.1
    """Share by which correlations are drawn towards none."""
    clip: float = 8.0
    """Scales that one signal may be off at most."""
    alerts_per_month: float = 0.2
    """Events a clean workload may cause a month."""
    persistence_steps: int = 2
    """Steps in a row with a score from 1 on that make an event."""
    minimum_rows: int = 96
    """Training rows without which a workload, or a signal, is not judged."""
    minimum_signals: int = 3
    """Signals that vary without which a workload is not judged."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if not 0 <= self.smoothing_min < np.inf:
            raise ValueError(f"smoothing_min must be finite and ≥ 0, got {self.smoothing_min!r}")
        if not 0 < self.shrinkage <= 1:
            raise ValueError(f"shrinkage must be in (0, 1], got {self.shrinkage!r}")
        if not 1 <= self.clip <= 1e6:
            raise ValueError(f"clip must be between 1 and 1e6, got {self.clip!r}")
        if not self.alerts_per_month > 0:
            raise ValueError(f"alerts_per_month must be above 0, got {self.alerts_per_month!r}")
        for key, least in (("persistence_steps", 1), ("minimum_rows", 50), ("minimum_signals", 1)):
            if getattr(self, key) < least:
                raise ValueError(f"{key} must be at least {least}, got {getattr(self, key)!r}")
