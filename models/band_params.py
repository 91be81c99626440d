"""The knobs of the band."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BandParams"]


@dataclass(frozen=True, slots=True)
class BandParams:
    """What is far from expected, and for how long it is news."""

    alerts_per_month: float = 1.0
    """Alerts that a clean workload may cause a month, over all its metrics together."""
    shared: float = 0.6
    """The band's part of it where a workload has several metrics: the rest is for the detectors
    that judge it as a whole."""
    told: tuple[int, int, float, int, int] = (2, 3, 1.5, 6, 8)
    """What the budget counts: points and neighbours at so many times the line, or points and
    neighbours at the line, of a workload of several metrics. As ``models/incidents.py`` tells, but
    for the last two: it waits a little longer, which keeps below the budget."""
    trust_days: float = 7.0
    """History of which a workload's own count of alerts is trusted half."""
    persistence_steps: int = 1
    """Steps in a row outside the band that make an event."""
    minimum_z: float = 3.0
    """Half width of the band in robust standard deviations, at least."""
    minimum_relative: float = 0.1
    """Half width as a share of the expected value, at least."""
    minimum_absolute: float = 0.0
    """Half width in the metric's own unit, at least; the resolution of the series (its smallest
    step) always counts."""
    prior_weeks: float = 2.0
    """Weight of a series' overall scale against that of one hour of the week, in weeks of data."""
    minimum_points: int = 24
    """Training points without which a series has no band."""
    missing_steps: int = 3
    """Samples in a row that are due and absent before their absence is an anomaly."""
    gap_h: float = 2.0
    """The same in hours, at most, for a series that often has gaps."""
    due_share: float = 0.7
    """A sample is due in an hour of the week when such a share was there in training; a holiday
    blanked in four weeks leaves 0.75."""
    own_score: float = 2.0
    """Score of missing samples, and the least one of a drop to zero."""
    shift_h: float = 3.0
    """Window whose median must be outside the band for a level shift."""
    hold_h: float = 12.0
    """How long a level shift stays an anomaly before it is the new level, and missing samples one
    before they are known to be gone."""
    level_h: float = 6.0
    """The last hours whose median is the level that a sudden change departs from."""
    spans_h: tuple[float, ...] = (0.0, 1.0, 3.0)
    """Spans whose mean departure is watched; 0 is one step. Longer ones find smaller shifts."""
    young_days: float = 2.0
    """The band around the forecast is wider by this over the days that were learned from: what
    differs from day to day is not seen in one."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        for key in (
            "alerts_per_month",
            "minimum_z",
            "shift_h",
            "hold_h",
            "level_h",
            "trust_days",
            "gap_h",
        ):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} must be above 0, got {getattr(self, key)!r}")
        for key in ("minimum_relative", "minimum_absolute", "prior_weeks", "young_days"):
            if not getattr(self, key) >= 0:
                raise ValueError(f"{key} must not be negative, got {getattr(self, key)!r}")
        for key in ("persistence_steps", "minimum_points", "missing_steps", "own_score"):
            if not getattr(self, key) >= 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)!r}")
        if not self.spans_h or min(self.spans_h) < 0 or list(self.spans_h) != sorted(self.spans_h):
            raise ValueError(f"spans_h must rise from 0 on, got {self.spans_h!r}")
        if not 0 < self.shared <= 1:
            raise ValueError(f"shared must be in (0, 1], got {self.shared!r}")
        if not 0 < self.due_share <= 1:
            raise ValueError(f"due_share must be in (0, 1], got {self.due_share!r}")
