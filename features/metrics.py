"""What a metric name means: its unit, role, direction and how its samples are aggregated.

The catalog (``config/metrics/*.yaml``) gives the entries; a name that no catalog knows is a plain
signal, mean-aggregated, anomalous in both directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["Aggregate", "Catalog", "Direction", "Metric", "Role"]

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
