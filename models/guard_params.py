"""Knobs of the guardrails, each with why its default is what it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["CanaryParams", "GuardParams"]


_RANGES: tuple[tuple[tuple[str, ...], float, float], ...] = (
    (
        ("approve_above_pods", "raises_per_day", "raises_per_run", "cool_down_min", "news_pods"),
        0,
        math.inf,
    ),
    (("step_up_pods", "step_down_pods", "reverts_max", "errors_factor"), 1, math.inf),
    (("approve_above_share", "step_up_share", "up_per_hour_share"), 0.01, math.inf),
    (("step_down_share", "down_per_hour_share"), 0.01, 1),
    (("news_share",), 0, 1),
    (("approval_days",), 0.04, 366),
    (("forecast_age_max_h", "errors_margin"), 0.0001, math.inf),
    (("errors_window_min",), 1, math.inf),
    (("between_up_s", "between_down_s"), 60, math.inf),  # a run told twice does nothing twice
)
"""Keys, the least and the most they may be."""


@dataclass(frozen=True, slots=True)
class CanaryParams:
    """How a workload that we have not raised before comes in.

    First a few workloads (or, of very few, a share of what they get), then half, then all, each
    after the one before has stood ``soak_min`` in good health.
    """

    share: float = 0.1
    """Of the new workloads, those that go first; at least one."""
    few: int = 4
    """Of fewer new workloads none goes first: all get ``first_share`` of their pods first. A tenth
    of three is a whole workload at its full raise, and that is no careful start."""
    first_share: float = 0.25
    soak_min: float = 10.0
    """From a raise to its judgement: the default lead time of 5 minutes, and as long again in which
    errors can show. The rollout of a new workload takes two of these."""
    rollout_h: float = 12.0
    """A rollout is of one peak: tomorrow's begins anew, until a workload is trusted."""
    trusted_days: int = 3
    """So many days raised without a rollback or a revert, and a workload goes at once; and a height
    that it reached on so many of them needs no new yes."""
    memory_days: int = 28
    """How far back days are counted: four weeks, so that a workload that is raised on Mondays alone
    is trusted too."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        for key in ("share", "first_share"):
            value = getattr(self, key)
            if not 0 < value <= 1:
                raise ValueError(f"canary: {key} must be in (0, 1], got {value!r}")
        for key in ("soak_min", "rollout_h"):
            value = getattr(self, key)
            if not 0 < value < math.inf:
                raise ValueError(f"canary: {key} must be more than 0, got {value!r}")
        if self.few < 1:
            raise ValueError(f"canary: few must be 1 or more, got {self.few!r}")
        if not 0 <= self.trusted_days <= self.memory_days:
            raise ValueError(
                "canary: trusted_days must be from 0 (no stages) to memory_days "
                f"{self.memory_days!r}, got {self.trusted_days!r}"
            )


@dataclass(frozen=True, slots=True)
class GuardParams:
    """What nobody has to be asked for. ``models/guardrails.py`` has the rules."""

    approve_above_share: float = 0.5
    """A change that adds more than this share of the pods there waits for a person."""
    approve_above_pods: int = 1
    """But never one of so few pods: 1 to 2 is a pod more, not a doubling."""
    approval_days: float = 28.0
    """So long is a person's yes good for a workload, up to the height that was seen: plans are made
    anew every 15 minutes, and four weeks are what trust is counted over."""
    step_up_share: float = 1.0
    """Largest share of the pods there added in a run, or ``step_up_pods``, whichever is more: what
    an HPA by its own defaults may add in one sync."""
    step_up_pods: int = 4
    step_down_share: float = 0.5
    """Largest share of a floor given back in a run, or ``step_down_pods``: the plan itself steps
    down by a quarter in five minutes, this is for a floor that the plan has dropped."""
    step_down_pods: int = 4
    up_per_hour_share: float = 2.0
    """Pods added in an hour, as a share of those there at its start: times three, which is what a
    Monday morning is to its night. A person's approval lifts it."""
    down_per_hour_share: float = 0.9
    """Of the hour's highest floor: a plan's own way down leaves 3 % of it after an hour."""
    raises_per_day: int = 12
    """Climbs of one workload in 24 hours, each from where it was lowered to where it is lowered
    again, in however many steps: the six windows a plan may have, twice. Giving back is never
    counted, and never refused for it."""
    raises_per_run: int = 50
    """Of workloads that are new, or rise to a height that is news; the others have their turn in
    the next run. What rose so far on its trusted days is not counted."""
    news_share: float = 0.1
    """Less than this share of a floor, or than ``news_pods``, is no news: it is in no budget. A
    forecast that is made anew every 15 minutes moves by 5 % without anything having happened."""
    news_pods: int = 2
    between_up_s: float = 120.0
    """From a change to the next raise: a scrape, an HPA sync and a minute of samples, so that the
    first can be seen before the second."""
    between_down_s: float = 300.0
    """From a change to the next step down: the HPA's own window for scaling down."""
    forecast_age_max_h: float = 26.0
    """An older forecast raises nothing: one a day, and two hours for a run that is late."""
    reverts_max: int = 2
    """So often may somebody take the field back before we stop."""
    errors_factor: float = 1.5
    """Errors rose if they are so many times those before our raise, and ``errors_margin`` more."""
    errors_margin: float = 0.01
    """Of all requests: below a percent more, a ratio of a few requests is chance."""
    errors_window_min: float = 60.0
    """So long after a raise a rise of errors counts as its doing."""
    cool_down_min: float = 60.0
    """After a rollback nothing is raised for so long: a person can look, and nothing flaps."""
    canary: CanaryParams = CanaryParams()

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        for keys, least, most in _RANGES:
            for key in keys:
                value = getattr(self, key)
                if not least <= value <= most or value == math.inf:
                    raise ValueError(
                        f"guard: {key} must be at least {least:g}"
                        f"{'' if most == math.inf else f' and at most {most:g}'}, got {value!r}"
                    )

    @property
    def memory_h(self) -> float:
        """How much of the ledger the rules look at, hours."""
        return max(24.0, self.canary.memory_days * 24.0)
