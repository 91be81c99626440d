"""From days of samples straight to a panel: the value columns are read and put in their place.

``panel_of`` answers as ``Panel.from_frame`` would, or not at all: files of another hand, a grid
finer than the step and stamps that share no grid go the way through a frame.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.panel import Floats, Panel, PanelCounts
from features.workloads import workload_id
from pipelines.adapters.store.samples_file import Group, groups_of
from pipelines.adapters.store.samples_fill import (
    DAY_MS,
    NEVER,
    Day,
    Grid,
    Tally,
    blank_between,
    changes,
    fill,
    labels_of,
)

__all__ = ["DAY_MS", "panel_of", "workloads_of"]

_MAX_CELLS = 1_000_000_000

Mine = Callable[[list[str]], NDArray[np.bool_]]


def panel_of(
    days: Sequence[tuple[int, pq.ParquetFile]],
    metrics: Collection[str] | None,
    start: pd.Timestamp,
    end: pd.Timestamp,
    step: pd.Timedelta,
    *,
    mine: Mine | None = None,
) -> Panel | None:
    """The samples of ``[start, end)`` on a grid of ``step``; None where only a frame can tell.

    Equal to ``Panel.from_frame`` of the same samples, whatever the metrics' aggregates, since no
    cell gets two samples. With ``mine`` the grid is that of all workloads, and the panel that of
    the chosen; it has no series where none of them has a sample.

    Parameters
    ----------
    days : left edge (Unix ms) and opened file of each day, one file a day
    metrics : the wanted ones, or all
    mine : workloads (sorted) → mask, (n_workloads,)

    Raises
    ------
    pyarrow.ArrowException, OSError
        A file is damaged.
    """
    start_ms, end_ms, step_ms = _whole_ms(start), _whole_ms(end), _whole_ms(step)
    if start_ms is None or end_ms is None or not step_ms or DAY_MS % step_ms:
        return None
    window = Grid(start_ms, end_ms, step_ms, start_ms // step_ms * step_ms)
    plan = _planned(days, metrics, window)
    if plan is None:
        return None
    wanted, begin_ms = plan
    grid = Grid(start_ms, end_ms, step_ms, begin_ms // step_ms * step_ms)
    keys = _placed(wanted, mine)
    if not wanted or len(keys) * grid.n_steps > _MAX_CELLS:
        return None
    values = np.empty((len(keys), grid.n_steps))
    alive = np.zeros(len(keys), dtype=bool)
    blank_between(values, wanted, grid)
    with ThreadPoolExecutor(min(len(wanted), os.cpu_count() or 1)) as pool:
        tallies = list(pool.map(lambda day: fill(day, grid, values, alive), wanted))
    return _finished(keys, values, alive, tallies, grid, step, from_first=mine is not None)


def _planned(
    days: Sequence[tuple[int, pq.ParquetFile]], metrics: Collection[str] | None, window: Grid
) -> tuple[list[Day], int] | None:
    """The row groups to read and the first stamp among them; None if one does not fit."""
    wanted: list[Day] = []
    begin_ms = NEVER
    for edge_ms, file in sorted(days, key=lambda day: day[0]):
        if edge_ms >= window.end_ms or edge_ms + DAY_MS <= window.start_ms:
            continue
        groups = groups_of(file)
        if groups is None:
            return None
        chosen: list[tuple[int, Group]] = []
        for i, group in enumerate(groups):
            steps = window.steps(group)
            if (metrics is not None and group.metric not in metrics) or steps.start == steps.stop:
                continue
            inside_day = edge_ms <= group.first_ms and group.last_ms < edge_ms + DAY_MS
            if group.series == 0 or group.step_ms % window.step_ms or not inside_day:
                return None
            chosen.append((i, group))
            begin_ms = min(begin_ms, group.first_ms + steps.start * group.step_ms)
        if chosen:
            wanted.append(Day(edge_ms, file, chosen, []))
    return wanted, begin_ms


def _placed(wanted: list[Day], mine: Mine | None) -> pd.DataFrame:
    """Give every series its row; returns the keys, sorted by workload and metric."""
    known: dict[str, list[str]] = {}
    for day in wanted:
        for i, group in day.groups:
            if group.digest not in known:
                known[group.digest] = workloads_of(day.file, i, group)
    workloads = sorted(set().union(*known.values()))
    metrics = sorted({group.metric for day in wanted for _, group in day.groups})
    rank = {name: i for i, name in enumerate(workloads)}
    ranks = {d: np.array([rank[w] for w in names], np.int64) for d, names in known.items()}
    column = {name: i for i, name in enumerate(metrics)}
    there = np.zeros((len(workloads), len(metrics)), dtype=bool)
    for day in wanted:
        for _, group in day.groups:
            there[ranks[group.digest], column[group.metric]] = True
    if mine is not None and workloads:
        there &= np.asarray(mine(workloads), dtype=bool)[:, None]
    row = np.where(there.ravel(), np.cumsum(there) - 1, -1).reshape(there.shape)
    for day in wanted:
        day.places.extend(row[ranks[g.digest], column[g.metric]] for _, g in day.groups)
    of_workload, of_metric = np.nonzero(there)
    names, kinds = np.array(workloads, dtype=object), np.array(metrics, dtype=object)
    return pd.DataFrame({"workload": names[of_workload], "metric": kinds[of_metric]}, dtype="str")


def workloads_of(file: pq.ParquetFile, row_group: int, group: Group) -> list[str]:
    """The ids of a row group's series, in order: labels are read, and nothing else."""
    labels = labels_of(file, row_group)
    codes = [label.indices.to_numpy() for label in labels]
    if group.dense:
        first = np.arange(group.series) * group.n_steps
    else:
        first = np.flatnonzero(np.r_[True, changes(codes)])
    texts = [
        np.array(label.dictionary.to_pylist(), dtype=object)[code[first]]
        for label, code in zip(labels, codes, strict=True)
    ]
    return [workload_id(*parts) for parts in zip(*texts, strict=True)]


def _finished(
    keys: pd.DataFrame, values: Floats, alive: NDArray[np.bool_], tallies: list[Tally],
    grid: Grid, step: pd.Timedelta, *, from_first: bool,
) -> Panel | None:  # fmt: skip
    """Leave out series without a number and the steps before the first one."""
    first_ms = min(tally.first_ms for tally in tallies)
    if first_ms == NEVER:
        return None
    ahead = (first_ms - grid.first_ms) // grid.step_ms
    begin = pd.Timestamp(grid.first_ms + ahead * grid.step_ms, unit="ms", tz="UTC").as_unit("ms")
    values = values[:, ahead:]
    if not alive.all():
        keys, values = keys[alive].reset_index(drop=True), values[alive]
    if not len(keys):
        return Panel(keys, begin, step, values)
    filled = sum(tally.filled for tally in tallies)
    counts = PanelCounts(
        samples=sum(tally.samples for tally in tallies),
        not_finite=sum(tally.not_finite(first_ms if from_first else -NEVER) for tally in tallies),
        cells=values.size,
        empty_cells=values.size - filled,
    )
    return Panel(keys, begin, step, values, counts)


def _whole_ms(of: pd.Timestamp | pd.Timedelta) -> int | None:
    """Milliseconds, if they are whole."""
    ms = of.as_unit("ns").value
    return int(ms) // 10**6 if ms % 10**6 == 0 else None
