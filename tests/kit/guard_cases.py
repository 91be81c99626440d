"""One workload before the guardrails, all well: what a test says differs from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from models.guardrails import RULES, Decision, GuardParams, Health, Past, Wanted, decide
from models.holders import Holder

NAME = "prod/shop/Deployment/checkout"
NOW = pd.Timestamp("2026-03-02 08:30", tz="UTC")
FINE = Health(pending_pods=0, error_ratio=0.001, error_ratio_before=0.001, forecast_age_s=600)


def ago(**spans: float) -> pd.Timestamp:
    return NOW - pd.Timedelta(**spans)


def holder(**changes: Any) -> Holder:
    """10 pods under an HPA of 3 to 100, by itself."""
    name = changes.get("workload", NAME)
    ours = Holder(name, "hpa", name.split("/")[-1], "shop", "u-1", "7", 3, 100, 10, 10)
    return replace(ours, **changes)


def held(floor: int, **changes: Any) -> Holder:
    """The same, with our floor on it: the user's own was 3."""
    until = NOW + pd.Timedelta(20, "min")
    ours = {"floor": floor, "replicas": floor, "desired": floor, "ours": True}
    return holder(**ours | {"original": 3, "plan_id": "p-0", "held_until": until} | changes)


def wanted(floor: int, **changes: Any) -> Wanted:
    until = NOW + pd.Timedelta(1, "h")
    return replace(Wanted(NAME, floor, until, "act", "act", "p-1"), **changes)


def raised(at: pd.Timestamp, before: int, after: int, **changes: Any) -> Past:
    done = Past(NAME, at, before, after, "done", "p-0", replicas=before)
    return replace(done, **changes)


def known(workload: str = NAME) -> list[Past]:
    """Days on which it was raised and all was well: no stages any more."""
    days = (ago(days=d) for d in (6, 5, 4))
    return [raised(at, 3, 4, workload=workload) for at in days]


def decided(
    want: Wanted | None,
    there: Holder,
    past: list[Past] | None = None,
    health: Health = FINE,
    params: GuardParams | None = None,
    *,
    without: str = "",
    now: pd.Timestamp = NOW,
    approved: str = "",
    force_owners: Sequence[str] | None = None,
    new: bool = False,
) -> Decision:
    """The decision for a workload, trusted unless ``new``; ``without`` leaves a rule out."""
    assert not without or without in {r.__name__ for r in RULES}
    rules = [r for r in RULES if r.__name__ != without]
    (found,) = decide(
        [want] if want else [],
        {there.workload: there},
        [*([] if new else known(there.workload)), *(past or [])],
        {there.workload: health},
        now,
        params or GuardParams(),
        approved=approved,
        force_owners=force_owners,
        rules=rules,
    )
    return found
