"""Laws of packing pods into nodes: each pod once, never under the fluid bound, never over FFD's."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cluster_facts import ClusterFacts, NodePoolFacts, NodeShape, Room, cluster_wide
from models.nodes import fits_nowhere, nodes_needed
from models.nodes_kernel import pack

GIB = 2.0**30
AT = pd.Timestamp("2026-06-08 08:52", tz="UTC")
law = settings(deadline=None, max_examples=60)
FREE = np.full(3, np.inf)

quarters = st.integers(0, 8).map(lambda q: q / 4)
triples = st.tuples(quarters, quarters, st.integers(0, 6).map(float))


def pod_by_pod(counts, sizes, rooms, shapes, capacity, budget):
    """First fit, one pod after the other, as the books write it."""
    free, left = [r.copy() for r in rooms], budget.copy()
    nodes, unplaced = np.zeros(len(shapes), int), np.zeros(len(sizes), int)
    for g, count in enumerate(counts):
        for _ in range(count):
            home = next((f for f in free if (sizes[g] <= f + 1e-12).all()), None)
            for s in range(len(shapes)):
                new = (sizes[g] <= shapes[s] + 1e-12).all() and (capacity[s] <= left + 1e-12).all()
                if home is None and new:
                    home = shapes[s].copy()
                    free.append(home)
                    left -= capacity[s]
                    nodes[s] += 1
            if home is None:
                unplaced[g] += 1
            else:
                home -= sizes[g]
    return nodes, unplaced


@st.composite
def cases(draw):
    g, r, s = draw(st.integers(1, 4)), draw(st.integers(0, 4)), draw(st.integers(0, 2))
    sizes = np.array([[*draw(triples)[:2], 1.0] for _ in range(g)])
    rooms = np.array([draw(triples) for _ in range(r)], dtype=float).reshape(r, 3)
    shapes = 2 * np.array([draw(triples) for _ in range(s)], dtype=float).reshape(s, 3)
    capacity = np.column_stack([shapes[:, :2] * 1.25, np.ones(s)])
    bound = st.one_of(st.just(np.inf), st.integers(0, 12).map(float))
    budget = np.array([draw(bound) for _ in range(3)])
    counts = np.array(draw(st.lists(st.integers(0, 9), min_size=2 * g, max_size=2 * g)))
    order = np.argsort(-sizes.max(axis=1), kind="stable")
    return counts.reshape(2, g), sizes[order], rooms, shapes, capacity, budget


@law
@given(case=cases())
def test_equal_pods_at_once_land_where_they_land_one_by_one(case):
    counts, *rest = case
    nodes, unplaced = pack(counts, *rest)
    for w in range(len(counts)):
        one_by_one = pod_by_pod(counts[w], *rest)
        np.testing.assert_array_equal(nodes[w], one_by_one[0])
        np.testing.assert_array_equal(unplaced[w], one_by_one[1])


def pool(*, cores=16.0, memory=64.0, pods=110.0, rooms=(), **more):
    shape = NodeShape("m", cores, memory * GIB, pods, cores + 1, (memory + 4) * GIB, 3)
    return NodePoolFacts(
        **{"name": "general", "shapes": (shape,), "rooms": tuple(rooms)}
        | {"cpu_cores_limit": np.inf, "memory_bytes_limit": np.inf, "nodes_limit": np.inf}
        | {"used_cpu_cores": 0.0, "used_memory_bytes": 0.0, "used_nodes": 0.0}
        | more
    )


def facts(*pools):
    return ClusterFacts("prod", pools, cluster_wide(pools, (), ()))


def pods(*rows, nodepool="general", ts=AT):
    frame = pd.DataFrame(rows, columns=["count", "cpu_cores", "memory_bytes"])
    names = [f"prod/shop/Deployment/w{i}" for i in range(len(frame))]
    return frame.assign(workload=names, ts=ts, nodepool=nodepool)


sizes_of = st.lists(
    st.tuples(st.integers(0, 40), st.floats(0.05, 16), st.floats(0.05, 64).map(lambda g: g * GIB)),
    min_size=1,
    max_size=8,
)


@law
@given(rows=sizes_of, seed=st.integers(0, 5))
def test_nodes_lie_between_the_fluid_bound_and_first_fits_own(rows, seed):
    rng = np.random.default_rng(seed)
    rooms = [Room(rng.uniform(0, 16), rng.uniform(0, 64) * GIB, 50.0) for _ in range(seed)]
    (row,) = nodes_needed(pods(*rows), facts(pool(rooms=rooms))).to_dict("records")
    total = np.array([[c * x, c * m / (64 * GIB) * 16, c * 16 / 110] for c, x, m in rows]).sum(0)
    free = np.array([[r.cpu_cores, r.memory_bytes / (64 * GIB) * 16, 50 / 110 * 16] for r in rooms])
    fluid = (total - (free.sum(0) if rooms else 0.0)).max() / 16
    # of any two nodes that first fit opened, the later one's pods would not fit the earlier one:
    # in some resource the two are more than one node's worth
    assert fluid - 1e-6 <= row["nodes"] <= 2 * (total / 16).sum() + 1
    assert row["unfit"] == row["unknown"] == 0
    assert row["held"] == row["pods"] == sum(c for c, *_ in rows)


def least_bins(items):
    """The optimum, by trying: items in sixteenths of a bin."""
    for bins in range(1, len(items) + 1):
        for places in itertools.product(range(bins), repeat=len(items)):
            if np.bincount(places, weights=items, minlength=bins).max() <= 16:
                return bins
    return 0


@settings(deadline=None, max_examples=40)
@given(items=st.lists(st.integers(1, 16), min_size=1, max_size=6))
def test_in_one_resource_it_needs_at_most_11_ninths_of_the_optimum(items):
    rows = [(1, float(i), 0.0) for i in items]
    nodes = nodes_needed(pods(*rows), facts(pool())).loc[0, "nodes"]
    assert least_bins(items) <= nodes <= 11 / 9 * least_bins(items) + 6 / 9


def test_ten_pods_of_a_tenth_fill_one_core_exactly():
    got = nodes_needed(pods((10, 0.1, GIB)), facts(pool(cores=1.0)))
    assert got.loc[0, "nodes"] == 1


def test_daemons_come_off_every_new_node_and_off_no_room_that_is_there():
    thick = pool(cores=4.0, daemon_cpu_cores=1.0, rooms=[Room(4.0, 8 * GIB, 10.0)])
    got = nodes_needed(pods((10, 1.0, GIB)), facts(thick))
    assert got.loc[0, "nodes"] == 2  # 4 in the room, 3 each on new ones


def test_the_number_of_pods_fills_a_node_too():
    assert nodes_needed(pods((9, 0.0, 0.0)), facts(pool(pods=4.0))).loc[0, "nodes"] == 3


def test_limits_count_whole_nodes_as_karpenter_does():
    bound = pool(cores=4.0, cpu_cores_limit=14.0, used_cpu_cores=0.0)  # a node counts as 5
    (row,) = nodes_needed(pods((12, 1.0, GIB)), facts(bound)).to_dict("records")
    assert (row["nodes"], row["held"], row["cpu_cores"]) == (3, 8, 15.0)


def test_a_static_pool_holds_the_nodes_it_has_and_those_that_still_come():
    static = pool(cores=4.0, static_replicas=3, used_nodes=2.0, rooms=[Room(1.0, GIB, 5.0)])
    assert nodes_needed(pods((9, 1.0, GIB)), facts(static)).loc[0, "held"] == 5


def test_a_pod_larger_than_any_node_is_told_and_not_looped_on():
    asked = pods((3, 99.0, GIB), (2, 1.0, GIB))
    (row,) = nodes_needed(asked, facts(pool())).to_dict("records")
    assert (row["unfit"], row["nodes"], row["held"]) == (3, 1, 2)
    assert fits_nowhere(asked, facts(pool())).tolist() == [True, False]


def test_without_a_size_of_node_the_requests_themselves_are_the_bound():
    blank = NodePoolFacts("general", cpu_cores_limit=10.0, used_cpu_cores=4.0)
    (row,) = nodes_needed(pods((9, 1.0, GIB)), facts(blank)).to_dict("records")
    assert np.isnan(row["nodes"])
    assert (row["held"], row["unfit"], row["cpu_cores"]) == (6, 0, 9.0)
    assert not fits_nowhere(pods((1, 1e6, GIB)), facts(blank)).any()


def test_requests_that_nobody_knows_are_counted_and_not_packed():
    (row,) = nodes_needed(pods((4, np.nan, np.nan), (2, 1.0, np.nan)), facts(pool())).to_dict(
        "records"
    )
    assert (row["unknown"], row["pods"], row["nodes"]) == (4, 2, 1)


def test_moments_are_packed_each_by_itself_and_pools_apart():
    later = AT + pd.Timedelta("1h")
    asked = pd.concat(
        [
            pods((16, 1.0, GIB)),
            pods((32, 1.0, GIB), ts=later),
            pods((8, 4.0, GIB), nodepool="large", ts=later),
        ]
    )
    got = nodes_needed(asked, facts(pool(), pool(name="large", cores=8.0)))
    rows = got[["ts", "nodepool", "nodes"]].to_records(index=False).tolist()
    assert [(t, n, k) for t, n, k in rows if k] == [
        (AT, "general", 1.0),
        (later, "general", 2.0),
        (later, "large", 4.0),
    ]


def test_a_pool_that_nobody_knows_is_the_whole_cluster():
    both = (pool(cpu_cores_limit=17.0), pool(name="other", cpu_cores_limit=17.0))
    (row,) = nodes_needed(pods((40, 1.0, GIB), nodepool="gone"), facts(*both)).to_dict("records")
    assert row["held"] == 32


@pytest.mark.parametrize("count", [0, 2**31 - 1])
def test_absurd_numbers_give_an_answer(count):
    (row,) = nodes_needed(pods((count, 0.25, GIB)), facts(pool(cores=1.0))).to_dict("records")
    assert row["nodes"] == -(-count // 4)


def test_nothing_asked_is_an_empty_frame():
    assert nodes_needed(pods(), facts(pool())).empty
