"""How fast each workload's HPA may move, as arrays: its behavior in syncs, for the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from features.panel import Floats
from models.hpa import Ints
from models.hpa_spec import HpaSpec, ScalingRules

__all__ = ["DISABLED", "MIN", "PERCENT", "Rules", "behaviours_of", "rules_of"]

MIN, DISABLED = 1, 2
"""Codes of ``select``; 0 is max."""
PERCENT = 1
"""Code of a policy's kind; 0 is pods."""
_SELECT = {"max": 0, "min": MIN, "disabled": DISABLED}


class Rules(NamedTuple):
    """Behaviors of n workloads, the way up first, then down, p policies each. Times in syncs."""

    window: Ints
    """How many recommendations, this one included, hold a move back, (n, 2)."""
    tolerance: Floats
    """(n, 2)."""
    select: Ints
    """(n, 2)."""
    policies: Floats
    """Kind, value (pods or percent), period; a policy of period 0 is none. (n, 2, p, 3)."""
    longest: Ints
    """The longest period of both directions, (n,)."""


def rules_of(
    behaviours: Sequence[tuple[ScalingRules, ScalingRules]], row: Ints, sync_s: float
) -> Rules:
    """Workload i follows ``behaviours[row[i]]``, (up, down).

    A controller looks every ``sync_s``: a window or period that is no multiple of it ends with the
    first sync after it.
    """
    n = len(behaviours)
    most = max(len(rules.policies) for pair in behaviours for rules in pair)
    window, select = np.zeros((n, 2), np.int64), np.zeros((n, 2), np.int64)
    tolerance, policies = np.zeros((n, 2)), np.zeros((n, 2, most, 3))
    for i, pair in enumerate(behaviours):  # one behaviour, not one workload, at a time
        for side, rules in enumerate(pair):
            window[i, side] = _syncs(rules.stabilisation_s, sync_s)
            tolerance[i, side], select[i, side] = rules.tolerance, _SELECT[rules.select]
            for j, p in enumerate(rules.policies):
                kind = PERCENT if p.kind == "percent" else 0
                policies[i, side, j] = kind, p.value, _syncs(p.period_s, sync_s)
    longest = policies[:, :, :, 2].max(axis=(1, 2), initial=1).astype(np.int64)
    return Rules(window[row], tolerance[row], select[row], policies[row], longest[row])


def behaviours_of(
    specs: Sequence[HpaSpec | None], usual: tuple[ScalingRules, ScalingRules]
) -> tuple[list[tuple[ScalingRules, ScalingRules]], Ints]:
    """The different behaviours among n HPAs, and which each has; nothing given is the usual one."""
    known: dict[tuple[ScalingRules, ScalingRules], int] = {}
    row = [known.setdefault((s.up, s.down) if s else usual, len(known)) for s in specs]
    return list(known) or [usual], np.array(row, np.int64)


def _syncs(seconds: float, sync_s: float) -> int:
    return int(np.ceil(seconds / sync_s * (1 - 1e-12)))
