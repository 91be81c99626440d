"""All workloads before the guardrails: their cases, and one pass through the rules for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from models.canary import is_trusted, stage_of, stood
from models.guard_case import Case, Rule, conclusion
from models.guard_facts import Decision, Health, Past, Wanted
from models.guard_params import GuardParams
from models.holders import Holder

__all__ = ["cases_of", "decided"]

_LATE = pd.Timestamp("2200-01-01", tz="UTC")


def cases_of(
    wanted: Sequence[Wanted],
    holders: Mapping[str, Holder],
    past: Sequence[Past],
    health: Mapping[str, Health],
    now: pd.Timestamp,
    params: GuardParams,
    approved: str,
    force_owners: Sequence[str] | None,
) -> tuple[list[str], list[Case]]:
    """The workloads in their order, and the case of each that has a holder."""
    asked = {w.workload: w for w in sorted(wanted, key=lambda w: w.floor)}
    done: dict[str, list[Past]] = {}
    for p in sorted(past, key=lambda p: p.at):
        done.setdefault(p.workload, []).append(p)
    names = dict.fromkeys(w.workload for w in sorted(wanted, key=lambda w: w.due or _LATE))
    names |= dict.fromkeys(sorted(w for w, h in holders.items() if h.held))
    owners = None if force_owners is None else tuple(force_owners)
    cases: list[Case] = []
    for name in (n for n in names if n in holders):
        want, there = asked.get(name), holders[name]
        aim = want.floor if want else there.user_floor
        yes = want is not None and (want.approved or want.plan_id == approved != "")
        rows, well = tuple(done.get(name, ())), health.get(name, Health())
        case = Case(there, want, rows, well, now, params, yes, aim, force_owners=owners)
        old = is_trusted(name, rows, now, params.canary)
        cases.append(replace(case, trusted=old, stood=stood(rows, now, params.canary)))
    return list(names), cases


def decided(
    cases: Sequence[Case],
    past: Sequence[Past],
    health: Mapping[str, Health],
    now: pd.Timestamp,
    params: GuardParams,
    *,
    alone: Sequence[Rule],
    rules: Sequence[Rule],
) -> dict[str, Decision]:
    """Every case through the rules; who is first in a rollout is chosen of those that may rise.

    ``alone`` are the rules that look at one workload only.
    """
    first = [(c, _through(c, alone)) for c in cases]
    wanting = {d.workload: d.floor - c.floor for c, d in first if d.what == "raise"}
    stage = stage_of(past, health, now, params, wanting=wanting)
    found: dict[str, Decision] = {}
    raises = 0
    for case in cases:
        decision = _through(replace(case, stage=stage, raises=raises), rules)
        found[case.holder.workload] = decision
        raises += decision.what == "raise" and not replace(case, aim=decision.floor).known
    return found


def _through(case: Case, rules: Sequence[Rule]) -> Decision:
    for rule in rules:
        ruled = rule(case)
        if isinstance(ruled, Decision):
            return ruled
        case = ruled
    return conclusion(case)
