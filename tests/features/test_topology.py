"""Edges are what people and meshes write; they become ids, within a cluster."""

from __future__ import annotations

import pandas as pd
import pytest

from features.topology import call_edges, resolve_edges
from features.workloads import workload_id

SHOP = [workload_id(c, "shop", "Deployment", n) for c in ("eu", "us") for n in ("front", "cart")]
PAY = [workload_id(c, "pay", "Deployment", n) for c in ("eu", "us") for n in ("cart", "api")]


def resolved(caller: str, callee: str) -> list[tuple[str, str]]:
    edges = pd.DataFrame({"caller": [caller], "callee": [callee]})
    found = resolve_edges(edges, [*SHOP, *PAY])
    return sorted(zip(found["caller"], found["callee"], strict=True))


def test_ids_are_taken_as_they_are() -> None:
    assert resolved(SHOP[0], PAY[2]) == [(SHOP[0], PAY[2])]  # over clusters: somebody said so


def test_names_stand_for_every_workload_of_that_name_in_its_own_cluster() -> None:
    assert resolved("shop/front", "pay/api") == [(SHOP[0], PAY[1]), (SHOP[2], PAY[3])]
    assert resolved("eu/shop/front", "pay/api") == [(SHOP[0], PAY[1])]


def test_a_bare_name_stays_in_the_namespace_where_it_can() -> None:
    assert resolved("front", "cart") == [(SHOP[0], SHOP[1]), (SHOP[2], SHOP[3])]
    assert resolved("front", "api") == [(SHOP[0], PAY[1]), (SHOP[2], PAY[3])]


@pytest.mark.parametrize("ends", [("front", "front"), ("front", "nobody"), ("", "")])
def test_nothing_known_is_no_edge(ends: tuple[str, str]) -> None:
    assert resolved(*ends) == []


def test_calls_come_as_workloads_and_resolve() -> None:
    names = ["shop/front>pay/api", "shop/front>shop/front", "shop/front>/api", "front"]
    calls = [workload_id("eu", "_calls", "Call", n) for n in names]
    edges = call_edges([*calls, SHOP[0], "no id"])
    assert edges.to_numpy().tolist() == [["eu/shop/front", "eu/pay/api"]]
    assert resolve_edges(edges, [*SHOP, *PAY]).to_numpy().tolist() == [[SHOP[0], PAY[1]]]


def test_ids_that_are_no_ids_are_only_themselves() -> None:
    edges = pd.DataFrame({"caller": ["w0"], "callee": ["a/b"]})
    assert resolve_edges(edges, ["w0", "a/b"]).to_numpy().tolist() == [["w0", "a/b"]]
