"""One workload before the guardrails: what is known of it, and the ways in which a rule answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from models.canary import Stage
from models.guard_facts import Decision, Health, Past, Wanted, What
from models.guard_params import GuardParams
from models.holders import Holder
from models.modes import Mode

__all__ = [
    "Case",
    "Rule",
    "ask",
    "back_to",
    "by_mode",
    "climbs",
    "conclusion",
    "is_news",
    "no_more",
    "shut",
]

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
    """Of other workloads in this run, that are news."""
    force_owners: tuple[str, ...] | None = None
    """Globs of managers that a floor may be taken from; None where nothing is written to objects
    that others own."""
    trusted: bool = False
    """Whether it needs no stages."""
    stood: int = 0
    """The height that stood without harm on enough days; 0 where none did."""
    by_hand: bool = False
    """A person wants us out: no gate keeps what is held."""
    why: str = ""
    yes: str = ""
    """Which approval of an earlier plan this is done by."""

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

    @property
    def known(self) -> bool:
        """Whether it is trusted, and has been about as high."""
        return self.trusted and not is_news(self.stood, self.aim, self.params)

    @property
    def undone(self) -> bool:
        """Whether something was rolled back since the last raise: that is done once."""
        made = [p for p in self.past if p.raised or p.status == "rolled_back"]
        return bool(made) and max(made, key=lambda p: p.at).status == "rolled_back"

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


def is_news(before: float, after: float, params: GuardParams) -> bool:
    """Whether a floor is higher by so much that it counts."""
    return after - before >= max(params.news_share * before, params.news_pods)


def climbs(made: Sequence[Past], params: GuardParams) -> tuple[int, bool]:
    """How often a floor climbed by what is news, and whether it is in the middle of a climb.

    ``made`` is what was written, oldest first. A climb ends where the floor is lowered, by us or,
    as the next raise shows, by its expiry.
    """
    found, start, top = 0, 0, -1
    for p in made:
        if top >= 0 and not (p.raised and p.before >= top):
            found, top = found + is_news(start, top, params), -1
        if p.raised:
            start, top = (p.before if top < 0 else start), p.after
    return found + (top >= 0 and is_news(start, top, params)), top >= 0


def conclusion(case: Case) -> Decision:
    """What a case comes to that no rule ended."""
    name, floor = case.holder.workload, case.floor
    why = "".join(f": {word}" for word in (case.why, case.yes) if word)
    if case.aim == floor:
        return case.ends("keep", f"{floor} stands{why}", renew=True)
    if case.aim > floor:
        stage = "trusted" if case.trusted else case.stage.name if case.stage else ""
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
    """Go on up to what a person approved; what is more waits, and is asked for.

    What is held beyond that is not prolonged.
    """
    if case.aim < case.floor or (case.aim == case.floor and not case.holder.held):
        return case
    want = case.wanted
    plan, seen = (want.plan_id, want.approved_plan) if want else ("", "")
    by = f"as approved with plan {seen}" if seen not in ("", plan) else ""
    if case.approved:
        return replace(case, yes=by)
    allowed = want.approved_floor if want else 0
    if case.aim == case.floor and case.floor > allowed:
        return case.ends("keep", f"{reason}, and this plan is not approved")
    more = f"{reason}: approve plan {plan}"
    if allowed > case.floor:
        why = f"{allowed} are approved, for more {more}"
        return replace(case, aim=min(case.aim, allowed), approved=True, why=why, yes=by)
    return case.ends("wait", more, renew=renew or allowed >= case.floor)


def shut(case: Case, what: What, reason: str) -> Case | Decision:
    """Nothing is raised. What is held stands as long as the newest plan backs it; what none backs,
    until it expires or the user's own floor is known to be enough. Only a person's order goes on.
    """
    if case.by_hand or (case.aim <= case.floor and not case.holder.held):
        return case
    if not case.holder.held:
        return shown(case, reason) if what == "show" else case.ends(what, reason)
    if case.backed:
        return case.ends("keep", f"{reason}: {case.floor} stands", renew=True)
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
    if case.aim < case.floor:
        return case
    return case.ends("keep", f"{reason}: nothing is raised", renew=True)
