"""What the guardrails look at, and what they say: plain values, one workload each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from models.actions import Gate
from models.guard_params import GuardParams
from models.modes import Mode

__all__ = ["Decision", "Health", "Past", "Wanted", "What"]

What = Literal["raise", "step_down", "keep", "wait", "refuse", "give_back", "show"]

_MADE = ("intended", "done", "given_back", "rolled_back", "reverted")
"""Ledger states of writes that were made, or may have been: an ``intended`` row that nothing
follows is a run that died."""
_BAD = ("rolled_back", "reverted")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The floor that the newest plan holds for a workload now (or soon: ``canary.lead_in_s``).

    ``approved``: a person has said yes to so high a floor, under this plan or one before.
    ``approved_floor``: the height that a person said yes to, 0 where nobody did; ``approved_plan``
    the plan that it was said to. ``due``: when its floor has to stand, where that is known: the
    earliest have their turn first.
    """

    workload: str
    floor: int
    until: pd.Timestamp
    mode: Mode
    gate: Gate
    plan_id: str
    approved: bool = False
    approved_floor: int = 0
    approved_plan: str = ""
    due: pd.Timestamp | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """One action of the ledger as it stands now (the last row of its id).

    ``before`` and ``after`` are floors, an unset one being 1 (HPA) or 0 (KEDA). ``replicas``: the
    pods that were there when it was done; 0 where nobody wrote it down, which makes the limits of
    an hour stricter.
    """

    workload: str
    at: pd.Timestamp
    before: int
    after: int
    status: str
    plan_id: str
    replicas: int = 0

    @property
    def made(self) -> bool:
        """Whether the cluster was written to, or may have been."""
        return self.status in _MADE

    @property
    def raised(self) -> bool:
        """Whether it was a raise."""
        return self.made and self.after > self.before

    @property
    def bad(self) -> bool:
        """Whether it ended badly: rolled back by us, or taken back by somebody."""
        return self.status in _BAD


@dataclass(frozen=True, slots=True)
class Health:
    """How a workload does; NaN where it is not known.

    Attributes
    ----------
    pending_pods : of its pods, those that wait for a node longer than a lead time explains
    pending_before : of those, the ones that are not of our raise: made before it, or as many as
        waited then
    error_ratio, error_ratio_before : failed requests of all, lately and before our raise
    forecast_age_s : of the newest forecast; one that is not known counts as stale
    accuracy_ok : False where the forecasts lost their edge
    needed : replicas that the HPA's metrics ask for, whatever the floor. ``status.desiredReplicas``
        does not say it where the floor holds: it is then the floor itself
    """

    pending_pods: float = math.nan
    error_ratio: float = math.nan
    error_ratio_before: float = math.nan
    forecast_age_s: float = math.nan
    accuracy_ok: bool = True
    needed: float = math.nan
    pending_before: float = 0.0

    @property
    def pending_ours(self) -> int:
        """Pods that wait since our raise and for it; 0 where it is not known."""
        ours = self.pending_pods - self.pending_before
        return max(int(ours), 0) if math.isfinite(ours) else 0

    def errors_rose(self, params: GuardParams) -> bool:
        """Whether there are more errors than before our raise, beyond chance."""
        before = self.error_ratio_before
        least = max(before * params.errors_factor, before + params.errors_margin)
        return self.error_ratio > least  # NaN: not known to have risen

    def complaint(self, params: GuardParams) -> str:
        """What speaks against a raise that has had its time; empty where nothing does."""
        if self.pending_ours > 0:
            return f"{self.pending_ours} pods stay pending"
        if self.errors_rose(params):
            return f"errors rose from {self.error_ratio_before:.2%} to {self.error_ratio:.2%}"
        return ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one workload's floor.

    Attributes
    ----------
    what : ``raise``, ``step_down`` and ``give_back`` write ``floor`` (the user's own value where
        that is what it is); the others write nothing: ``keep`` as it is, ``wait`` for a person or
        for other workloads, ``refuse`` to act here, ``show`` what would be done
    floor : to be written, or that stands; of ``show``, the one that would be asked for
    stage : of the rollout, ``trusted`` where there is none, ``rollback`` where our raise did harm
    reason : why, in words
    renew : whether what is held now may stand until the plan's ``until``; else it ends by its own
        expiry
    """

    workload: str
    what: What
    floor: int
    stage: str
    reason: str
    renew: bool = False
