"""Whether a new version may go live: not where its backtest is clearly worse than the live one's.

Two trainings look back on different weeks, and a hard week is hard for every model. So what is
compared is each series' *skill*, the champion's WAPE over the better bar's of the same origins:
below 1 it beats last week. The new version is worse where the typical (median) series lost more
skill than ``worse_by``, and that is no accident: the median's lower confidence limit is meant, by
the sign test (Conover, Practical Nonparametric Statistics, 3.2). Few series never prove anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.choice import BARS

__all__ = ["PromotionParams", "why_worse"]

_KEY = ["workload", "metric"]
_DOUBT = 0.05


@dataclass(frozen=True, slots=True)
class PromotionParams:
    """Knobs of the gate between challenger and champion."""

    worse_by: float = 0.1
    """Loss of skill, as a share, from which on a new version stays challenger."""
    live_at_most_days: float = 7.0
    """A live version that is older yields anyway: an old model is worse than its backtest."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        for key in ("worse_by", "live_at_most_days"):
            if not getattr(self, key) >= 0:
                raise ValueError(f"{key} must be at least 0, got {getattr(self, key)!r}")


def why_worse(new: pd.DataFrame, live: pd.DataFrame, params: PromotionParams) -> str | None:
    """Why the new version may not go live by itself; nothing where it may.

    ``new`` and ``live`` follow the BACKTEST contract; only series in both are compared.
    """
    from scipy.stats import binom  # half a second, which every verb would pay

    both = pd.concat([_skill(new), _skill(live)], axis=1, join="inner", keys=["new", "live"])
    lost: NDArray[np.float64] = np.sort(np.log(np.asarray(both["new"] / both["live"])))
    n = len(lost)
    rank = int(binom.ppf(_DOUBT, n, 0.5)) if n else 0  # at most so many lie below, by chance
    if not n or binom.cdf(rank, n, 0.5) > _DOUBT:
        rank -= 1
    if rank < 0 or not lost[rank] > np.log1p(params.worse_by):
        return None
    middle = both.median()
    return (
        f"its backtest is clearly worse: over {n} series it has {middle['new']:.2f} of last week's "
        f"error (median), the live version had {middle['live']:.2f}"
    )


def _skill(table: pd.DataFrame) -> pd.Series:
    """Champion's WAPE / the better bar's, by series; without those that have no error to share."""
    known = table[np.isfinite(table["wape"])]
    champion = known[known["champion"].astype(bool)].groupby(_KEY, observed=True)["wape"].mean()
    bars = known[known["model"].isin(BARS)].groupby([*_KEY, "model"], observed=True)["wape"].mean()
    skill = champion / bars.groupby(_KEY, observed=True).min()
    return skill[np.isfinite(skill) & (skill > 0)]
