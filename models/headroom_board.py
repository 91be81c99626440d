"""Who wants how many pods when: a plan's floors against what stands now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats
from features.workloads import split_workload
from models.actions import Floor
from models.cluster_facts import ClusterFacts
from models.hpa import Ints

__all__ = ["Board", "gib", "make_board", "when"]

_SHAPE = ("cpu_cores", "memory_bytes", "cpu_limit_cores", "memory_limit_bytes")


@dataclass(frozen=True, slots=True)
class Board:
    """Floors of n workloads at the m moments where one begins.

    Attributes
    ----------
    rows : frame, (n,)
        ``workload, namespace, hpa, original, last`` (when its last floor ends), ``cpu_cores,
        memory_bytes, cpu_limit_cores, memory_limit_bytes`` of one pod, ``nodepool, priority_class,
        pods, placed, hpa_max, asked, asked_at``; NaN (NaT) where not known.
    times : (m,), UTC
    wanted : int64, (n, m)
        The floor; 0 where there is none.
    """

    cluster: str
    as_of: pd.Timestamp
    rows: pd.DataFrame
    times: pd.DatetimeIndex
    wanted: Ints

    def more(self, column: str) -> Ints:
        """Pods above those that there are (``pods``) or that have a node (``placed``), (n, m).

        0 where that is not known. Pods that go until then are not taken off: a later plan sees it.
        """
        now = self.rows[column].to_numpy(np.float64)[:, None]
        return np.nan_to_num(np.maximum(self.wanted - now, 0.0)).astype(np.int64)

    def number(self, column: str) -> Floats:
        """A column of ``rows`` as floats, (n,)."""
        return self.rows[column].to_numpy(np.float64)


def make_board(
    floors: Sequence[Floor], pods: pd.DataFrame | None, facts: ClusterFacts, as_of: pd.Timestamp
) -> Board | None:
    """The board of the floors of one cluster that have not ended; None without any."""
    mine = [
        f for f in floors if f.ends_at > as_of and split_workload(f.workload)[0] == facts.cluster
    ]
    if not mine:
        return None
    plan = pd.DataFrame(
        {
            "workload": [f.workload for f in mine],
            "start": [max(f.starts_at, as_of) for f in mine],
            "end": [f.ends_at for f in mine],
            "after": np.array([f.after for f in mine], dtype=np.int64),
            "original": [f.original for f in mine],
        }
    )
    row, names = pd.factorize(plan["workload"], sort=True)
    times = pd.DatetimeIndex(plan["start"].drop_duplicates().sort_values())
    begin = times.searchsorted(plan["start"])
    length = times.searchsorted(plan["end"]) - begin
    col = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length - begin, length)
    wanted = np.zeros((len(names), len(times)), dtype=np.int64)
    np.maximum.at(
        wanted, (np.repeat(row, length), col), np.repeat(plan["after"].to_numpy(), length)
    )
    rows = plan.groupby("workload").agg(original=("original", "min"), last=("end", "max"))
    return Board(facts.cluster, as_of, _facts(rows, mine, pods, facts).reset_index(), times, wanted)


def _facts(
    rows: pd.DataFrame, floors: list[Floor], pods: pd.DataFrame | None, facts: ClusterFacts
) -> pd.DataFrame:
    """What is known of each workload: from the cluster, else from the plan, else from samples."""
    seen = {p.workload: p for p in facts.pods}
    there = [seen.get(str(w)) for w in rows.index]
    columns = {
        key: np.array([np.nan if p is None else getattr(p, key) for p in there], dtype=np.float64)
        for key in (*_SHAPE, "pods", "placed")
    }
    parts = [split_workload(str(w)) for w in rows.index]
    samples = _samples(rows.index, pods)
    planned = {f.workload: f for f in floors}
    mine = [planned[str(w)] for w in rows.index]
    cores = _known(np.array([f.cpu_cores for f in mine], dtype=np.float64))
    bytes_ = _known(np.array([f.memory_bytes for f in mine], dtype=np.float64))
    return rows.assign(
        namespace=[p[1] for p in parts],
        hpa=[f.hpa for f in mine],
        cpu_cores=_first(columns["cpu_cores"], cores, samples["request_cores"]),
        memory_bytes=_first(columns["memory_bytes"], bytes_, samples["request_bytes"]),
        cpu_limit_cores=columns["cpu_limit_cores"],
        memory_limit_bytes=columns["memory_limit_bytes"],
        nodepool=[
            (f.nodepool if p is None or p.nodepool is None else p.nodepool)
            for p, f in zip(there, mine, strict=True)
        ],
        priority_class=["" if p is None else p.priority_class for p in there],
        pods=_first(columns["pods"], samples["replicas"]),
        placed=_first(columns["placed"], samples["replicas"]),
        hpa_max=samples["hpa_max"],
        asked=samples["asked"],
        asked_at=samples["asked_at"],
    )


def _samples(workloads: pd.Index, pods: pd.DataFrame | None) -> pd.DataFrame:
    wanted = ["request_cores", "request_bytes", "replicas", "hpa_max", "asked", "asked_at"]
    frame = pd.DataFrame({"workload": pd.Series(dtype="str")}) if pods is None else pods
    frame = frame.assign(workload=frame["workload"].astype("str"))
    frame = frame.drop_duplicates("workload", keep="last").set_index("workload")
    found = frame.reindex(index=workloads, columns=wanted)
    stamps = pd.to_datetime(found["asked_at"], utc=True)
    return found.drop(columns="asked_at").astype("float64").assign(asked_at=stamps)


def _known(values: Floats) -> Floats:
    """A plan writes 0 for what is not known."""
    return np.where(values > 0, values, np.nan)


def _first(*columns: Floats | pd.Series) -> NDArray[np.float64]:
    """The first of the columns that is not NaN."""
    out = np.asarray(columns[0], dtype=np.float64)
    for column in columns[1:]:
        out = np.where(np.isnan(out), np.asarray(column, dtype=np.float64), out)
    return out


def when(at: pd.Timestamp, as_of: pd.Timestamp) -> str:
    """``2026-06-08 08:52 UTC (in 3.2 h)``."""
    hours = (at - as_of) / pd.Timedelta(1, "h")
    return f"{at:%Y-%m-%d %H:%M} UTC ({f'in {hours:.1f} h' if hours > 0 else 'now'})"


def gib(value: float) -> str:
    """Bytes as a Kubernetes quantity of whole mebi- or gibibytes, rounded up."""
    if value >= 2**30 and value % 2**30 == 0:
        return f"{value / 2**30:.0f}Gi"
    return (
        f"{np.ceil(value / 2**20):.0f}Mi"
        if value < 10 * 2**30
        else (f"{np.ceil(value / 2**30):.0f}Gi")
    )
