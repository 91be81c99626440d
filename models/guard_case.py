"""One workload before the guardrails: what is known of it, and the ways in which a rule answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd

from models.canary import Stage, is_trusted
from models.guard_facts import Decision, Health, Past, Wanted, What
from models.guard_params import GuardParams
from models.holders import Holder
from models.modes import Mode

__all__ = ["Case", "Rule", "ask", "back_to", "by_mode", "conclusion", "no_more", "shut", "trusted"]

_KEDA_CEILING = 100
"""maxReplicaCount where it is unset."""


@dataclass(frozen=True, slots=True)
class Case:
    """One workload before the rules. ``aim`` is the floor it comes to if no rule objects."""

    holder: Holder
    wanted: Wanted | None
    past: tuple[Past, ...]
    health: Health
    now: pd.Timestamp
    params: GuardParams
    approved: bool
    aim: int
    stage: Stage | None = None
    raises: int = 0
    """Of other workloads in this run."""
    by_hand: bool = False
    """A person wants us out: no gate keeps what is held."""
    why: str = ""

    @property
    def floor(self) -> int:
        """The floor that stands."""
        value = self.holder.floor
        return (1 if self.holder.rung == "hpa" else 0) if value is None else value

    @property
    def there(self) -> int:
        """Pods there, or about to be."""
        return max(self.floor, self.holder.replicas)

    @property
    def needed(self) -> int:
        """Replicas that metrics are known to ask for; 0 where it is not known."""
        known = math.ceil(self.health.needed) if math.isfinite(self.health.needed) else 0
        return max(known, self.holder.desired if self.holder.desired > self.floor else 0)

    @property
    def ceiling(self) -> float:
        """The most there may be."""
        unset = _KEDA_CEILING if self.holder.rung == "keda" else math.inf
        return unset if self.holder.ceiling is None else self.holder.ceiling

    @property
    def backed(self) -> bool:
        """Whether the plan still wants at least what we hold."""
        wanted = self.wanted.floor if self.wanted else 0
        return self.holder.held and not self.by_hand and wanted >= self.floor

    def made_since(self, seconds: float) -> list[Past]:
        """What we wrote in the last seconds, oldest first."""
        since = self.now - pd.Timedelta(seconds, "s")
        return [p for p in self.past if p.made and since < p.at <= self.now]

    def ends(self, what: What, reason: str, *, renew: bool = False, stage: str = "") -> Decision:
        """Nothing is written."""
        return Decision(
            self.holder.workload, what, self.floor, stage, reason, renew and self.backed
        )

    def up_to(self, most: float, why: str) -> Case:
        """The same, raising to ``most`` only, and never lowering for it."""
        if self.aim <= max(most, self.floor):
            return self
        return replace(self, aim=max(math.floor(most), self.floor), why=why)

    def down_to(self, least: float, why: str) -> Case:
        """The same, lowering to ``least`` only, and never raising for it."""
        if self.aim >= min(least, self.floor):
            return self
        return replace(self, aim=min(math.ceil(least), self.floor), why=why)


Rule = Callable[[Case], Case | Decision]


def conclusion(case: Case) -> Decision:
    """What a case comes to that no rule ended."""
    name, floor = case.holder.workload, case.floor
    why = f": {case.why}" if case.why else ""
    if case.aim == floor:
        return case.ends("keep", f"{floor} stands{why}", renew=True)
    if case.aim > floor:
        stage = "trusted" if trusted(case) else case.stage.name if case.stage else ""
        return Decision(name, "raise", case.aim, stage, f"{floor} to {case.aim}{why}", renew=True)
    what: What = "give_back" if case.aim <= case.holder.user_floor else "step_down"
    return Decision(name, what, case.aim, "", f"{floor} to {case.aim}{why or ': its time is over'}")


def by_mode(case: Case, mode: Mode | None, who: str) -> Case | Decision:
    """What ``off`` and ``shadow`` let be done: nothing, and a person's word ends what is held."""
    if mode not in ("off", "shadow"):
        return case
    if case.holder.held:
        return replace(case, aim=case.holder.user_floor, by_hand=True, why=f"{mode} {who}")
    if mode == "off":
        return case.ends("refuse", f"off {who}")
    return shown(case, f"shadow {who}") if case.aim > case.floor else case


def shown(case: Case, reason: str) -> Decision:
    floor = int(min(max(case.aim, case.holder.user_floor), case.ceiling))
    return Decision(case.holder.workload, "show", floor, "", reason)


def ask(case: Case, reason: str, *, renew: bool = False) -> Case | Decision:
    """Go on where a person approved, or nothing is raised; what is held is not prolonged."""
    if case.approved or case.aim < case.floor or (case.aim == case.floor and not case.holder.held):
        return case
    if case.aim == case.floor:
        return case.ends("keep", f"{reason}, and this plan is not approved")
    plan = case.wanted.plan_id if case.wanted else ""
    return case.ends("wait", f"{reason}: approve plan {plan}", renew=renew)


def shut(case: Case, what: What, reason: str) -> Case | Decision:
    """Nothing is raised. What is held stands until it expires, or until the user's own floor is
    known to be enough; only a person's order goes on."""
    if case.by_hand or (case.aim <= case.floor and not case.holder.held):
        return case
    if not case.holder.held:
        return shown(case, reason) if what == "show" else case.ends(what, reason)
    if math.isfinite(case.health.needed) and case.needed <= case.holder.user_floor < case.floor:
        back = case.holder.user_floor
        return Decision(case.holder.workload, "give_back", back, "", f"{reason}, {back} are enough")
    return case.ends("keep", f"{reason}: {case.floor} stands until it expires")


def back_to(case: Case, floor: int, reason: str) -> Case | Decision:
    """Give back to a floor, and not beneath what the user or the HPA asks for."""
    least = max(floor, case.holder.user_floor, case.needed)
    if not case.holder.held or least >= case.floor:
        return no_more(case, reason)
    return Decision(case.holder.workload, "give_back", least, "rollback", reason)


def no_more(case: Case, reason: str) -> Case | Decision:
    """Nothing is raised, and what is on its way down goes on."""
    return case if case.aim < case.floor else case.ends("keep", f"{reason}: nothing is raised")


def trusted(case: Case) -> bool:
    """Whether it needs no stages."""
    return is_trusted(case.holder.workload, case.past, case.now, case.params.canary)
