"""Enough history? A verdict for every series, with the reason in words.

A series that is refused is not an error: it becomes a row in ``skips`` and is judged again at the
next run. A constant series is fine to learn from and only noted as ``flat``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.panel import Panel

__all__ = ["LARGEST", "QualityParams", "judge"]

LARGEST = 1e100
"""Nothing that is measured is beyond it; its square, and sums of those, are still numbers."""


@dataclass(frozen=True, slots=True)
class QualityParams:
    """What a series needs before anything is learned from it."""

    minimum_history_days: float = 0.25
    """Days from the first sample to the last one."""
    maximum_staleness_h: float = 24.0
    """Hours without a sample at the end of the panel."""
    minimum_coverage: float = 0.5
    """Share of the steps between first and last sample that hold a value."""

    def __post_init__(self) -> None:
        """Refuse values that no series could meet, or that mean nothing."""
        for key in ("minimum_history_days", "maximum_staleness_h"):
            value = getattr(self, key)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{key} must be a finite number of at least 0, got {value!r}")
        if not 0 <= self.minimum_coverage <= 1:
            raise ValueError(
                f"minimum_coverage must be between 0 and 1, got {self.minimum_coverage!r}"
            )


def judge(panel: Panel, params: QualityParams) -> pd.DataFrame:
    """One row a series, in the panel's order.

    Returns
    -------
    frame
        ``workload``, ``metric``; ``ok``; ``reason``, empty where ok; ``span_h`` from the first
        sample's step to the last one's end; ``coverage``, the share of those steps that hold a
        value; ``staleness_h`` from the last sample's step to the panel's end (inf where there is
        no sample); ``flat``, all values equal.
    """
    there = ~np.isnan(panel.values)
    count = there.sum(axis=1)
    some = count > 0
    step_h = panel.step / pd.Timedelta(hours=1)
    if panel.n_steps:
        first, last = there.argmax(axis=1), panel.n_steps - 1 - there[:, ::-1].argmax(axis=1)
    else:
        first = last = np.zeros(panel.n_series, dtype=np.intp)
    span = np.where(some, last - first + 1, 0)
    verdict = panel.keys[["workload", "metric"]].reset_index(drop=True)
    verdict["span_h"] = span * step_h
    verdict["coverage"] = count / np.maximum(span, 1)
    verdict["staleness_h"] = np.where(some, (panel.n_steps - 1 - last) * step_h, np.inf)
    low = np.fmin.reduce(panel.values, axis=1, initial=np.inf)
    high = np.fmax.reduce(panel.values, axis=1, initial=-np.inf)
    verdict["flat"] = some & (low == high)
    reason = _reasons(verdict, some, params)
    reason[some & (np.maximum(-low, high) > LARGEST)] = f"a value is beyond {LARGEST:g}"
    verdict.insert(2, "ok", reason == "")
    verdict.insert(3, "reason", reason.astype("str"))
    return verdict


def _reasons(
    verdict: pd.DataFrame, some: np.ndarray[tuple[int], np.dtype[np.bool_]], params: QualityParams
) -> pd.Series:
    """The first objection to each series in words; empty where there is none."""
    days, hours, share = verdict["span_h"] / 24, verdict["staleness_h"], verdict["coverage"]
    reason = pd.Series("", index=verdict.index, dtype=object)
    thin = share < params.minimum_coverage
    # rounded down, so that no refused series reads "3.0 d, needs 3.0 d"
    reason[thin] = (np.floor(100 * share[thin])).map("covers {:.0f} % of its steps".format)
    short = days < params.minimum_history_days
    least_h = 24 * params.minimum_history_days
    if least_h < 24:
        reason[short] = (np.floor(10 * 24 * days[short]) / 10).map(
            lambda h: f"history {h:.1f} h, needs {least_h:g} h"
        )
    else:
        reason[short] = (np.floor(10 * days[short]) / 10).map(
            lambda d: f"history {d:.1f} d, needs {least_h / 24:.1f} d"
        )
    stale = hours > params.maximum_staleness_h
    reason[stale] = f"no sample in the last {params.maximum_staleness_h:g} h"
    reason[~some] = "no sample"
    return reason
