"""Where load is about to rise, or has just risen, beyond what the pods that are there can burn: an
HPA, which sees usage alone, is then late by more than a pod start. It is what floors are for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.panel import Floats
from models.hpa import rolling_max

__all__ = ["rising"]


def rising(point: Floats, n_steps: int, factor: float) -> NDArray[np.bool_]:
    """Steps within ``n_steps`` of which, before or after, the median rises by more than a factor,
    (n, m) → (n, m).

    Pods that run at the HPA's target can burn 1 / target of it.
    """
    most = rolling_max(point, 0, n_steps)
    least = -rolling_max(-point, n_steps, 0)
    with np.errstate(invalid="ignore"):
        to_come = most > factor * point
        just_was = point > factor * least
    return np.asarray((to_come | just_was) & np.isfinite(point))
