"""What a metric name means: its unit, role, direction and how its samples are aggregated.

The catalog (``config/metrics/*.yaml``) gives the entries; a name that no catalog knows is a plain
signal, mean-aggregated, anomalous in both directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Aggregate", "Catalog", "Direction", "Gates", "Metric", "Role"]

Role = Literal["demand", "resource", "limit", "signal", "state"]
"""demand: work that arrives; resource: what a leak fills; limit: its bound; signal: health;
state: a setting."""
Aggregate = Literal["mean", "sum", "max", "last"]
Direction = Literal["up", "down", "both"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One logical metric; what lies outside ``minimum`` to ``maximum`` cannot be true, in its own
    unit."""

    name: str
    unit: str = ""
    role: Role = "signal"
    aggregate: Aggregate = "mean"
    direction: Direction = "both"
    minimum: float | None = None
    maximum: float | None = None
    limit: str | None = None
    """For a resource: the metric that bounds it."""
    query: str | None = None
    """The source's query in its own language, or nothing where the source cannot give it."""
    minimum_deviation: float = 0.0
    """Smallest deviation from what is expected that is worth a word, in the metric's unit."""
    minimum_relative_deviation: float | None = None
    """The same as a share of what is expected; nothing means the detector's own."""

    def __post_init__(self) -> None:
        """Refuse words outside the vocabulary, and a range that holds no value."""
        for key, words in (("role", Role), ("aggregate", Aggregate), ("direction", Direction)):
            value = getattr(self, key)
            if value not in get_args(words):
                raise ValueError(
                    f"metric {self.name!r}: {key} must be one of {', '.join(get_args(words))}, "
                    f"got {value!r}"
                )
        low, high = self.minimum, self.maximum
        if low is not None and high is not None and not low <= high:
            raise ValueError(
                f"metric {self.name!r}: minimum must be at most maximum, got {low:g} and {high:g}"
            )
        for key in ("minimum_deviation", "minimum_relative_deviation"):
            value = getattr(self, key)
            if value is not None and not 0 <= value < inf:
                raise ValueError(
                    f"metric {self.name!r}: {key} must be a number from 0 on, got {value:g}"
                )


@dataclass(frozen=True, slots=True)
class Gates:
    """What a deviation must pass to be worth a word, one entry a series, (n_series,).

    Attributes
    ----------
    directions : which side is bad
    minimum_deviation : float64
        In each metric's own unit.
    minimum_relative : float64
        Share of what is expected; NaN is the detector's own.
    """

    directions: tuple[Direction, ...]
    minimum_deviation: NDArray[np.float64]
    minimum_relative: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every metric by name; unknown names are answered, never refused."""

    metrics: Mapping[str, Metric]

    def __getitem__(self, name: str) -> Metric:
        """The entry, or a plain signal of that name."""
        return self.metrics.get(name) or Metric(name)

    def knows(self, name: str) -> bool:
        """Whether the catalog has an entry of that name."""
        return name in self.metrics

    def names(self, *roles: Role) -> list[str]:
        """Names of the metrics in the given roles, in catalog order."""
        return [m.name for m in self.metrics.values() if m.role in roles]

    def aggregates(self) -> dict[str, str]:
        """Name → aggregate, for the panel."""
        return {m.name: m.aggregate for m in self.metrics.values()}

    def gates(self, metrics: Iterable[object]) -> Gates:
        """The gates of series, given the metric of each."""
        own = [self[str(m)] for m in metrics]
        return Gates(
            tuple(m.direction for m in own),
            np.array([m.minimum_deviation for m in own], dtype=np.float64),
            # None becomes NaN
            np.array([m.minimum_relative_deviation for m in own], dtype=np.float64),
        )

    def impossible(self, metric: pd.Series, value: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which samples cannot be true: outside ``minimum`` to ``maximum`` of their metric, (n,).

        Parameters
        ----------
        metric : (n,)
            Name of each sample's metric; fast where it is categorical.
        value : (n,)
            NaN is missing, and not impossible.
        """
        codes, names = pd.factorize(metric)
        own = [self[str(n)] for n in names]
        low = np.array([-inf if m.minimum is None else m.minimum for m in own], dtype=np.float64)
        high = np.array([inf if m.maximum is None else m.maximum for m in own], dtype=np.float64)
        return (value < low[codes]) | (value > high[codes])
