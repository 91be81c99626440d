"""Causes in words: what changed, by how much, and what speaks for it."""

from __future__ import annotations

import pandas as pd

__all__ = ["changed_in_words", "evidence_in_words"]

_TOGETHER = 0.3


def evidence_in_words(rows: pd.DataFrame, target: str, window: pd.Timedelta) -> pd.Series:
    """The evidence of each row of ``metric, was, became, peaked, p, moves_with, event``.

    ``latency_p99_seconds ×9 from 50 ms to 450 ms at its worst; 0.85% or fewer of normal 25 min
    are as unusual; moves with checkout (0.93); deploy at 10:05, 3 min before``.
    """
    length = f"{window / pd.Timedelta(1, 'min'):.3g} min"
    parts = zip(
        changed_in_words(rows), rows["peaked"], rows["p"], rows["moves_with"], rows["event"],
        strict=True,
    )  # fmt: skip
    said = [
        change
        + (" at its worst" if peaked else "")
        + f"; {100 * p:.2g}% or fewer of normal {length} are as unusual"
        + (f"; moves with {target} ({r:.2f})" if target and r >= _TOGETHER else "")
        + (f"; {event}" if event else "")
        for change, peaked, p, r, event in parts
    ]
    return pd.Series(said, index=rows.index, dtype="str")


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
