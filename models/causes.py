"""Ranked causes: which metric of which workload changed most, in words that a person can check.

A change is measured against the metric's own spread before, as in BARO (Pham et al., 2024), so that
bytes and megabytes rank alike. The spread has a floor relative to the level: a flat metric does not
win by a hair.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = [
    "CAUSE_COLUMNS",
    "changed_in_words",
    "explained_by_callees",
    "measure_changes",
    "rank_causes",
]

CAUSE_COLUMNS = ("workload", "metric", "score", "evidence")
_IQR_OF_NORMAL = 1.349
_FLOOR_SHARE = 0.05


def measure_changes(before: pd.DataFrame, after: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Robust change of each group that was measured before and after.

    ``before`` and ``after`` hold the columns ``by`` and ``value``. The result has ``by``, ``was``,
    ``became`` (medians) and ``score``: |became - was| over the spread before (IQR / 1.349, at least
    5 % of the level): free of the unit.
    """
    grouped = before.groupby(by, observed=True)["value"]
    quantiles = {"low": 0.25, "was": 0.5, "high": 0.75}
    old = pd.DataFrame({name: grouped.quantile(q) for name, q in quantiles.items()})
    new = after.groupby(by, observed=True)["value"].median()
    if old.empty or new.empty:
        return pd.DataFrame(columns=[*by, "was", "became", "score"])
    both = old.join(new.rename("became"), how="inner").dropna()
    level = np.maximum(both["was"].abs(), both["became"].abs())
    usual = (both["high"] - both["low"]) / _IQR_OF_NORMAL
    spread = pd.Series(np.maximum(usual, _FLOOR_SHARE * level), index=both.index)
    change = (both["became"] - both["was"]).abs()
    # the last digits hold the unit's rounding: they must not order what is level
    both["score"] = (change / spread.where(spread > 0)).fillna(0.0).round(9)
    return both[["was", "became", "score"]].reset_index()


def rank_causes(
    before: pd.DataFrame, after: pd.DataFrame, edges: pd.DataFrame | None = None, limit: int = 5
) -> pd.DataFrame:
    """What changed most between two frames ``workload, metric, ts, value``: ``CAUSE_COLUMNS``, best
    first.

    With ``edges`` (``caller, callee``) a changed workload whose callee changed as well ranks below
    it: trouble travels from the callee to its callers. At most ``limit`` rows. A change of a
    metric's unit leaves order and scores alone.
    """
    changes = measure_changes(before, after, ["workload", "metric"])
    if changes.empty:
        return pd.DataFrame(columns=list(CAUSE_COLUMNS))
    changes["evidence"] = changed_in_words(changes)
    best = changes.groupby("workload", observed=True)["score"].max()
    moved = pd.Series(0, index=best.index[best >= 3].astype(str))
    blamed = explained_by_callees(moved, edges)
    changes["explained"] = changes["workload"].astype(str).isin(blamed)
    ranked = changes.sort_values(
        ["explained", "score", "workload", "metric"], ascending=[True, False, True, True]
    )
    return ranked[list(CAUSE_COLUMNS)].head(limit).reset_index(drop=True)


def explained_by_callees(started: pd.Series, edges: pd.DataFrame | None) -> set[str]:
    """Workloads with a callee that went wrong no later; ``started``: workload → start."""
    if edges is None or edges.empty:
        return set()
    calls = edges[edges["caller"].isin(started.index) & edges["callee"].isin(started.index)]
    calls = calls[calls["caller"] != calls["callee"]]
    first = (
        started.reindex(calls["callee"]).to_numpy() <= started.reindex(calls["caller"]).to_numpy()
    )
    return set(calls.loc[first, "caller"])


def changed_in_words(changes: pd.DataFrame) -> pd.Series:
    """``error_ratio ×9 from 0.2% to 1.8%`` for each row of ``metric, was, became``."""
    metrics = changes["metric"].astype(str)
    said = [
        f"{metric} {_factor(was, became)}from {_in_unit(metric, was)} to {_in_unit(metric, became)}"
        for metric, was, became in zip(metrics, changes["was"], changes["became"], strict=True)
    ]
    return pd.Series(said, index=changes.index, dtype="str")


def _factor(was: float, became: float) -> str:
    if was <= 0 or became <= 0 or not 1.2 <= max(became / was, was / became) < 1000:
        return ""
    return f"×{became / was:.2g} " if became > was else f"÷{was / became:.2g} "


def _in_unit(metric: str, value: float) -> str:
    if metric.endswith("_ratio"):
        return f"{100 * value:.3g}%"
    if metric.endswith("_seconds"):
        return f"{value:.3g} s" if abs(value) >= 1 else f"{1000 * value:.3g} ms"
    if metric.endswith("_bytes"):
        return f"{value / 2**30:.3g} GiB" if abs(value) >= 2**29 else f"{value / 2**20:.3g} MiB"
    return f"{value:.4g}"
