"""What a maker of series finds in one table: its families, and how much of it is too old."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.workloads import split_workload
from pipelines.series.gauge import WORKLOAD_LABELS, Gauge

__all__ = ["Told", "fresh", "workload_columns"]


@dataclass(frozen=True, slots=True)
class Told:
    """One table's share.

    Attributes
    ----------
    table : its name
    gauges : what may be used now
    valid_until : until when its newest rows may be used; nothing where there are none
    stale : series left out since their time is over
    notes : lines for a person
    """

    table: str
    gauges: tuple[Gauge, ...] = ()
    valid_until: pd.Timestamp | None = None
    stale: int = 0
    notes: tuple[str, ...] = ()


def fresh(
    rows: pd.DataFrame, until: pd.Series, now: pd.Timestamp
) -> tuple[pd.DataFrame, int, pd.Timestamp | None]:
    """The rows whose time is not over at ``now``, how many are not among them, and the latest end.

    A row whose end is not known is never used.
    """
    keep = (until > now).to_numpy(dtype=bool)
    last = None if until.isna().all() else pd.Timestamp(until.max())
    return rows[keep].reset_index(drop=True), int((~keep).sum()), last


def workload_columns(workloads: pd.Series | Sequence[str]) -> pd.DataFrame:
    """The four labels of each workload, categorical, (n,); a name is split once."""
    codes, names = pd.factorize(pd.Series(workloads, dtype="category"))
    split = [split_workload(str(n)) for n in names]
    columns: dict[str, pd.Categorical] = {}
    for i, part in enumerate(WORKLOAD_LABELS):
        of, values = pd.factorize(np.array([s[i] for s in split], dtype=object))
        columns[part] = pd.Categorical.from_codes(
            of[codes] if len(of) else codes, categories=pd.Index(values, dtype="str")
        )
    return pd.DataFrame(columns)
