"""What a metric tells of a service, by its name: its pain, its load, or a part of it.

The words are those of usual exporters; a name that says nothing is a part, and may move both ways.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from features.changes import CHANGE_METRICS

__all__ = ["EVENT", "LOAD", "PAIN", "PART", "kinds_of"]

PART, PAIN, LOAD, EVENT = 0, 1, 2, 3
"""cpu, memory, …; latency and errors; what arrives; a stamp, setting or counter that tells of
changes, which count as events."""
_COUNTS = ("replicas", "nodes")
"""They tell of changes as well, and how much of a thing there is."""

_WORDS = (
    (EVENT, 0, "|".join(f"^{name}$" for name in CHANGE_METRICS if name not in _COUNTS)),
    (PAIN, -1, r"availab|success|healthy|ready|uptime|apdex"),
    (
        PAIN, 1, r"error|fault|fail|5xx|4xx|exception|throttl|timeout|reject|drop|latency|duration"
        r"|response_?time|delay|wait|_p\d\d|lag|oom",
    ),
    (PART, 0, r"cpu|memory|_request_|_requests_cores|_limit"),
    (LOAD, 0, r"request|traffic|throughput|\brps\b|\bqps\b|calls|invocation|hits|network|messages"),
)  # fmt: skip


def kinds_of(metrics: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Kind and bad direction (1 up, -1 down, 0 either) of each metric, both (n_metrics,)."""
    told = {name: _kind(name) for name in set(metrics)}
    both = np.array([told[name] for name in metrics], dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _kind(name: str) -> tuple[int, int]:
    lower = name.lower()
    if re.search("unavailab|unhealthy|unready|unsuccess", lower):
        return PAIN, 1
    return next(((k, way) for k, way, words in _WORDS if re.search(words, lower)), (PART, 0))
