"""Replica arithmetic: the Horizontal Pod Autoscaler's formula, and floors over time.

Source: Kubernetes documentation, "Horizontal Pod Autoscaling", algorithm details.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import maximum_filter1d

from features.panel import Floats

__all__ = ["ROUNDING", "Ints", "hpa_replicas", "rolling_max", "step_down"]

Ints = NDArray[np.int64]

ROUNDING = 1 - 1e-12
"""7 cores at 0.7 a pod are 10 pods, not 11 for a last binary digit."""


def hpa_replicas(
    usage_cores: Floats,
    target_per_pod_cores: ArrayLike,
    *,
    current: ArrayLike | None = None,
    tolerance: float = 0.1,
) -> Floats:
    """Replicas that the HPA's formula asks for: ceil(usage / target per pod), broadcast; NaN
    without an answer.

    ``target_per_pod_cores`` is target utilisation × request. Where ``current`` replicas are given
    and the usage is within ``tolerance`` of their target, they stay (HPA's default tolerance is
    0.1).
    """
    target = np.asarray(target_per_pod_cores, dtype=np.float64)
    target = np.where(target > 0, target, np.nan)
    with np.errstate(over="ignore"):  # more than a float can say is inf, and clamped later
        need = np.maximum(usage_cores, 0.0) / target
    wanted = np.ceil(need * ROUNDING)
    if current is None:
        return wanted
    now = np.asarray(current, dtype=np.float64)
    near = np.abs(need - now) <= tolerance * now
    return np.where(near, now, wanted)


def rolling_max(values: Floats, back: int, ahead: int) -> Floats:
    """Largest value of the steps [t - back, t + ahead], (n, m) → (n, m); NaN is skipped, -inf where
    all are NaN."""
    filled = np.where(np.isnan(values), -np.inf, values)
    size = back + ahead + 1
    return maximum_filter1d(
        filled, size, axis=-1, mode="constant", cval=-np.inf, origin=back - size // 2
    )


def step_down(replicas: Floats, share: float) -> Floats:
    """Floors, (n, m), that fall by at most ``share`` of themselves, and by at least 1, in a step.

    Lowering an HPA's floor drops the pods at once, so what was raised is given back in parts.
    """
    out = replicas.copy()
    for t in range(1, out.shape[1]):
        held = out[:, t - 1]
        out[:, t] = np.maximum(out[:, t], held - np.maximum(np.ceil(share * held), 1.0))
    return out
