"""All makers of series, one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd

from pipelines.errors import StoreError
from pipelines.run import Run
from pipelines.series.actual import actual_gauges
from pipelines.series.gauge import Gauge
from pipelines.series.own import own_gauges
from pipelines.series.value import value_gauges
from pipelines.series.workloads import Gathered, gather_workloads

__all__ = ["gather_all"]


def gather_all(run: Run) -> Gathered:
    """The families of the workloads, of the runs and of the value report, and what is left out."""
    found = gather_workloads(run)
    actual: list[Gauge] = []
    with suppress(StoreError):  # damaged scores are told already
        actual = actual_gauges(run)
    every = (*found.gauges, *actual, *own_gauges(run), *value_gauges(run))
    return replace(found, gauges=_merged(every))


def _merged(gauges: Iterable[Gauge]) -> tuple[Gauge, ...]:
    """Each name once; of a series that two makers know the first maker's."""
    by_name: dict[str, list[Gauge]] = {}
    for one in gauges:
        by_name.setdefault(one.name, []).append(one)
    return tuple(same[0] if len(same) == 1 else _one(same) for same in by_name.values())


def _one(same: list[Gauge]) -> Gauge:
    first = same[0]
    labels = pd.concat([g.labels.astype("str") for g in same], ignore_index=True)
    values = np.concatenate([g.values for g in same])
    keep = ~labels[list(first.labels.columns)].duplicated().to_numpy()
    return Gauge(first.name, first.help, labels[keep].reset_index(drop=True), values[keep])
