"""Never plan and buffer twice: a simulated fill, in which placeholders are refilled as in life."""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest

from models.actions import floors_at, placeholders_at
from models.plan import PlanParams, make_plan
from models.room import room_now

STEP = pd.Timedelta(300, "s")
AS_OF = pd.Timestamp("2026-06-08T08:00", tz="UTC").as_unit("ms")
TICK_S, BOOT_S, NODE_CORES = 15, 90, 4.0
LEAD_S = 420
NODES = PlanParams(mode="act", nodes_first=True, placeholder_lead_s=LEAD_S)
CORES = {
    "prod/shop/Deployment/a": 0.5,
    "prod/shop/Deployment/b": 1.0,
    "prod/shop/Deployment/c": 0.7,
}


def at_s(seconds):
    return AS_OF + pd.Timedelta(seconds, "s")


def table(ready, lead_s, reactive=1):
    ready = np.asarray(ready)
    n, m = ready.shape
    return pd.DataFrame(
        {
            "workload": np.repeat(list(CORES)[:n], m),
            "issued_at": AS_OF,
            "ts": np.tile(pd.date_range(AS_OF, periods=m, freq=STEP).as_unit("ms"), n),
            "replicas": 1,
            "ready_replicas": ready.ravel(),
            "reactive_replicas": np.broadcast_to(reactive, (n, m)).ravel(),
            "lead_time_s": np.repeat(np.asarray(lead_s, dtype=float), m),
            "gate": "act",
            "gate_reason": "carries it",
            "valid_until": AS_OF + pd.Timedelta(26, "h"),
        }
    )


def state(n=3, **columns):
    base = {"hpa_min": 2.0, "hpa_max": 40.0}
    cores = {"request_cores": list(CORES.values())[:n]}
    # as much memory a core: where pods differ in shape, only the scarcer of the two is exact
    cores["request_bytes"] = [round(c * 4e9) for c in cores["request_cores"]]
    return pd.DataFrame({"workload": list(CORES)[:n]} | base | cores | columns)


def morning(**changes):
    """Three workloads climb one after the other, and come down again."""
    ready = [
        [2, 2, 2, 2, 6, 9, 12, 12, 9, 6, 2, 2],
        [2, 2, 2, 2, 2, 2, 8, 8, 8, 8, 6, 2],
        [2, 2, 2, 4, 10, 10, 10, 3, 3, 2, 2, 2],
    ]
    return make_plan(table(ready, [90, 137, 251]), state(**changes), as_of=AS_OF, params=NODES)


@dataclass
class Fill:
    """A cluster that is filled: its pods land on nodes, in whose room placeholders stand.

    The scheduler places a real pod on free room, else it preempts placeholders; whatever is left
    pending gets new nodes after ``BOOT_S``. Placeholders are a Deployment's: those that were
    preempted come back at once, and want nodes of their own.
    """

    nodes: list[list[tuple[str, float]]] = field(default_factory=list)
    booting: list[int] = field(default_factory=list)
    pending: list[tuple[str, float]] = field(default_factory=list)

    def resize(self, name, count, cores):
        there = [(i, p) for i, node in enumerate(self.nodes) for p in node if p[0] == name]
        waiting = [p for p in self.pending if p[0] == name]
        for _ in range(len(there) + len(waiting), count):
            self.pending.append((name, cores))
        for _ in range(max(len(there) + len(waiting) - count, 0)):
            if waiting:
                self.pending.remove(waiting.pop())
            else:
                i, pod = there.pop()
                self.nodes[i].remove(pod)

    def free(self, i, without=""):
        return NODE_CORES - sum(c for name, c in self.nodes[i] if name != without) + 1e-9

    def schedule(self, t):
        while self.booting and self.booting[0] <= t:
            self.booting.pop(0)
            self.nodes.append([])
        for pod in sorted(self.pending, key=lambda p: (p[0] == "room", -p[1])):
            fits = [i for i in range(len(self.nodes)) if self.free(i) >= pod[1]]
            if not fits and pod[0] != "room":
                fits = [i for i in range(len(self.nodes)) if self.free(i, "room") >= pod[1]][:1]
                while fits and self.free(fits[0]) < pod[1]:
                    gone = next(p for p in self.nodes[fits[0]] if p[0] == "room")
                    self.nodes[fits[0]].remove(gone)
                    self.pending.append(gone)  # refilled
            if fits:
                self.nodes[fits[0]].append(pod)
                self.pending.remove(pod)
        for _ in range(self.wanted() - len(self.booting)):
            self.booting.append(t + BOOT_S)

    def wanted(self):
        """Nodes for what is pending, first fit."""
        rooms = []
        for _, cores in sorted(self.pending, key=lambda p: -p[1]):
            k = next((k for k, left in enumerate(rooms) if left >= cores - 1e-9), None)
            if k is None:
                rooms.append(NODE_CORES)
                k = -1
            rooms[k] -= cores
        return len(rooms)

    def cores(self, which):
        pods = [*(p for node in self.nodes for p in node), *self.pending]
        return sum(c for name, c in pods if (name == "room") == (which == "room"))


