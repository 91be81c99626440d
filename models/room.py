"""Room: placeholders that make nodes start before a floor lands, and that never count a pod twice.

At every moment the room is worth the pods that floors will add within ``placeholder_lead_s`` and
that neither a floor nor the reactive HPA holds yet, so that room for a pod ends in the moment in
which its floor lands. What holds the room (a Deployment, a CapacityBuffer) refills what real pods
take, so it has to be lowered then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats
from features.workloads import split_workload
from models.actions import Floor, Placeholder, Plan, placeholders_at
from models.hpa import Ints
from models.plan_board import Board
from models.windows import Cells, runs

__all__ = ["room", "room_now"]

_MILLI = 1000.0
_WINDOWS_MAX = 288
"""Of one cluster, NodePool and mode in a plan, whatever the number of its workloads: in a day one
every five minutes, which is how often plans are applied."""


def room(board: Board, cells: Cells, lead_ms: int) -> list[Placeholder]:
    """The room of every cluster and NodePool over time, apart by what may be done about it.

    ``cells`` are those of the leads and of the leads that are ``lead_ms`` longer.
    """
    row, begin, end, pods = _missing(board, cells, lead_ms)
    if not len(row):
        return []
    columns = [board.now[c].tolist() for c in ("cluster", "nodepool", "gate", "mode")]
    group, found = pd.factorize(pd.MultiIndex.from_arrays(columns))
    labels = list(found)
    each = np.stack([board.milli_cores, board.bytes], axis=1)
    size = np.zeros((len(labels), 2))
    # pods of the largest size: the hole that one leaves fits any pod that lands
    np.maximum.at(size, group[row], each[row])
    key, at_ms, total = _totals(group[row], begin, end, pods[:, None] * each[row])
    key, at_ms, total = _joined(key, at_ms, total, board)
    count = _pods(total, size[key])
    new = np.r_[True, (count[1:] != count[:-1]) | (key[1:] != key[:-1])]
    first = np.flatnonzero(new)
    most = np.maximum.reduceat(total[:, 0], first) / _MILLI
    key, at_ms, count = key[first], at_ms[first], count[first]
    stamps = list(pd.to_datetime(at_ms, unit="ms", utc=True).as_unit("ms"))
    return [
        Placeholder(
            cluster=labels[key[k]][0],
            before=int(count[k - 1]) if k and key[k - 1] == key[k] else 0,
            count=int(count[k]),
            cpu_cores=float(size[key[k], 0] / _MILLI),
            memory_bytes=float(size[key[k], 1]),
            starts_at=stamps[k],
            ends_at=stamps[k + 1],
            gate="act" if labels[key[k]][2] == "act" else "shadow",
            reason=f"nodes for {most[k]:.3g} cores of pods that floors add in the next "
            f"{lead_ms / 1000:.0f} s",
            mode=labels[key[k]][3],
            nodepool=labels[key[k]][1],
        )
        for k in np.flatnonzero(count > 0).tolist()
    ]


def room_now(plan: Plan, now: pd.Timestamp, landed: Mapping[str, int]) -> list[Placeholder]:
    """The room that should stand now: never more than planned, and less by what has landed.

    ``landed`` is how many replicas each workload has now, where that is known: the reactive HPA may
    have scaled before its floor did.
    """
    until = now + pd.Timedelta(plan.room_lead_s, "s")
    soon: dict[str, Floor] = {}
    held: dict[str, int] = {}
    for floor in plan.floors:
        if floor.starts_at <= until and floor.ends_at > now:
            known = soon.setdefault(floor.workload, floor)
            soon[floor.workload] = max(known, floor, key=lambda f: f.after)
        if floor.starts_at <= now < floor.ends_at:
            held[floor.workload] = floor.after
    missing: dict[tuple[str, ...], Floats] = defaultdict(lambda: np.zeros(2))
    for name, floor in soon.items():
        there = max(held.get(name, floor.original), landed.get(name, 0))
        each = np.array([floor.cpu_cores * _MILLI, floor.memory_bytes])
        key = (split_workload(name)[0], floor.nodepool, floor.gate, floor.mode)
        missing[key] = missing[key] + max(floor.after - there, 0) * each
    found: list[Placeholder] = []
    for one in placeholders_at(plan, now):
        total = missing[one.cluster, one.nodepool, one.gate, one.mode]
        size = np.array([[one.cpu_cores * _MILLI, one.memory_bytes]])
        count = min(one.count, int(_pods(total[None, :], size)[0]))
        if count:
            found.append(replace(one, count=count))
    return found


def _missing(board: Board, cells: Cells, lead_ms: int) -> tuple[NDArray[np.intp], Ints, Ints, Ints]:
    """Pods that floors add soon and nothing holds yet: row, begin, end, count of each stretch."""
    floor = cells.ahead(board.ready, board.lead_ms)
    soon = cells.ahead(board.ready, board.lead_ms + lead_ms)
    found = runs(np.maximum(soon - np.maximum(floor, cells.spread(board.reactive)), 0))
    begin = board.clip_ms(found.row, cells.begin_ms(found.row, found.begin))
    end = board.clip_ms(found.row, cells.begin_ms(found.row, found.end))
    some = (found.value > 0) & (begin < end)
    return found.row[some], begin[some], end[some], found.value[some]


def _totals(
    group: NDArray[np.intp], begin: Ints, end: Ints, amount: Floats
) -> tuple[NDArray[np.intp], Ints, Floats]:
    """Each group's sum from every moment on at which it changes: group, moment, (k, 2) sums.

    Amounts are whole numbers, so that sums are exact and what begins and ends leaves nothing.
    """
    key, at = np.r_[group, group], np.r_[begin, end]
    change = np.concatenate([amount, -amount])
    order = np.lexsort((at, key))
    key, at, total = key[order], at[order], np.cumsum(change[order], axis=0)
    last = np.r_[(key[1:] != key[:-1]) | (at[1:] != at[:-1]), True]
    return key[last], at[last], total[last]


def _joined(
    key: NDArray[np.intp], at_ms: Ints, total: Floats, board: Board
) -> tuple[NDArray[np.intp], Ints, Floats]:
    """The same in few windows: a group that has more is told on a grid, each time the most in it.

    That is never less room than is needed, and more for minutes at most; ``room_now`` takes away
    what has landed, so that no pod is bought twice.
    """
    many = np.bincount(key) > _WINDOWS_MAX
    wide = many[key] & (total > 0).any(axis=1)
    if not wide.any():
        return key, at_ms, total
    span_ms = int(board.until_ms.max()) - board.as_of_ms
    width_ms = -(-span_ms // (_WINDOWS_MAX * 60_000)) * 60_000
    first = (at_ms - board.as_of_ms) // width_ms
    after = -(-(np.r_[at_ms[1:], 0] - board.as_of_ms) // width_ms)  # a group ends with nothing
    most = np.zeros((len(many), -(-span_ms // width_ms) + 1, 2))
    for k in range(int((after - first)[wide].max())):
        inside = wide & (first + k < after)
        np.maximum.at(most, (key[inside], first[inside] + k), total[inside])
    edge_ms = board.as_of_ms + np.minimum(np.arange(most.shape[1]) * width_ms, span_ms)
    few, which = ~many[key], np.flatnonzero(many)
    keys = np.r_[np.repeat(which, len(edge_ms)), key[few]]
    at = np.r_[np.tile(edge_ms, len(which)), at_ms[few]]
    sums = np.concatenate([most[which].reshape(-1, 2), total[few]])
    order = np.lexsort((at, keys))
    return keys[order], at[order], sums[order]


def _pods(total: Floats, size: Floats) -> Ints:
    """Pods of a size that hold a total of cores and of memory, both (k, 2); a size of 0 needs
    none."""
    each = np.where(size > 0, size, np.inf)
    return np.ceil(total / each * (1 - 1e-12)).max(axis=1).astype(np.int64)
