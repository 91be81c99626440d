"""Rollout of raises: a few workloads first, then half, then all, each judged before the next.

Nothing is kept but the ledger: a stage is what follows from which workloads were raised, when, and
how they do. What was raised on ``trusted_days`` days without harm goes at once, so stages are for
the first days of a workload (and for those after a rollback), and no peak is missed for them
once a workload is known. Who asks for a floor ``lead_in_s`` before it is due has it whole when the
peak comes; who does not has a part of it, which is never worse than the HPA alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from models.guard_facts import Health, Past
from models.guard_params import CanaryParams, GuardParams

__all__ = ["Stage", "is_trusted", "lead_in_s", "runs_up", "stage_of", "stood"]

_HALF = 0.5
_NOT_DONE = ("conflict", "changed", "gone", "forbidden", "refused", "unreachable", "reverted")
"""A workload that could not be raised proves nothing: it is none of the first."""


@dataclass(frozen=True, slots=True)
class Stage:
    """How far a rollout is: ``workloads`` may get ``share`` of the pods they are to get."""

    name: Literal["canary", "half", "all", "stopped"]
    share: float
    workloads: frozenset[str]
    reason: str


def stage_of(
    past: Sequence[Past],
    health: Mapping[str, Health],
    now: pd.Timestamp,
    params: GuardParams,
    *,
    wanting: Mapping[str, int],
) -> Stage:
    """The stage of the workloads that are not trusted yet.

    Parameters
    ----------
    past
        Actions of all workloads, of the last ``params.memory_h``.
    health
        A workload that it lacks, or whose pending pods are not known, has not proved anything.
    wanting
        Workload → pods to be added, of those that everything else would let be raised now.
    """
    rules = params.canary
    since = now - pd.Timedelta(rules.rollout_h, "h")
    lately = [p for p in past if since < p.at <= now]
    trusted = _trusted(past, now, rules)
    raised = _raises(lately)
    new = sorted((set(wanting) | set(raised)) - trusted)
    sick = {w: why for w in new if (why := _sick(w, raised, lately, health, now, params))}
    if sick:
        word = "; ".join(f"{w}: {why}" for w, why in list(sick.items())[:3])
        return Stage("stopped", 0.0, frozenset(), f"the rollout is stopped: {word}")
    if len(new) < rules.few:
        return _by_share(new, raised, health, now, rules)
    failed = {p.workload for p in lately if p.status in _NOT_DONE}
    order = sorted(new, key=lambda w: (w not in raised, w in failed, *_place(w, wanting)))
    return _by_workload(order, _through(raised, health, now, rules), rules)


def is_trusted(
    workload: str, past: Sequence[Past], now: pd.Timestamp, params: CanaryParams
) -> bool:
    """Raised on enough days, before today, since it last ended badly."""
    return params.trusted_days == 0 or workload in _trusted(
        [p for p in past if p.workload == workload], now, params
    )


def stood(past: Sequence[Past], now: pd.Timestamp, params: CanaryParams) -> int:
    """The height that one workload's floor reached without harm on enough days before today; 0
    where there is none."""
    since = now - pd.Timedelta(params.memory_days, "D")
    days: dict[object, int] = {}
    for p in sorted(past, key=lambda p: p.at):
        if p.bad:
            days.clear()
        elif p.raised and p.at > since and p.at.date() < now.date():
            days[p.at.date()] = max(p.after, days.get(p.at.date(), 0))
    enough = max(params.trusted_days, 1)
    return sorted(days.values(), reverse=True)[enough - 1] if len(days) >= enough else 0


def runs_up(start: int, floor: int, params: GuardParams) -> int:
    """Runs that it takes from so many pods to a floor, by the steps that one run may take."""
    runs = 0
    while start < floor:
        start = math.floor(start + max(params.step_up_share * start, params.step_up_pods))
        runs += 1
    return runs


def lead_in_s(
    trusted: bool, start: int, floor: int, params: GuardParams, *, every_s: float
) -> float:
    """How long before a floor is due the first run has to want it, seconds.

    The first run comes up to ``every_s`` later, each further step that long after the one before.
    A new workload's stages wait for ``soak_min`` twice, each until the run after it: runs are not
    to the second.
    """
    every_s = max(every_s, params.between_up_s)
    runs = max(runs_up(start, floor, params), 1)
    soaks = 0 if trusted or params.canary.trusted_days == 0 else 2
    return (runs + soaks * (params.canary.soak_min * 60 // every_s + 1)) * every_s


def _trusted(past: Sequence[Past], now: pd.Timestamp, params: CanaryParams) -> set[str]:
    since = now - pd.Timedelta(params.memory_days, "D")
    days: dict[str, set[object]] = {}
    for p in sorted(past, key=lambda p: p.at):
        if p.bad:
            days.pop(p.workload, None)
        elif p.raised and p.at > since and p.at.date() < now.date():
            days.setdefault(p.workload, set()).add(p.at.date())
    return {w for w, there in days.items() if len(there) >= max(params.trusted_days, 1)}


def _raises(lately: Sequence[Past]) -> dict[str, list[pd.Timestamp]]:
    """When each workload was raised in this rollout, oldest first."""
    found: dict[str, list[pd.Timestamp]] = {}
    for p in sorted(lately, key=lambda p: p.at):
        if p.raised and not p.bad:
            found.setdefault(p.workload, []).append(p.at)
    return found


def _sick(
    workload: str,
    raised: Mapping[str, list[pd.Timestamp]],
    lately: Sequence[Past],
    health: Mapping[str, Health],
    now: pd.Timestamp,
    params: GuardParams,
) -> str:
    """What is wrong with a workload that we raised; empty if nothing is known to be.

    What comes later than ``errors_window_min`` after a raise is no word on the raise.
    """
    if any(p.workload == workload and p.status == "rolled_back" for p in lately):
        return "its raise was rolled back"
    known, at = health.get(workload), raised.get(workload)
    if known is None or not at or at[-1] <= now - pd.Timedelta(params.errors_window_min, "min"):
        return ""
    return known.complaint(params)


def _through(
    raised: Mapping[str, list[pd.Timestamp]],
    health: Mapping[str, Health],
    now: pd.Timestamp,
    params: CanaryParams,
) -> set[str]:
    """Raised long enough ago to be judged, and known to be well (the sick stopped it already)."""
    before = now - pd.Timedelta(params.soak_min, "min")
    return {w for w, at in raised.items() if at[0] <= before and _known(w, health)}


def _by_workload(order: list[str], through: Collection[str], params: CanaryParams) -> Stage:
    n = len(order)
    first, half = math.ceil(n * params.share), math.ceil(n * _HALF)
    done = sum(w in through for w in order)
    if done >= half:
        return Stage("all", 1.0, frozenset(order), f"{done} of {_count(n)} are well")
    count = half if done >= first else first
    reason = f"{count} of {_count(n)}; {done} of them are well so far"
    name = "half" if done >= first else "canary"
    return Stage(name, 1.0, frozenset(order[:count]), reason)


def _by_share(
    new: list[str],
    raised: Mapping[str, list[pd.Timestamp]],
    health: Mapping[str, Health],
    now: pd.Timestamp,
    params: CanaryParams,
) -> Stage:
    """Too few to send some ahead: all of them, with a share of their pods."""
    soak = pd.Timedelta(params.soak_min, "min")
    rounds: list[pd.Timestamp] = []
    for at in sorted(t for w in new for t in raised.get(w, ())):
        if not rounds or at >= rounds[-1] + soak:
            rounds.append(at)
    judged = sum(at <= now - soak for at in rounds)
    if any(w in raised and not _known(w, health) for w in new):
        judged = 0
    share = (params.first_share, max(_HALF, params.first_share), 1.0)[min(judged, 2)]
    name = "all" if judged > 1 else "half" if judged else "canary"
    reason = f"{share:.0%} of the pods of {_count(len(new))}"
    return Stage(name, share, frozenset(new), reason)


def _count(n: int) -> str:
    return "1 new workload" if n == 1 else f"{n} new workloads"


def _known(workload: str, health: Mapping[str, Health]) -> bool:
    known = health.get(workload)
    return known is not None and math.isfinite(known.pending_pods)


def _place(workload: str, wanting: Mapping[str, int]) -> tuple[int, str]:
    """Small raises first, by powers of two; among equals a hash, the same under every plan."""
    digest = hashlib.sha256(workload.encode()).hexdigest()
    return max(wanting.get(workload, 0), 0).bit_length(), digest
