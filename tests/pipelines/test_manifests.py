"""Manifests: the same plan gives the same text, and no name becomes a path or markup."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from features.workloads import workload_id
from models.actions import Floor, Hold, Placeholder, Plan
from pipelines.manifests import ManifestParams, dns_label, render, requests

AT = pd.Timestamp("2026-06-08T08:50", tz="UTC")
# machines are shared: time is no law
law = settings(deadline=None)
LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"


def floor(workload="prod/shop/Deployment/checkout", hpa="checkout", **changes):
    hour = pd.Timedelta(1, "h")
    why = "carries the 95% quantile"
    made = Floor(workload, hpa, 2, 2, 8, AT, AT + hour, "act", why, mode="act")
    return replace(made, **changes)


def plan_of(*actions, mode="act"):
    return Plan(AT.floor("D"), AT.ceil("D"), mode, actions, ())


ROOM = Placeholder(
    "prod", 0, 3, 0.5, 2.0**30, AT - pd.Timedelta(5, "min"), AT, "act", "nodes for 1.5 cores", "act"
)


def test_a_plan_as_manifests(snapshot):
    files = render(plan_of(ROOM, floor()))
    assert "".join(f"--- {name}\n{text}" for name, text in files.items()) == snapshot


def test_hostile_names_as_manifests(snapshot):
    hostile = workload_id("../../etc", "Shop & <b>", "Deployment", "a: {b}\n---\nkind: Secret")
    files = render(plan_of(floor(hostile, "a: {b}\n---\nkind: Secret")))
    assert "".join(f"--- {name}\n{text}" for name, text in files.items()) == snapshot


names = st.text(min_size=0, max_size=300)


@law
@given(cluster=names, namespace=names, name=names)
def test_any_name_gives_one_safe_file_and_one_object(cluster, namespace, name):
    workload = workload_id(cluster, namespace, "Deployment", name)
    (entry,) = render(plan_of(floor(workload, name))).items()
    assert re.fullmatch(r"[-_.A-Za-z0-9]+\.yaml", entry[0])
    assert len(entry[0]) < 256
    (body,) = yaml.safe_load_all(entry[1])
    assert re.fullmatch(rf"{LABEL}(\.{LABEL})*", body["metadata"]["name"])
    assert re.fullmatch(LABEL, body["metadata"]["namespace"])
    assert body["spec"] == {"minReplicas": 8}


@law
@given(name=names)
def test_a_made_up_name_is_a_label_and_a_good_one_stays(name):
    safe = dns_label(name)
    assert re.fullmatch(LABEL, safe)
    assert len(safe) <= 63
    assert dns_label(safe) == safe


@law
@given(one=names, other=names)
def test_two_workloads_never_share_a_file(one, other):
    actions = [floor(workload_id("c", "n", "Deployment", w), w) for w in (one, other)]
    assert len(render(plan_of(*actions))) == (1 if one == other else 2)


def test_a_shadow_plan_says_so_in_every_file():
    shown = [replace(action, mode="shadow") for action in (ROOM, floor())]
    for text in list(render(plan_of(*shown, mode="shadow")).values())[1:]:
        assert (
            yaml.safe_load(text)["metadata"]["annotations"]["foretide.dev/gitops-mode"] == "shadow"
        )


def test_groups_that_differ_in_mode_alone_have_files_and_names_of_their_own():
    hold = Hold("prod", "spot", AT, AT + pd.Timedelta(90, "min"), "act", "act", "peak")
    ways = [(g, m) for g in ("act", "shadow") for m in ("act", "recommend", "shadow")]
    actions = [replace(a, gate=g, mode=m) for a in (ROOM, hold) for g, m in ways]
    files = render(plan_of(*actions))
    assert len(files) == len(actions) + 1  # and the PriorityClass
    rooms = [yaml.safe_load(t) for n, t in files.items() if "_placeholder_" in n]
    assert len({r["metadata"]["name"] for r in rooms}) == len(ways)


def test_placeholders_yield_to_every_pod_and_end_at_once():
    files = {n: yaml.safe_load(t) for n, t in render(plan_of(ROOM)).items()}
    priority, deployment = files.values()
    assert (priority["value"], priority["preemptionPolicy"]) == (-10, "Never")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["priorityClassName"] == priority["metadata"]["name"]
    assert pod["terminationGracePeriodSeconds"] == 0
    assert pod["containers"][0]["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_a_hold_adds_to_the_budgets_of_the_pools_that_it_names():
    hold = Hold("prod", "gen.eral", AT, AT + pd.Timedelta(90, "min"), "act", "act", "peak")
    everywhere = replace(hold, nodepool="")
    one, all_ = (yaml.safe_load(t) for p in (hold, everywhere) for t in render(plan_of(p)).values())
    assert one["target"]["name"] == r"gen\.eral"
    assert "name" not in all_["target"]
    (op,) = yaml.safe_load(one["patch"])
    # an apply of the list would throw the user's own budgets away
    assert (op["op"], op["path"]) == ("add", "/spec/disruption/budgets/-")
    assert (op["value"]["nodes"], op["value"]["duration"]) == ("0", "1h30m")


@pytest.mark.parametrize(
    ("cores", "mib", "asks"),
    [
        (0.5, 512, {"cpu": "500m", "memory": "512Mi"}),
        (2.0, 3072, {"cpu": "2", "memory": "3Gi"}),
        (0.0001, 0.3, {"cpu": "1m", "memory": "1Mi"}),
        (1.5, 0, {"cpu": "1500m"}),
        (0.29, 2**20, {"cpu": "290m", "memory": "1Ti"}),
    ],
)
def test_requests_are_written_as_the_api_server_writes_them(cores, mib, asks):
    assert requests(cores, mib * 2**20) == asks


def test_numbers_stay_plain_yaml():
    (text,) = render(plan_of(floor(after=int(np.int64(9))))).values()
    assert "minReplicas: 9\n" in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("priority", 0),
        ("pause_image", "a b"),
        ("placeholder_namespace", "../x"),
        ("priority_class", ""),
    ],
)
def test_a_knob_without_meaning_is_refused_by_name(key, value):
    with pytest.raises(ValueError, match=f"manifests: {key} must"):
        ManifestParams(**{key: value})
