"""The protocols that models follow, and the meaning of a score, stated here once.

A **score** says how anomalous a point is. The direction and the range are the same for every
detector: scores are ≥ 0, larger is more anomalous, below 1 is normal, from 1 on is an anomaly. A
score is not an alert: incidents are made from scores in one place (``models/incidents.py``).

Models are fitted for all series at once and are plain data: named arrays whose first axis is the
series, and a small JSON-able ``meta``. Nothing of ours has to be unpickled to use them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel

__all__ = ["CRITICAL", "WHOLE_WORKLOAD", "Baselines", "Detector", "Forecaster", "Solves"]

WHOLE_WORKLOAD = "*"
"""The ``metric`` of scores that are about all of a workload's metrics together."""

CRITICAL = 2.0
"""From this score on, twice as far as the alert line, an anomaly is critical; below, a warning."""


@dataclass(frozen=True, slots=True)
class Baselines:
    """What one model learned, for many series.

    Attributes
    ----------
    model : str
        Name of the model that made it.
    keys : frame, (n_series,)
        What each row is for: ``workload`` and, for models of one series, ``metric``.
    arrays : name → array
        The first axis of every array is the series.
    meta : name → JSON value
        What is shared by all series (grid, knobs).
    """

    model: str
    keys: pd.DataFrame
    arrays: Mapping[str, NDArray[Any]]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Baselines:
        """The given series, by mask or by position."""
        return Baselines(
            self.model,
            self.keys.loc[rows].reset_index(drop=True),
            {name: array[rows] for name, array in self.arrays.items()},
            self.meta,
        )


@runtime_checkable
class Forecaster(Protocol):
    """Fit all series of a panel at once; predict quantiles for all of them at once."""

    @property
    def name(self) -> str:
        """The model's name in tables."""
        ...

    def fit(self, panel: Panel) -> Baselines:
        """Learn from every step; NaN is missing, never zero; any series gives a row."""
        ...

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        """Quantiles from ``start`` on, on the fitted grid's step, never crossing.

        Returns (n_quantiles, n_series, n_steps).
        A series from which nothing could be learned is NaN throughout.
        """
        ...


@runtime_checkable
class Detector(Protocol):
    """A detector of single series, of a user's own: what it says is brought to the scale of scores.

    ``models.budgeted`` does so, by the alert budget: a raw score may be in any unit.
    """

    @property
    def name(self) -> str:
        """The detector's name in tables."""
        ...

    def fit(self, panel: Panel, expected: Floats) -> Baselines:
        """Learn from every step; NaN is missing, never zero; any series gives a row.

        ``expected`` (n_series, n_steps) is what the champions would have said, NaN where nothing.
        """
        ...

    def score(self, baselines: Baselines, panel: Panel, expected: Floats) -> Floats:
        """How odd each step is, (n_series, n_steps): larger is odder; NaN where there is no answer.

        The rows of ``baselines``, ``panel`` and ``expected`` are the same series. A score is made
        of its own step and those before it alone, as far back as the panel goes.
        """
        ...


@runtime_checkable
class Solves(Protocol):
    """A forecaster that has several ways to an answer, and says which one served whom."""

    def solvers(self, baselines: Baselines) -> NDArray[np.str_]:
        """A few words for each series, (n_series,)."""
        ...
