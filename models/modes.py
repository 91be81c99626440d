"""What people want done about a workload: the mode, and the rules that set it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

__all__ = ["Mode", "Rule", "mode_of", "rule_of"]

Mode = Literal["off", "shadow", "recommend", "act"]
"""``off``: not planned. ``shadow``: planned, written down and judged, never done. ``recommend``:
told to a person, done when that person approves. ``act``: done, within the guardrails."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Intent for the workloads that ``match``, a glob over ``cluster/namespace/kind/name``.

    What is left out stays as it is for every other workload. The first rule that matches counts.
    """

    match: str
    mode: Mode | None = None
    under_cost: float | None = None
    """What a missing pod costs, beside ``over_cost``."""
    over_cost: float | None = None
    """What an idle pod costs."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        if not self.match:
            raise ValueError("rule: match must be a glob like prod/shop/*, got ''")
        if self.mode is not None and self.mode not in get_args(Mode):
            raise ValueError(f"rule: mode must be off, shadow, recommend or act, got {self.mode!r}")
        for key in ("under_cost", "over_cost"):
            value = getattr(self, key)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"rule: {key} must be more than 0, got {value!r}")


def rule_of(workload: str, rules: Sequence[Rule]) -> Rule | None:
    """The first rule that matches, if any does."""
    return next((rule for rule in rules if fnmatchcase(workload, rule.match)), None)


def mode_of(workload: str, rules: Sequence[Rule], default: Mode) -> Mode:
    """The mode of a workload."""
    rule = rule_of(workload, rules)
    return default if rule is None or rule.mode is None else rule.mode
