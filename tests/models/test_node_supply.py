"""Nodes under replayed pods: what waits starts one, what is spare goes, a hold keeps it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.node_supply import NodeParams
from models.replay import ReplayParams, ReplayResult, compare, replay

FOUR = NodeParams(node_cores=4.0, launch_s=60, image_pull_s=0, consolidate_after_s=0)
POD: dict[str, Any] = {
    "pod_capacity_cores": 1.0, "target_ratio": 0.5, "min_replicas": 1, "max_replicas": 100,
    "params": ReplayParams(interpolate=False, pod_start_s=30),
}  # fmt: skip


def one(demand: list[float], floors: list[float], **more: Any) -> ReplayResult:
    """Every step is one sync; a node has room for four pods."""
    return replay(
        np.array([demand], float),
        15,
        floors=np.array([floors], float),
        **({"nodes": FOUR} | POD | more),
    )


def test_a_pod_without_a_place_waits_for_a_node() -> None:
    out = one([0.4] * 12, [1, 4] + [9] * 10)
    assert out.ready[0].tolist()[:4] == [1, 1, 1, 4]  # a place was there: 30 s after sync 1
    assert np.flatnonzero(out.ready[0] == 9)[0] == 2 + (60 + 30) / 15


def test_an_image_is_pulled_on_a_new_node() -> None:
    out = one([0.4] * 14, [1] + [9] * 13, nodes=NodeParams(launch_s=60, image_pull_s=45))
    assert out.ready[0].tolist()[3] == 4  # three on the node that is there
    assert np.flatnonzero(out.ready[0] == 9)[0] == 1 + (60 + 30 + 45) / 15


def nodes(out: ReplayResult) -> float:
    assert out.node_hours is not None
    return float(out.node_hours[0])


def test_idle_nodes_die_at_once_without_a_hold_and_stay_with_one() -> None:
    floors = [12.0] * 10 + [1.0] * 40
    calm = [0.4] * 50
    every = 15 / 3600
    gone = nodes(one(calm, floors))
    assert gone == pytest.approx((3 * 10 + 40) * every, abs=3 * every)
    held = nodes(one(calm, floors, hold=np.ones(50, bool)))
    assert held == pytest.approx(3 * 50 * every, abs=3 * every)
    later = nodes(one(calm, floors, nodes=NodeParams(consolidate_after_s=150)))
    assert later == pytest.approx(gone + 2 * 10 * every, abs=3 * every)


def test_room_is_there_for_real_pods_and_is_filled_again() -> None:
    floors = [1.0] * 10 + [5.0] * 20
    without, room = (one([0.4] * 30, floors, room=r) for r in (None, np.full(30, 4.0)))
    assert np.flatnonzero(without.ready[0] == 5)[0] == 10 + (60 + 30) / 15
    assert np.flatnonzero(room.ready[0] == 5)[0] == 10 + 30 / 15
    # what landed is held beside the room: lower it as pods land, or it is paid for twice
    lowered = one([0.4] * 30, floors, room=np.array([4.0] * 10 + [0.0] * 20))
    assert np.flatnonzero(lowered.ready[0] == 5)[0] == 10 + 30 / 15
    assert nodes(without) < nodes(lowered) < nodes(room)


def test_a_limit_of_nodes_leaves_pods_waiting() -> None:
    out = one([0.4] * 40, [9.0] * 40, nodes=NodeParams(max_nodes=2))
    assert out.replicas[0, -1] == 9
    assert out.ready[0, -1] == 8


def test_daemonsets_and_requests_say_how_many_pods_fit() -> None:
    large = one([0.4] * 40, [9.0] * 40, nodes=NodeParams(overhead_cores=0.5), request_cores=1.7)
    assert nodes(large) == pytest.approx(5 * 40 * 15 / 3600, rel=0.05)
    with pytest.raises(ValueError, match="a pod must fit on a node of 4"):
        one([1.0], [1.0], request_cores=5.0)


@pytest.mark.parametrize(
    ("key", "value"), [("node_cores", 0.0), ("launch_s", -1.0), ("max_nodes", 0)]
)
def test_nonsense_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=key):
        NodeParams(**{key: value})


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1000), launch=st.integers(0, 120), after=st.integers(0, 300),
    pull=st.integers(0, 60), start=st.integers(0, 60),
)  # fmt: skip
def test_pods_never_outnumber_places_and_nodes_only_add_waiting(
    seed: int, launch: int, after: int, pull: int, start: int
) -> None:
    rng = np.random.default_rng(seed)
    demand = rng.uniform(0, 30, (3, 40))
    case = POD | {"params": ReplayParams(pod_start_s=start), "floors": rng.uniform(0, 60, (3, 40))}
    shape = NodeParams(launch_s=launch, consolidate_after_s=after, image_pull_s=pull)
    out = replay(demand, 60, nodes=shape, hold=rng.random((3, 40)) < 0.3, **case)
    assert out.node_hours is not None
    ready_hours = out.ready.sum(axis=1) / 60
    assert (4 * out.node_hours >= ready_hours - 1e-9).all()
    assert (out.ready >= 0).all()
    assert (out.ready <= out.replicas + 1e-9).all()
    if launch == pull == 0:
        plain = replay(demand, 60, **case)
        assert (plain.ready == out.ready).all()


def test_only_our_plan_has_room_and_holds() -> None:
    table = compare(
        np.full((2, 40), 0.4), 15, workloads=["a", "b"], floors=np.full((2, 40), 1.0), nodes=FOUR,
        room=np.full((2, 40), 8.0), **POD,
    ).set_index(["policy", "workload"])  # fmt: skip
    assert (table.loc["foretide", "node_hours"] > 2 * table.loc["reactive", "node_hours"]).all()
    assert (table.loc["oracle", "node_hours"] == table.loc["reactive", "node_hours"]).all()
