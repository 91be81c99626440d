"""config/prefect.yaml and the pools' templates, held against the flows and their events."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pipelines import flow_runs
from pipelines.apply import apply
from pipelines.catching_up import caught_up_plan
from pipelines.deploying import POOLS, create_limits, prefect_file
from pipelines.errors import ConfigError
from pipelines.events import done
from pipelines.run import RunRef, part_name
from pipelines.settings import CONFIG_DIR

TEXT = (CONFIG_DIR / "prefect.yaml").read_text()
SPEC: dict[str, Any] = yaml.safe_load(TEXT)
DEPLOYMENTS: dict[str, dict[str, Any]] = {d["name"]: d for d in SPEC["deployments"]}
TEMPLATE: dict[str, Any] = json.loads((CONFIG_DIR / "prefect" / "kubernetes.json").read_text())
NOW = pd.Timestamp("2026-06-01T09:15", tz="UTC")
ACTING = {"apply", "publish", "notify"}


def flow_of(name: str) -> Any:
    module, _, function = DEPLOYMENTS[name]["entrypoint"].rpartition(".")
    return getattr(importlib.import_module(module), function)


def started_by(verb: str, at: str = "2026-06-01T09:15+00:00", config: str = "") -> set[str]:
    """The deployments whose triggers match the event of a live run."""
    result = {"as_of": at, "run_id": "r", "outputs": {"x": "y"}}
    asked = {"config": config or "config/foretide.yaml"}
    told = done(verb, result, asked, pd.Timestamp(at), of_deployment=True)

    def matches(trigger: dict[str, Any]) -> bool:
        labels = trigger["match"].items()
        fits = all(told.resource[k] in ([v] if isinstance(v, str) else v) for k, v in labels)
        return fits and told.event in trigger["expect"]

    return {n for n, d in DEPLOYMENTS.items() if any(map(matches, d.get("triggers", ())))}


@pytest.mark.parametrize(
    ("verb", "at", "starts"),
    [
        ("ingest", "2026-06-01T09:00+00:00", {"score", "forecast"}),
        ("ingest", "2026-06-01T09:15+00:00", {"score", "forecast-next"}),
        ("score", "2026-06-01T09:15+00:00", {"notify", "publish"}),
        ("forecast", "2026-06-01T09:15+00:00", {"prescale", "publish"}),
        ("prescale", "2026-06-01T09:15+00:00", {"apply", "notify", "publish"}),
        ("evaluate", "2026-06-01T09:15+00:00", {"retrain"}),
        ("apply", "2026-06-01T09:15+00:00", set[str]()),
        ("publish", "2026-06-01T09:15+00:00", set[str]()),
        ("train", "2026-06-01T09:15+00:00", set[str]()),
    ],
)
def test_each_step_starts_the_next(verb: str, at: str, starts: set[str]) -> None:
    assert started_by(verb, at) == starts
    assert started_by(verb, at, config="config/other.yaml") == set()


def test_what_computes_gets_the_clock_and_what_acts_works_at_the_present() -> None:
    for name, deployment in DEPLOYMENTS.items():
        for trigger in deployment.get("triggers", ()):
            assert trigger["match"]["foretide.live"] == "yes"
            handed = set(trigger.get("parameters", {}))
            assert handed == (set() if name in ACTING else {"as_of"})


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_deployment_runs_with_its_parameters_a_timeout_and_a_limit(name: str) -> None:
    deployment, flow = DEPLOYMENTS[name], flow_of(name)
    given = [deployment["parameters"]]
    given += [s.get("parameters", {}) for s in deployment.get("schedules", ())]
    given += [t.get("parameters", {}) for t in deployment.get("triggers", ())]
    assert set().union(*given) <= set(flow.parameters.properties)
    assert deployment["concurrency_limit"]["limit"] == 1
    assert all(s["timezone"] for s in deployment.get("schedules", ()))
    deadline_s = TEMPLATE["variables"]["properties"]["deadline_s"]["default"]
    deadline_s = deployment["work_pool"]["job_variables"].get("deadline_s", deadline_s)
    assert 0 < flow.timeout_seconds < deadline_s


def test_published_series_never_end_between_two_runs() -> None:
    """A Prometheus forgets a series five minutes after its newest sample; one is for starting."""
    (pace,) = DEPLOYMENTS["publish"]["schedules"]
    manifest = yaml.safe_load_all((CONFIG_DIR / "deploy/cronjobs/cronjobs.yaml").read_text())
    (job,) = [m for m in manifest if m["metadata"]["name"] == "foretide-publish"]
    for cron in (pace["cron"], job["spec"]["schedule"]):
        every = re.fullmatch(r"\*/(\d+) \* \* \* \*", cron)
        assert every is not None
        assert int(every[1]) in (1, 2, 3, 4)  # each divides the hour


def test_apply_alone_runs_with_the_account_that_may_act() -> None:
    accounts = {n: d["work_pool"]["job_variables"].get("service_account_name")
                for n, d in DEPLOYMENTS.items()}  # fmt: skip
    rights = yaml.safe_load_all((CONFIG_DIR / "deploy/rbac-apply.yaml").read_text())
    (acting,) = [r["metadata"]["name"] for r in rights if r["kind"] == "ServiceAccount"]
    assert {n: a for n, a in accounts.items() if a} == {"apply": acting}


def test_the_limits_that_runs_take_are_the_ones_that_are_created() -> None:
    (step,) = SPEC["build"]
    limits = step["pipelines.deploying.create_limits"]["limits"]
    assert set(limits) == {flow_runs.SOURCE, flow_runs.TRAINING, flow_runs.CLUSTER}


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="foretide-source: expected a whole number"):
        create_limits({"foretide-source": 0})


def names_of(spec: dict[str, Any]) -> set[str]:
    triggers = [t["name"] for d in spec["deployments"] for t in d.get("triggers", ())]
    return {d["name"] for d in spec["deployments"]} | set(triggers)


def test_another_pool_and_configuration_reach_every_deployment_and_trigger() -> None:
    made = yaml.safe_load(prefect_file(TEXT, POOLS["kubernetes"], "config/b.yaml"))
    assert {d["work_pool"]["name"] for d in made["deployments"]} == {"foretide-kubernetes"}
    assert {d["parameters"]["config"] for d in made["deployments"]} == {"config/b.yaml"}
    assert "config/foretide.yaml" not in yaml.safe_dump(made)
    assert names_of(made) == {f"{name}-b" for name in names_of(SPEC)}  # those stay beside these
    same = yaml.safe_load(prefect_file(TEXT, POOLS["process"], "config/foretide.yaml"))
    assert same["deployments"] == SPEC["deployments"]


def test_the_kubernetes_template_has_no_loose_end_and_no_rights() -> None:
    asked = set(re.findall(r"{{ (\w+) }}", json.dumps(TEMPLATE["job_configuration"])))
    assert asked == set(TEMPLATE["variables"]["properties"])
    pod = TEMPLATE["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]) == {"requests", "limits"}
    used = {n for d in DEPLOYMENTS.values() for n in d["work_pool"]["job_variables"]}
    assert used <= set(TEMPLATE["variables"]["properties"])


def test_a_run_that_catches_up_finds_the_plan_of_its_round(tmp_path: Path) -> None:
    run = RunRef.resolve(None, None, str(tmp_path), NOW.isoformat(), NOW).open()
    for minutes, is_done in ((15, False), (-1, False), (14, True), (0, True)):
        clock = part_name(NOW - pd.Timedelta(minutes, "min"))
        run.store.put_file(f"plans/{clock}/plan.json", b"{}")
        told = caught_up_plan(run, "plan")
        assert (told is not None) == is_done, minutes
    assert told is not None
    assert told["done"] == 0
    assert not told["outputs"]  # so that its event starts nothing


def test_no_older_plan_is_applied_over_a_newer_one(tmp_path: Path) -> None:
    now = pd.Timestamp.now("UTC")
    config = tmp_path / "foretide.yaml"
    config.write_text(yaml.safe_dump({"cluster": {"connect": "kubeconfig"}}))
    store = RunRef.resolve(None, None, str(tmp_path / "s"), None, now).open().store
    store.put_file(f"plans/{part_name(now - pd.Timedelta(5, 'min'))}/plan.json", b"{}")
    with pytest.raises(ConfigError, match="no older plan is applied over it"):
        apply.fn(
            config=str(config),
            out=str(tmp_path / "s"),
            as_of=(now - pd.Timedelta(20, "min")).isoformat(),
        )
