"""Floors for clusters that nobody may write to: patches for GitOps, and a Prometheus series."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from features.workloads import split_workload, workload_id
from models.holders import Holder
from pipelines.adapters.kube import HPA
from pipelines.rungs import (
    Required,
    RungParams,
    Wish,
    choose,
    exposition,
    ladder,
    metric_manifests,
    render_patches,
    write_exposition,
    write_patches,
)
from pipelines.rungs.metric import METRIC, adapter_rule, required_query

NOW = pd.Timestamp("2026-03-02T07:00Z")
UNTIL = pd.Timestamp("2026-03-02T08:00Z")
WORKLOAD = "prod/shop/Deployment/web"


def holder(name: str = "web", floor: int | None = 2, **more: Any) -> Holder:
    at: dict[str, Any] = {
        "workload": f"prod/shop/Deployment/{name}", "rung": "hpa", "name": name,
        "namespace": "shop", "uid": "u", "resource_version": "1", "floor": floor, "ceiling": 20,
        "replicas": 2, "desired": 2,
    }  # fmt: skip
    return Holder(**(at | more))


def test_patches_are_a_component_that_names_each_object() -> None:
    keda = holder("so.v2", None, rung="keda")
    files = render_patches([Wish(holder(), 8, UNTIL, "p"), Wish(keda, 4, UNTIL, "p")], now=NOW)
    component = yaml.safe_load(files["kustomization.yaml"])
    assert component["kind"] == "Component"
    targets = {p["target"]["name"]: p for p in component["patches"]}
    assert set(targets) == {"web", r"so\.v2"}
    patch = yaml.safe_load(files[targets[r"so\.v2"]["path"]])
    assert (patch["kind"], patch["spec"]) == ("ScaledObject", {"minReplicaCount": 4})
    patch = yaml.safe_load(files[targets["web"]["path"]])
    assert (patch["apiVersion"], patch["spec"]) == ("autoscaling/v2", {"minReplicas": 8})
    # the annotations of a floor that *we* wrote would have the release job take it back
    assert not any("original-floor" in text for text in files.values())


def test_patches_are_the_same_in_any_order() -> None:
    wishes = [Wish(holder(f"w{i}"), 5 + i, UNTIL, "p") for i in range(6)]
    first = render_patches(wishes, now=NOW)
    assert render_patches(wishes[::-1], now=NOW) == first
    assert render_patches([*wishes[3:], *wishes[:3]], now=NOW) == first


@pytest.mark.parametrize(
    ("floor", "until"), [(2, UNTIL), (1, UNTIL), (21, UNTIL), (8, NOW), (8, NOW - UNTIL.resolution)]
)
def test_what_lowers_expired_or_cannot_be_is_no_patch(floor: int, until: pd.Timestamp) -> None:
    files = render_patches([Wish(holder(), floor, until, "p")], now=NOW)
    assert yaml.safe_load(files["kustomization.yaml"])["patches"] == []
    assert sorted(files) == ["README.md", "kustomization.yaml"]


def test_a_folder_follows_and_keeps_what_is_not_ours(tmp_path: Path) -> None:
    folder = tmp_path / "floors"
    files = render_patches([Wish(holder(), 8, UNTIL, "p")], now=NOW)
    assert sorted(write_patches(folder, files)) == sorted(files)
    (folder / "mine.yaml").write_text("a: 1\n")
    assert write_patches(folder, files) == []
    changed = write_patches(folder, render_patches([], now=NOW))
    assert sorted(changed) == sorted(set(files) - {"README.md"})
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "kustomization.yaml",
        "mine.yaml",
    ]


@given(st.text(), st.text())
def test_no_name_leaves_the_folder(namespace: str, name: str) -> None:
    hostile = holder(name, namespace=namespace)
    files = render_patches([Wish(hostile, 8, UNTIL, "p")], now=NOW)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", f) and f[0] != "." for f in files)
    assert len(files) == 3


def test_a_patch_that_gitops_applied_is_not_the_users_own_floor(shop: Any) -> None:
    """Else the next rendering would find nothing to raise, and take its own patch away."""
    shop.hpa()
    wish = Wish(shop.holder(), 8, UNTIL, "p")
    files = render_patches([wish], now=NOW)
    (name,) = (f for f in files if f.startswith("floor_"))
    patch = yaml.safe_load(files[name])
    body = shop.read()
    body["spec"] |= patch["spec"]
    meta = {"name": "web", "namespace": "shop", "annotations": patch["metadata"]["annotations"]}
    shop.server.put(HPA, {"metadata": meta, "spec": body["spec"]})
    after = shop.holder()
    assert (after.floor, after.user_floor, after.held_until) == (8, 2, UNTIL)
    assert render_patches([replace(wish, holder=after)], now=NOW) == files
    # somebody else's 9 is their own
    shop.server.patch(HPA, "web", {"spec": {"minReplicas": 9}}, "shop")
    assert shop.holder().user_floor == 9


def test_the_rung_is_what_is_configured_or_what_holds_the_floor(shop: Any) -> None:
    shop.keda()
    found = ladder(shop.kube)
    assert choose(shop.holder(), found, RungParams()).rung == "keda"
    assert choose(shop.holder(), found, RungParams(floor="gitops")).rung == "gitops"
    paused = replace(shop.holder(), problem="KEDA is paused")
    assert choose(paused, found, RungParams()).reason == "KEDA is paused"


LINE = re.compile(r'([a-z_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\} ([0-9]+)')
UNESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=4, max_size=4)
)
def test_labels_come_through_whatever_is_in_them(parts: list[str]) -> None:
    text = exposition([Required(workload_id(*parts), 7, UNTIL)], now=NOW)
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    assert len(lines) == 2
    found = LINE.fullmatch(lines[0])
    assert found is not None
    labels = re.findall(r'([a-z]+)="((?:[^"\\]|\\.)*)"', found[2])
    read = [re.sub(r"\\.", lambda m: UNESCAPED[m[0]], value) for _, value in labels]
    assert read == list(split_workload(workload_id(*parts)))
    assert (found[1], found[3]) == (METRIC, "7")


def test_what_has_expired_is_not_in_the_file(tmp_path: Path) -> None:
    text = exposition([Required(WORKLOAD, 7, NOW), Required("a/b/c/d", 3, UNTIL)], now=NOW)
    assert WORKLOAD.rsplit("/", maxsplit=1)[-1] not in text
    assert f"{int(UNTIL.timestamp())}\n" in text
    assert text.endswith("# EOF\n")
    path = tmp_path / "textfile" / "foretide.prom"
    for _ in range(2):
        write_exposition(path, text)
    assert [p.name for p in path.parent.iterdir()] == ["foretide.prom"]
    assert path.read_text() == text


def test_a_stale_series_asks_for_nothing() -> None:
    query = required_query(WORKLOAD)
    assert "> time()" in query
    assert 'name="web"' in query
    # an HPA that misses a metric does not scale down by its others: there it has to be 0
    assert adapter_rule()["metricsQuery"].endswith("or vector(0)")
    text = metric_manifests(
        {WORKLOAD: "keda", "prod/shop/Deployment/api": "hpa"}, server="http://p"
    )
    _, api, web = yaml.safe_load_all(text)
    (trigger,) = web["add_to_spec"]["triggers"]
    assert (trigger["metricType"], trigger["metadata"]["threshold"]) == ("AverageValue", "1")
    assert trigger["metadata"]["ignoreNullValues"] == "true"
    (metric,) = api["add_to_spec"]["metrics"]
    assert metric["external"]["metric"]["selector"]["matchLabels"]["name"] == "api"


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"floor": "hpa"}, "floor"),
        ({"room": "pods"}, "room"),
        ({"room": "static_nodepool"}, "static_nodepool"),
        ({"namespace": "A b"}, "namespace"),
        ({"force_owners": ("",)}, "force_owners"),
        ({"metric_file": ""}, "metric_file"),
    ],
)
def test_a_knob_without_meaning_is_refused(values: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=f"rungs: {key} "):
        RungParams(**values)
