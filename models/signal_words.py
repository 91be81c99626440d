"""Signals (``features/signals.py``) as a person says them: ``p99 latency``, ``CPU saturation``."""

from __future__ import annotations

from collections.abc import Sequence

from models.metric_words import metric_words

__all__ = ["signal_words"]

_KINDS = {"residual": "", "saturation": " saturation", "increase": " increase"}
"""A metric that is off its forecast is named as it is."""


def signal_words(names: Sequence[str]) -> list[str]:
    """Words for each signal."""
    parts = [name.rpartition(":") for name in names]
    known = [kind in _KINDS and metric != "" for metric, _, kind in parts]
    metrics = [p[0] if k else name for p, k, name in zip(parts, known, names, strict=True)]
    words = metric_words(metrics).names.tolist()
    return [
        f"{word}{_KINDS[part[2]]}" if k else word
        for word, part, k in zip(words, parts, known, strict=True)
    ]
