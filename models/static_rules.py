"""Alerts as most teams have them: a threshold that holds for a while.

The semantics are Prometheus' (its documentation, "Alerting rules"): a rule is looked at every step,
fires once it has held for some time (``for:``), and resolves when it no longer holds or there is no
sample. It is given whole workloads, which is kind to it: in a cluster every pod fires.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Panel

__all__ = ["StaticRule", "StaticRulesParams", "firings"]

_COLUMNS = ["workload", "metric", "start", "end", "detected_at"]


@dataclass(frozen=True, slots=True)
class StaticRule:
    """``metric / of > above``; ``of`` nothing: the metric itself."""

    metric: str
    of: str | None
    above: float

    @property
    def metrics(self) -> list[str]:
        """What it reads."""
        return [self.metric, *([self.of] if self.of else [])]


@dataclass(frozen=True, slots=True)
class StaticRulesParams:
    """The thresholds that Foretide is held against: put your own here.

    The defaults are those of common rule collections: saturation at 80 %, one error in a hundred.
    """

    cpu_of_request_share: float = 0.8
    memory_of_limit_share: float = 0.8
    error_ratio: float = 0.01
    for_min: float = 5.0

    def __post_init__(self) -> None:
        """Refuse thresholds that cannot be."""
        for key in ("cpu_of_request_share", "memory_of_limit_share", "error_ratio", "for_min"):
            if not 0 < getattr(self, key) < np.inf:
                raise ValueError(f"static: {key} must be above 0, got {getattr(self, key)!r}")

    @property
    def rules(self) -> tuple[StaticRule, ...]:
        """All of them."""
        return (
            StaticRule("cpu_usage_cores", "cpu_request_cores", self.cpu_of_request_share),
            StaticRule(
                "memory_working_set_bytes", "memory_limit_bytes", self.memory_of_limit_share
            ),
            StaticRule("error_ratio", None, self.error_ratio),
        )


def firings(
    panel: Panel, start: pd.Timestamp, rule: StaticRule, for_min: float = 5.0
) -> pd.DataFrame:
    """The alerts of one rule that fire from ``start`` on; one that never resolves ends with the
    panel. One that fired before, and still does, is none: the panel has to reach back before
    ``start`` by more than ``for_min``.

    Returns
    -------
    ``workload, metric, start`` (since when it held)``, end, detected_at``.
    """
    mine = panel.of(rule.metric)
    names = [str(w) for w in mine.keys["workload"]]
    whole = panel.matrix(rule.of, names) if rule.of else np.ones_like(mine.values)
    with np.errstate(invalid="ignore", divide="ignore"):
        holds = mine.values / whole > rule.above
    pending = max(int(np.ceil(pd.Timedelta(for_min, "min") / panel.step)), 1)
    fires = holds.copy()
    for lag in range(1, pending + 1):
        fires &= _lagged(holds, lag)
    edges = np.diff(np.pad(fires.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, begin = np.nonzero(edges == 1)
    end = np.nonzero(edges == -1)[1]
    new = np.asarray(panel.times >= start)[begin]
    row, begin, end = row[new], begin[new], end[new]
    stamps = panel.times.append(pd.DatetimeIndex([panel.end.as_unit("ms")]))
    return pd.DataFrame(
        {
            "workload": np.array(names, dtype=object)[row],
            "metric": rule.metric,
            "start": stamps[np.maximum(begin - pending, 0)],
            "end": stamps[end],
            # a step's value is known when it is over
            "detected_at": stamps[np.minimum(begin + 1, panel.n_steps)],
        },
        columns=_COLUMNS,
    )


def _lagged(holds: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    out = np.zeros_like(holds)
    out[:, steps:] = holds[:, : holds.shape[1] - steps]
    return out