@dataclass
class Trace:
    """What a fill came to: cores above what floors need, real cores that waited, most nodes."""

    over: float
    waited: float
    nodes: int
    room: float


def fill(plan, room, alone=None):
    """Real pods follow floors (or their own HPA, ``alone``), room is what ``room(now, landed)``
    says."""
    cluster, trace = Fill(), Trace(-np.inf, 0.0, 0, 0.0)
    cluster.nodes = [[] for _ in range(2)]
    for t in range(0, 12 * 300, TICK_S):
        now = at_s(t)
        held = {w: f.after for w, f in floors_at(plan, now).items()}
        real = {w: max(held.get(w, 2), (alone or {}).get(w, lambda _: 0)(t)) for w in CORES}
        for workload, count in real.items():
            cluster.resize(workload, count, CORES[workload])
        stands = room(now, real)
        size = max((p.cpu_cores for p in stands), default=1.0)
        cluster.resize("room", sum(p.count for p in stands), size)
        cluster.schedule(t)
        soon = {w: max([real[w]] + [f.after for f in plan.floors if f.workload == w
                and f.starts_at <= now + pd.Timedelta(LEAD_S, "s") and f.ends_at > now])
                for w in CORES}  # fmt: skip
        need = sum(CORES[w] * n for w, n in soon.items())
        total = cluster.cores("real") + cluster.cores("room")
        trace.over = max(trace.over, total - need)
        if t:
            trace.waited += sum(c for name, c in cluster.pending if name != "room")
        trace.nodes = max(trace.nodes, len(cluster.nodes) + len(cluster.booting))
        trace.room = max(trace.room, cluster.cores("room"))
    return trace


def planned(plan):
    return lambda now, landed: room_now(plan, now, landed)


def until_the_end(plan):
    """The naive way: placeholders stand until their floors' windows are over."""
    first = min(p.starts_at for p in plan.placeholders)
    last = max(f.ends_at for f in plan.floors)
    most = max(plan.placeholders, key=lambda p: p.count)
    return lambda now, _: [most] if first <= now < last else []


def no_room(_now, _landed):
    return []


def never_twice(trace, size):
    """The check: pods and placeholders are what floors need, and less than one placeholder more."""
    return trace.over < size


def largest(plan):
    return max(p.cpu_cores for p in plan.placeholders)


def test_a_fill_never_holds_more_than_the_floors_need_and_the_naive_way_does():
    plan = morning()
    ours, naive = fill(plan, planned(plan)), fill(plan, until_the_end(plan))
    blind = fill(plan, lambda now, _: list(placeholders_at(plan, now)))
    assert never_twice(ours, largest(plan))
    assert never_twice(blind, largest(plan))  # the plan alone: nothing came early
    assert not never_twice(naive, largest(plan))
    assert naive.nodes > ours.nodes


def test_the_room_is_there_when_the_pods_come():
    plan = morning()
    none = fill(plan, no_room)
    assert fill(plan, planned(plan)).waited == 0
    assert none.waited > 0
    assert none.room == 0


def test_pods_that_the_hpa_brought_early_take_their_room_with_them():
    plan = morning()
    early = {"prod/shop/Deployment/b": lambda t: 8 if t > 1100 else 2}
    ours = fill(plan, planned(plan), early)
    blind = fill(plan, lambda now, _: list(placeholders_at(plan, now)), early)
    assert never_twice(ours, largest(plan))
    assert not never_twice(blind, largest(plan))


@pytest.mark.parametrize("seed", range(20))
def test_random_mornings_are_never_planned_twice(seed):
    rng = np.random.default_rng(seed)
    ready = np.maximum(np.cumsum(rng.integers(-4, 6, (3, 12)), axis=1), 1)
    leads = rng.integers(0, 700, 3)
    reactive = np.minimum(ready, rng.integers(1, 9, (3, 12)))
    plan = make_plan(table(ready, leads, reactive), state(), as_of=AS_OF, params=NODES)
    if plan.placeholders:
        early = {w: (lambda t, n=int(n): n if t > 900 else 1) for w, n in
                 zip(CORES, rng.integers(1, 20, 3), strict=True)}  # fmt: skip
        assert never_twice(fill(plan, planned(plan), early), largest(plan))


