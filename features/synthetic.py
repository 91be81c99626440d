"""A simulated cluster with labelled trouble: the demo runs on it, models are held against it.

Made up, and not easy: workloads differ in noise (3–25 %), shape, size and time zone; memory
breathes with load, garbage collection and page cache; an autoscaler reacts too late for the Monday
peak; a few faults lie in the weeks that a model learns from. The same spec gives the same cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from features.civil import Calendar
from features.frames import SAMPLES, WORKLOAD_PARTS, conform
from features.panel import Floats
from features.synthetic_faults import FAULTS, Event, effects_of, plan_events
from features.synthetic_fleet import (
    CALENDARS,
    Clock,
    ClusterSpec,
    clock_of,
    make_fleet,
    spec_times,
)
from features.synthetic_load import MONDAY_H, MONDAY_OVER_H
from features.synthetic_metrics import measure

__all__ = [
    "FAULTS",
    "TRUTH_COLUMNS",
    "ClusterSpec",
    "SimulatedCluster",
    "simulate",
    "simulate_blocks",
]

TRUTH_COLUMNS = ("kind", "workload", "metric", "start", "end", "note")
_BLOCK = 40


@dataclass(frozen=True, slots=True)
class SimulatedCluster:
    """What was measured, and what was true.

    Attributes
    ----------
    samples : table
        The samples contract; sorted by workload, metric, ts as simulated.
    truth : frame
        Columns ``kind workload metric start end note``, times UTC. Kinds: those of ``FAULTS``;
        ``leak_resumed`` (the same leak after the first kill); the harmless ``deploy``,
        ``holiday`` and ``monday_peak`` (``start`` is Monday 09:00 local time). Spans are half-open,
        but the ``end`` of a leak is the step that shows memory at its limit and the kill counted.
        ``metric`` is ``*`` where no metric was measured.
    calendars
        Time zones and holidays of the workloads.
    """

    samples: pa.Table
    truth: pd.DataFrame
    calendars: tuple[Calendar, ...]


def simulate(spec: ClusterSpec | None = None) -> SimulatedCluster:
    """The whole cluster at once; about 16 samples a workload and step."""
    parts = list(simulate_blocks(spec or ClusterSpec()))
    samples = pa.concat_tables([p.samples for p in parts])
    truth = pd.concat([p.truth for p in parts], ignore_index=True)
    truth = truth.sort_values(["start", "workload", "kind"], ignore_index=True)
    return SimulatedCluster(conform(samples, SAMPLES), truth, CALENDARS)


def simulate_blocks(spec: ClusterSpec) -> Iterator[SimulatedCluster]:
    """The same cluster in parts of at most forty workloads: memory does not grow with the fleet."""
    times = spec_times(spec)
    clock = clock_of(times)
    fleet = make_fleet(spec)
    for part in WORKLOAD_PARTS:
        fleet[part] = fleet[part].astype("category")
    events = plan_events(spec, fleet, clock)
    for first in range(0, len(fleet), _BLOCK):
        block = fleet.iloc[first : first + _BLOCK].reset_index(drop=True)
        mine = [
            replace(e, row=e.row - first) for e in events if first <= e.row < first + len(block)
        ]
        rng = np.random.default_rng([spec.seed, 2, first])
        effects = effects_of(mine, len(block), len(times))
        metrics, killed = measure(spec, block, clock, effects, times, rng)
        samples = _samples(block, metrics, times)
        truth = _truth(block, mine, killed, clock, times)
        yield SimulatedCluster(samples, truth, CALENDARS)


def _samples(block: pd.DataFrame, metrics: dict[str, Floats], times: pd.DatetimeIndex) -> pa.Table:
    """Long rows of every measured cell, sorted by workload, metric, ts."""
    names = sorted(metrics)
    values = np.stack([metrics[m] for m in names], axis=1)
    there = np.isfinite(values)
    counts = there.sum(axis=2)
    stamps = times.as_unit("ms").astype("int64").to_numpy()
    columns = {
        part: _labels(block[part].cat.codes.to_numpy(), block[part].cat.categories, counts.sum(1))
        for part in WORKLOAD_PARTS
    }
    metric = np.tile(np.arange(len(names)), len(block))
    columns["metric"] = _labels(metric, pd.Index(names), counts.ravel())
    ts = np.broadcast_to(stamps, values.shape)[there]
    columns["ts"] = pa.array(ts).cast(SAMPLES.schema.field("ts").type)
    columns["value"] = pa.array(values[there])
    return conform(pa.table(columns), SAMPLES)


def _labels(codes: NDArray[Any], words: pd.Index, repeats: NDArray[np.int64]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(
        pa.array(np.repeat(codes.astype(np.int32), repeats)), pa.array(list(words), pa.string())
    )


def _truth(
    block: pd.DataFrame,
    events: list[Event],
    killed: NDArray[np.bool_],
    clock: Clock,
    times: pd.DatetimeIndex,
) -> pd.DataFrame:
    """Planned events with what became of them, holidays and Monday peaks."""
    step = times[1] - times[0]
    rows: list[tuple[str, int, str, int, int, str]] = []
    for e in events:
        if e.kind != "leak":
            rows.append((e.kind, e.row, e.metric, e.begin, e.end, e.note))
            continue
        kills = np.flatnonzero(killed[e.row, e.begin :])
        reached = e.begin + int(kills[0]) if len(kills) else e.end
        rows.append((e.kind, e.row, e.metric, e.begin, reached, e.note))
        if reached < e.end:
            note = "the same leak after the first kill"
            rows.append(("leak_resumed", e.row, e.metric, reached, e.end, note))
    rows += _calendar_rows(block, clock)
    kind, row, metric, begin, end, note = zip(*rows, strict=True) if rows else ((),) * 6
    return pd.DataFrame(
        {
            "kind": pd.Series(kind, dtype="str"),
            "workload": block["workload"].take(list(row)).reset_index(drop=True),
            "metric": pd.Series(metric, dtype="str"),
            "start": times[0] + np.array(begin, dtype=np.int64) * step,
            "end": times[0] + np.array(end, dtype=np.int64) * step,
            "note": pd.Series(note, dtype="str"),
        }
    )


def _calendar_rows(block: pd.DataFrame, clock: Clock) -> list[tuple[str, int, str, int, int, str]]:
    """Holidays and Monday peaks of the workloads that follow them, from their birth on."""
    hour, ordinary = clock.hour, ~clock.special
    monday = (clock.weekday == 0) & ordinary & (hour >= MONDAY_H) & (hour < MONDAY_OVER_H)
    spans = [
        [("holiday", *run, "load of a Sunday") for run in _runs(clock.special[zone])]
        + [("monday_peak", *run, "09:00 local time") for run in _runs(monday[zone])]
        for zone in (0, 1)
    ]
    return [
        (kind, row, "requests_per_second", begin, end, note)
        for row, zone, born in zip(*_followers(block), strict=True)
        for kind, begin, end, note in spans[zone]
        if begin >= born
    ]


def _followers(block: pd.DataFrame) -> tuple[list[int], list[int], list[int]]:
    """Row, zone and first step of the workloads whose load follows the calendar."""
    mine = block[block["seasonal"]]
    return list(mine.index), mine["zone"].tolist(), mine["born_step"].tolist()


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open spans of true steps."""
    edges = np.flatnonzero(np.diff(np.r_[False, mask, False].astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
