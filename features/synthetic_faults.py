"""What goes wrong in the simulated cluster: planned first, then laid over the load.

Faults fall into the last week; a few fall into earlier weeks, so that whoever trains sees a history
as it is. Every one is labelled. Nothing is planned for Mondays, weekends and holidays, where load
is unusual for another reason, except leaks, which do not choose their day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats
from features.synthetic_fleet import Clock, ClusterSpec

__all__ = ["FAULTS", "Effects", "Event", "effects_of", "plan_events"]

FAULTS = ("leak", "spike", "error_burst", "drop_to_zero", "level_shift", "gap")
"""Kinds of events that are wrong; deploys, holidays and Monday peaks are labelled and harmless."""

_LEAK_H = (120.0, 36.0, 12.0)
_DEPLOYS_PER_WEEK = 0.6
_QUIET_H = 6.0


@dataclass(frozen=True, slots=True)
class Event:
    """What happens to one workload in the steps ``[begin, end)``; ``size`` as the kind has it."""

    kind: str
    row: int
    metric: str
    begin: int
    end: int
    size: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Effects:
    """What the events do to a block of workloads; every array is (n_workloads, n_steps)."""

    load: Floats
    """Factor on requests."""
    cost: Floats
    """Factor on the cores that a request takes."""
    errors: Floats
    """Added to the error ratio."""
    latency: Floats
    """Factor on the latency."""
    leak: Floats
    """Share of the free memory that leaks in a step."""
    deploy: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    """Happened, and was not measured."""


@dataclass(frozen=True, slots=True)
class _Kind:
    kind: str
    per_forty: float
    """How many in forty workloads."""
    hours: tuple[float, float]
    """Shortest and longest, drawn uniformly."""
    daytime: bool = True


_LAST_WEEK = (
    _Kind("error_burst", 2, (0.5, 2)),
    _Kind("spike", 3, (0.5, 1.5)),
    _Kind("drop_to_zero", 2, (0.3, 2)),
    _Kind("level_shift", 1, (24, 24)),
    _Kind("gap", 2, (2, 8), daytime=False),
)
_BEFORE = (
    _Kind("error_burst", 1, (0.5, 2)),
    _Kind("spike", 1, (0.5, 1.5)),
    _Kind("drop_to_zero", 1, (0.5, 2)),
    _Kind("gap", 1, (3, 9), daytime=False),
)


def plan_events(spec: ClusterSpec, fleet: pd.DataFrame, clock: Clock) -> list[Event]:
    """Every fault and deploy of the fleet, in proportion to its size, in the order of ``begin``."""
    planner = _Planner(spec, fleet, clock)
    planner.leaks()
    planner.faults(_LAST_WEEK, planner.last_week)
    if spec.weeks > 2:
        planner.fresh()
        planner.faults(_BEFORE, (0, planner.last_week[0]))
    planner.deploys()
    return sorted(planner.events, key=lambda e: (e.begin, e.row, e.kind))


class _Planner:
    """Draws events one after the other; no workload gets two faults in the same weeks."""

    def __init__(self, spec: ClusterSpec, fleet: pd.DataFrame, clock: Clock) -> None:
        self.rng = np.random.default_rng([spec.seed, 1])
        self.fleet = fleet
        self.clock = clock
        self.hour = 3600 // spec.step_s
        self.n_steps = clock.hour.shape[1]
        self.last_week = (self.n_steps - 7 * 24 * self.hour, self.n_steps)
        self.zone: NDArray[np.int64] = fleet["zone"].to_numpy(np.int64)
        self.place = fleet.groupby(["cluster", "namespace"], observed=True).ngroup().to_numpy()
        self.able = (fleet["seasonal"] & (fleet["born_step"] == 0)).to_numpy()
        self.events: list[Event] = []
        self.fresh()

    def fresh(self) -> None:
        """Every workload that existed all the time may be drawn again."""
        self.free = [int(r) for r in self.rng.permutation(np.flatnonzero(self.able))]

    def leaks(self) -> None:
        """Slow, medium and fast ones, started so that the limit is reached before the end."""
        for k in range(len(_LEAK_H) * self._count(1)):
            hours = _LEAK_H[k % len(_LEAK_H)]
            steps = round(hours * self.hour)
            low = self.last_week[0] + 2 * self.hour
            high = self.n_steps - round(1.3 * steps)
            if not self.free or high <= low:
                return
            row = self.free.pop()
            begin = int(self.rng.integers(low, high))
            note = f"about {hours:g} h to the limit"
            if k % 2:
                note += ", brought by a deploy"
            self._add(Event("leak", row, "memory_rss_bytes", begin, self.n_steps, 1 / steps, note))

    def faults(self, kinds: Sequence[_Kind], window: tuple[int, int]) -> None:
        """As many of each kind as the fleet's size asks for, anywhere in the window."""
        for kind in kinds:
            for k in range(self._count(kind.per_forty)):
                if not self.free:
                    return
                row = self._draw(kind.kind)
                steps = max(1, round(self.rng.uniform(*kind.hours) * self.hour))
                begin = self._when(row, steps, window, kind)
                if begin is not None:
                    self._fault(kind.kind, row, begin, begin + steps, k)

    def deploys(self) -> None:
        """Harmless releases in working hours, none close to a fault of the same workload."""
        rare = self.fleet["shape"].isin(["constant", "tiny"]).to_numpy()
        per_week = np.where(rare, 0.3, _DEPLOYS_PER_WEEK) * self.n_steps / (7 * 24 * self.hour)
        rows = np.repeat(np.arange(len(self.fleet)), self.rng.poisson(per_week))
        draw = self.rng.random(len(rows))
        step = np.zeros(len(rows), dtype=np.int64)
        for zone in (0, 1):
            allowed = np.flatnonzero(self._calm(zone, 9, 17))
            mine = self.zone[rows] == zone
            if len(allowed):
                step[mine] = allowed[(draw[mine] * len(allowed)).astype(np.int64)]
        keep = step > self.fleet["born_step"].to_numpy()[rows]
        quiet = round(_QUIET_H * self.hour)
        for event in self.events:
            near = (step >= event.begin - quiet) & (step < event.end + quiet)
            keep &= ~((rows == event.row) & near)
        length = max(1, round(self.hour / 4))
        for row, begin in sorted(set(zip(rows[keep].tolist(), step[keep].tolist(), strict=True))):
            end = min(begin + length, self.n_steps)
            self._add(Event("deploy", row, "deploy_timestamp_seconds", begin, end))

    def _draw(self, kind: str) -> int:
        """The next workload; for an error burst, the next that has a neighbour to hurt."""
        if kind != "error_burst":
            return self.free.pop()
        row = next((r for r in reversed(self.free) if len(self._near(r)) > 1), self.free[-1])
        self.free.remove(row)
        return row

    def _near(self, row: int) -> list[int]:
        return [r for r in self.free if self.place[r] == self.place[row]]

    def _count(self, per_forty: float) -> int:
        return max(1, round(per_forty * len(self.fleet) / 40))

    def _add(self, event: Event) -> None:
        self.events.append(event)

    def _calm(self, zone: int, first_h: float, last_h: float) -> NDArray[np.bool_]:
        """Steps of ordinary weekdays from Tuesday on, between two local hours."""
        hour, weekday = self.clock.hour[zone], self.clock.weekday[zone]
        inside = (hour >= first_h) & (hour < last_h) & (weekday > 0) & (weekday < 5)
        return inside & ~self.clock.special[zone]

    def _when(self, row: int, steps: int, window: tuple[int, int], kind: _Kind) -> int | None:
        hours = (9.0, 20.0) if kind.daytime else (0.0, 24.0)
        allowed = self._calm(int(self.zone[row]), *hours)
        allowed[: window[0]] = False
        allowed[max(window[1] - steps, 0) :] = False
        steps_free = np.flatnonzero(allowed)
        return int(self.rng.choice(steps_free)) if len(steps_free) else None

    def _fault(self, kind: str, row: int, begin: int, end: int, k: int) -> None:
        rng = self.rng
        if kind == "spike":
            cv = float(self.fleet["noise_cv"].iloc[row])
            size = float(np.clip(rng.uniform(4, 8) * cv, 0.6, 2.5))
            note = f"×{1 + size:.1f} the usual load"
            self._add(Event(kind, row, "requests_per_second", begin, end, size, note))
        elif kind == "error_burst":
            size = float(np.exp(rng.uniform(np.log(0.01), np.log(0.15))))
            self._burst(row, begin, end, size)
        elif kind == "drop_to_zero":
            note = "no request arrives"
            self._add(Event(kind, row, "requests_per_second", begin, end, note=note))
        elif kind == "level_shift":
            metric = ("cpu_usage_cores", "latency_p99_seconds")[k % 2]
            size = float(rng.uniform(1.4, 1.9))
            note = f"×{size:.2f} from a deploy on; stays"
            self._add(Event(kind, row, metric, begin, self.n_steps, size, note))
        else:
            self._add(Event(kind, row, "*", begin, end, note="no metric was measured"))

    def _burst(self, row: int, begin: int, end: int, size: float) -> None:
        """Errors and latency of a cause, and a little later and weaker those of a neighbour."""
        near = self._near(row)
        workload = self.fleet["workload"]
        note = "cause"
        if near:
            victim = near[0]
            self.free.remove(victim)
            late = max(1, self.hour // 12)
            note += f"; victim {workload.iloc[victim]}"
            hit = f"victim of {workload.iloc[row]}"
            start = min(begin + late, end - 1)
            self._add(Event("error_burst", victim, "error_ratio", start, end, size * 0.4, hit))
        self._add(Event("error_burst", row, "error_ratio", begin, end, size, note))


def effects_of(events: Sequence[Event], n_workloads: int, n_steps: int) -> Effects:
    """Lay events over a block; their ``row`` counts within the block."""
    shape = (n_workloads, n_steps)
    out = Effects(
        load=np.ones(shape),
        cost=np.ones(shape),
        errors=np.zeros(shape),
        latency=np.ones(shape),
        leak=np.zeros(shape),
        deploy=np.zeros(shape, dtype=bool),
        hidden=np.zeros(shape, dtype=bool),
    )
    for event in events:
        _lay(out, event)
    return out


def _lay(out: Effects, event: Event) -> None:
    row, begin, span = event.row, event.begin, slice(event.begin, event.end)
    if event.kind == "leak":
        out.leak[row, span] = event.size
        out.deploy[row, begin] |= "deploy" in event.note
    elif event.kind == "spike":
        rise = np.minimum(np.arange(1, event.end - begin + 1) / 2, 1.0)
        out.load[row, span] *= 1 + event.size * np.minimum(rise, rise[::-1])
    elif event.kind == "error_burst":
        out.errors[row, span] += event.size
        out.latency[row, span] *= 1.3 + 12 * event.size
    elif event.kind == "drop_to_zero":
        out.load[row, span] = 0.0
    elif event.kind == "level_shift":
        factor = out.cost if event.metric == "cpu_usage_cores" else out.latency
        factor[row, span] *= event.size
        out.deploy[row, begin] = True
    elif event.kind == "gap":
        out.hidden[row, span] = True
    elif event.kind == "deploy":
        out.deploy[row, begin] = True
        out.cost[row, span] *= 1.25