def test_room_for_a_pod_ends_in_the_moment_its_floor_lands():
    plan = make_plan(table([[2, 2, 2, 2, 6, 6, 6]], [137]), state(1), as_of=AS_OF, params=NODES)
    (floor,), (room,) = plan.floors, plan.placeholders
    assert floor.starts_at == room.ends_at == at_s(1200 - 137)
    assert room.ends_at - room.starts_at == pd.Timedelta(LEAD_S, "s")


def test_room_never_grows_by_what_is_told_and_shrinks_by_what_landed():
    reactive = np.array([[4] * 7])
    plan = make_plan(table([[2, 2, 2, 2, 6, 6, 6]], [0], reactive), state(1), as_of=AS_OF,
                     params=NODES)  # fmt: skip
    at, workload = at_s(1000), next(iter(CORES))
    assert [p.count for p in placeholders_at(plan, at)] == [2]  # the HPA should have 4
    told = {n: sum(p.count for p in room_now(plan, at, {workload: n})) for n in range(1, 9)}
    assert told == {1: 2, 2: 2, 3: 2, 4: 2, 5: 1, 6: 0, 7: 0, 8: 0}
    assert [p.count for p in room_now(plan, at, {})] == [2]
    assert room_now(plan, at_s(1200), {}) == []


def test_room_is_apart_by_nodepool_and_by_what_may_be_done():
    ready = [[2, 2, 6]] * 3
    now = state(nodepool=["spot", "general", None])
    modes = dict(zip(CORES, ("act", "act", "recommend"), strict=True))
    plan = make_plan(table(ready, [0] * 3), now, as_of=AS_OF, params=NODES, modes=modes)
    assert {(p.nodepool, p.mode, p.count, p.cpu_cores) for p in plan.placeholders} == {
        ("spot", "act", 4, 0.5), ("general", "act", 4, 1.0), ("", "recommend", 4, 0.7),
    }  # fmt: skip
    left = room_now(plan, at_s(400), {list(CORES)[1]: 5})
    assert {p.nodepool: p.count for p in left} == {"spot": 4, "general": 1, "": 4}


def test_without_nodes_first_there_is_no_room():
    plan = make_plan(table([[2, 6]], [0]), state(1), as_of=AS_OF,
                     params=replace(NODES, nodes_first=False))  # fmt: skip
    assert (plan.placeholders, room_now(plan, AS_OF, {})) == ((), [])
    assert plan.room_lead_s == 0


def crowd(n, seed=3):
    """Many workloads of one NodePool, each with a lead time and a morning of its own."""
    rng = np.random.default_rng(seed)
    ready = np.maximum(np.cumsum(rng.integers(-3, 4, (n, 96)), axis=1), 1)
    names = [f"prod/shop/Deployment/w{i}" for i in range(n)]
    rows = pd.DataFrame(
        {
            "workload": np.repeat(names, 96),
            "issued_at": AS_OF,
            "ts": np.tile(pd.date_range(AS_OF, periods=96, freq="15min").as_unit("ms"), n),
            "replicas": 1,
            "ready_replicas": ready.ravel(),
            "reactive_replicas": 1,
            "lead_time_s": np.repeat(rng.integers(30, 600, n).astype(float), 96),
            "gate": "act",
            "gate_reason": "carries it",
            "valid_until": AS_OF + pd.Timedelta(26, "h"),
        }
    )
    now = pd.DataFrame({"workload": names, "hpa_min": 2.0, "hpa_max": 40.0,
                        "request_cores": 0.5, "request_bytes": 2.0**29})  # fmt: skip
    return rows, now


def test_the_windows_of_room_do_not_grow_with_the_workloads_and_never_hold_too_little():
    rows, now = crowd(300)
    plan = make_plan(rows, now, as_of=AS_OF, params=NODES)
    assert 100 < len(plan.placeholders) <= 288
    name = np.array([int(f.workload.rsplit("w", 1)[1]) for f in plan.floors])
    begin, end = (pd.DatetimeIndex([getattr(f, k) for f in plan.floors])
                  for k in ("starts_at", "ends_at"))  # fmt: skip
    after = np.array([f.after for f in plan.floors])
    assert len({*begin, *end}) > 500  # moments at which the room that is needed changes
    over, most = 0, 0
    for moment in pd.date_range(AS_OF, plan.expires_at, freq="97s", inclusive="left"):
        soon, held = np.full(300, 2), np.full(300, 2)
        for into, until in ((soon, moment + pd.Timedelta(LEAD_S, "s")), (held, moment)):
            there = (begin <= until) & (end > moment)
            np.maximum.at(into, name[there], after[there])
        need = int((soon - held).sum())
        here = sum(p.count for p in placeholders_at(plan, moment))
        assert here >= need
        # what apply holds is less by what has landed, whatever the window says
        assert sum(p.count for p in room_now(plan, moment, {})) == need
        over, most = over + here - need, most + here
    assert 0 < over < 0.5 * most
