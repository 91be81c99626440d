"""What pulling costs: the price table, the budget, and how far a pull may go."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pipelines.adapters.source import Estimate, FetchReport

__all__ = ["Allowance", "Budget", "Meter", "Prices", "Spending", "usd"]

Meter = Literal["amp", "cloudwatch", "free"]
"""Whose price applies; nobody but AWS bills a query."""


@dataclass(frozen=True, slots=True)
class Prices:
    """USD, without taxes, free tier and discounts: AWS's public list for us-east-1.

    Other regions differ, and prices change: put yours here.
    """

    amp_per_billion_samples_processed: float = 0.10
    cloudwatch_per_thousand_metrics_requested: float = 0.01
    cloudwatch_per_thousand_list_requests: float = 0.01

    def __post_init__(self) -> None:
        """Refuse what is no price."""
        for key in self.__slots__:
            if not getattr(self, key) >= 0:
                raise ValueError(f"{key} must be 0 or more USD, got {getattr(self, key)}")


@dataclass(frozen=True, slots=True)
class Budget:
    """What one run may pull; 0 is no bound. What was pulled when it is spent is stored."""

    samples: int = 0
    """That come back."""
    samples_processed: int = 0
    """That the server reads for it, as AMP bills them."""
    metrics_requested: int = 0
    """As CloudWatch bills them."""
    usd: float = 0.0
    """At the prices of the configuration."""

    def __post_init__(self) -> None:
        """Refuse what bounds nothing."""
        for key in self.__slots__:
            if not getattr(self, key) >= 0:
                raise ValueError(f"{key} must be 0 (no bound) or more, got {getattr(self, key)}")


@dataclass(frozen=True, slots=True)
class Spending:
    """In the units of a budget; spendings add up."""

    samples: float = 0.0
    samples_processed: float = 0.0
    metrics_requested: float = 0.0
    usd: float = 0.0

    def __add__(self, other: Spending) -> Spending:
        """Sums."""
        return Spending(
            self.samples + other.samples,
            self.samples_processed + other.samples_processed,
            self.metrics_requested + other.metrics_requested,
            self.usd + other.usd,
        )

    def each(self) -> tuple[float, float, float, float]:
        """In the order of an allowance."""
        return self.samples, self.samples_processed, self.metrics_requested, self.usd

    @classmethod
    def of(cls, counted: Estimate | FetchReport, prices: Prices, meter: Meter) -> Spending:
        """What an estimate or a pull comes to."""
        return cls(
            counted.samples,
            counted.samples_processed,
            counted.metrics_requested,
            usd(counted, prices, meter),
        )


@dataclass(frozen=True, slots=True)
class Allowance:
    """How far one pull may go; infinite where nothing bounds it."""

    samples: float = float("inf")
    samples_processed: float = float("inf")
    metrics_requested: float = float("inf")
    usd: float = float("inf")

    @classmethod
    def left(cls, budget: Budget, spent: Spending) -> Allowance:
        """What a budget still allows."""
        return cls(
            **{
                key: max(0.0, getattr(budget, key) - getattr(spent, key))
                for key in budget.__slots__
                if getattr(budget, key)
            }
        )

    def spent(self) -> Allowance:
        """The same bounds, with nothing left of each; what has no bound has none still."""
        return Allowance(*(has if math.isinf(has) else 0.0 for has in self._each()))

    @property
    def is_spent(self) -> bool:
        """Whether one of the bounds leaves nothing."""
        return min(self._each()) <= 0

    def holds(self, spending: Spending) -> bool:
        """Whether so much is still allowed."""
        return all(has >= use for has, use in zip(self._each(), spending.each(), strict=True))

    def part_of(self, spending: Spending) -> float:
        """The share of it that is allowed, 0 to 1."""
        pairs = zip(self._each(), spending.each(), strict=True)
        return min((has / use for has, use in pairs if use > has), default=1.0)

    def less(self, spending: Spending) -> Allowance:
        """What is left after it, never below nothing."""
        pairs = zip(self._each(), spending.each(), strict=True)
        return Allowance(*(max(0.0, has - use) for has, use in pairs))

    def plus(self, spending: Spending) -> Allowance:
        """So much more."""
        pairs = zip(self._each(), spending.each(), strict=True)
        return Allowance(*(has + use for has, use in pairs))

    def at_most(self, other: Allowance) -> Allowance:
        """Bounded by another as well."""
        return Allowance(*map(min, self._each(), other._each()))

    def parted(self, parts: int) -> Allowance:
        """One of so many equal parts."""
        return Allowance(*(has / max(parts, 1) for has in self._each()))

    def _each(self) -> tuple[float, float, float, float]:
        return self.samples, self.samples_processed, self.metrics_requested, self.usd


def usd(counted: Estimate | FetchReport, prices: Prices, meter: Meter) -> float:
    """The price of what is estimated or was counted, USD."""
    if meter == "amp":
        return counted.samples_processed / 1e9 * prices.amp_per_billion_samples_processed
    if meter == "cloudwatch":
        return (
            counted.metrics_requested / 1e3 * prices.cloudwatch_per_thousand_metrics_requested
            + counted.list_requests / 1e3 * prices.cloudwatch_per_thousand_list_requests
        )
    return 0.0
