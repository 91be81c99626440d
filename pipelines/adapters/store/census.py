"""Who is in the store, from the footers of its days: nothing but labels is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd
import pyarrow.parquet as pq

from pipelines.adapters.store.samples_file import groups_of
from pipelines.adapters.store.samples_panel import DAY_MS, workloads_of

__all__ = ["census_of"]


def census_of(
    days: Sequence[tuple[int, pq.ParquetFile]], start_ms: int, end_ms: int
) -> tuple[list[str], pd.Timedelta] | None:
    """The workloads that have samples in the days of ``[start_ms, end_ms)``, and the step that is
    the distance of most neighbours.

    A workload of which only a part of a day is inside may have its samples outside. None where the
    footers cannot tell: another hand's file, no step that most have, or too many gaps.

    Parameters
    ----------
    days : left edge (Unix ms) and opened file of each day

    Raises
    ------
    pyarrow.ArrowException, OSError
        A file is damaged.
    """
    known: dict[str, list[str]] = {}
    at_step: Counter[int] = Counter()
    rows = 0
    for edge_ms, file in days:
        if edge_ms >= end_ms or edge_ms + DAY_MS <= start_ms:
            continue
        groups = groups_of(file)
        if groups is None:
            return None
        for i, group in enumerate(groups):
            if group.last_ms < start_ms or group.first_ms >= end_ms:
                continue
            if group.series == 0:
                return None
            if group.digest not in known:
                known[group.digest] = workloads_of(file, i, group)
            rows += group.rows
            # of the gaps in n steps, all but the one-step gaps take two steps or more
            at_step[group.step_ms] += 2 * group.rows - group.series * (group.n_steps + 1)
    step_ms, gaps = max(at_step.items(), key=lambda one: one[1], default=(0, 0))
    if step_ms == 0 or gaps <= rows / 2:
        return None
    return sorted(set().union(*known.values())), pd.Timedelta(step_ms, "ms")
