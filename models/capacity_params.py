"""The knobs between a forecast and a floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.modes import Rule, rule_of

__all__ = ["CapacityParams", "quantiles_of"]


@dataclass(frozen=True, slots=True)
class CapacityParams:
    """How a forecast becomes a floor."""

    under_cost: float = 19.0
    """What a missing pod costs, beside ``over_cost``: 19 to 1 carries the 95 % quantile."""
    over_cost: float = 1.0
    """What an idle pod costs."""
    beside_hpa: bool = True
    """Which quantile pays is found out beside the workload's own HPA, over the backtest; without
    a backtest, or where this is false, it is ``quantile``."""
    lead_time_s: float = 300.0
    """Node start + image pull + pod ready, where none was measured."""
    lead_quantile: float = 0.95
    """Which of the measured start times counts as the lead time."""
    floor_step_min: float = 15.0
    """A floor stands unchanged for so long: shorter costs more writes and hardly fewer pods."""
    hold_min: float = 5.0
    """How long a floor stands after the demand that asked for it."""
    step_down_share: float = 0.25
    """Largest share of a floor that is given back in ``step_down_min``; always at least one replica
    a step."""
    step_down_min: float = 5.0
    target_ratio: float = 0.7
    """CPU utilisation target of the request, where the HPA's own is not known."""
    state_window_h: float = 24.0
    """Settings (HPA bounds, requests) older than this count as gone."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        for key in ("lead_quantile", "step_down_share", "target_ratio"):
            value = getattr(self, key)
            if not 0 < value <= 1:
                raise ValueError(f"capacity: {key} must be in (0, 1], got {value!r}")
        for key in ("lead_time_s", "hold_min"):
            value = getattr(self, key)
            if not 0 <= value < np.inf:
                raise ValueError(f"capacity: {key} must be 0 or more, got {value!r}")
        for key in (
            "under_cost", "over_cost", "floor_step_min", "step_down_min", "state_window_h",
        ):  # fmt: skip
            value = getattr(self, key)
            if not 0 < value < np.inf:
                raise ValueError(f"capacity: {key} must be more than 0, got {value!r}")

    @property
    def quantile(self) -> float:
        """The demand quantile that a floor has to carry: where the cost of one more pod equals what
        it saves, under / (under + over).

        Source: the newsvendor's critical ratio; Arrow, Harris, Marschak (1951), "Optimal inventory
        policy", Econometrica 19(3).
        """
        return critical_ratio(self.under_cost, self.over_cost)


def critical_ratio(under_cost: float, over_cost: float) -> float:
    """under / (under + over), to four decimals and never 0 or 1: quantiles beyond are nobody's."""
    share = 1 / (1 + over_cost / under_cost)
    return min(max(round(share, 4), 0.0001), 0.9999)


def quantiles_of(
    workloads: Sequence[str], rules: Sequence[Rule], params: CapacityParams | None = None
) -> list[float]:
    """Each workload's own quantile: its rule's costs, the params' where the rule says none."""
    params = params or CapacityParams()

    def own(workload: str) -> float:
        rule = rule_of(workload, rules)
        if rule is None:
            return params.quantile
        under = params.under_cost if rule.under_cost is None else rule.under_cost
        over = params.over_cost if rule.over_cost is None else rule.over_cost
        return critical_ratio(under, over)

    return [own(w) for w in workloads]
