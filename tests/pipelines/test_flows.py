"""What the verbs rely on in a Prefect flow run: nothing is lost, the clock is the schedule's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import dask
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from dask_tasks import deadly_once_seen
from dask_tasks import double as double_anywhere
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.flow_engine import run_flow
from prefect.runtime import flow_run
from prefect.states import Scheduled
from prefect.testing.utilities import prefect_test_harness

from features.frames import SCORES
from features.synthetic import ClusterSpec, simulate
from pipelines.adapters.store import Store
from pipelines.artifacts import publish
from pipelines.clock import now
from pipelines.errors import ForetideError, HistoryError
from pipelines.flow_runs import as_run
from pipelines.ingest import ingest
from pipelines.outcome import Outcome
from pipelines.score import score
from pipelines.spreading import Where
from pipelines.tasks import call, run_shards, threads
from pipelines.train import train


@pytest.fixture(scope="module", autouse=True)
def prefect_server() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_NOT_TRACK", "1")
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        with prefect_test_harness(server_startup_timeout=120):
            yield


@task(cache_policy=NO_CACHE)
def double(x: int) -> int:
    if x < 0:
        raise HistoryError(f"{x} is too little")
    if x == 13:
        raise RuntimeError("unlucky")
    return 2 * x


@flow(task_runner=threads())
def doubled(xs: list[int], max_failed_share: float) -> dict[str, Any]:
    shards = run_shards(double, xs, workers=2, max_failed_share=max_failed_share)
    return {"results": shards.results, "failed": shards.failed}


@flow
def doubled_elsewhere(xs: list[int]) -> dict[str, Any]:
    where = Where("processes")
    shards = run_shards(double_anywhere, xs, workers=2, max_failed_share=0.5, where=where)
    return {"results": shards.results, "failed": shards.failed}


@flow
def in_few(xs: list[int]) -> tuple[int, ...]:
    where = Where("threads", tasks_max=3)
    return run_shards(double_anywhere, xs, workers=2, max_failed_share=0.0, where=where).results


@flow(retries=1, retry_delay_seconds=0)
@as_run()
def verb(xs: list[int], max_failed_share: float) -> dict[str, Any]:
    shards = run_shards(double, xs, workers=2, max_failed_share=max_failed_share)
    outcome = Outcome(
        "verb", "r", "2026-06-01T00:00+00:00", "series", len(shards.results), failed=shards.failed
    )
    return publish(outcome.to_dict())


@flow
def one(x: int) -> int:
    return call(double, x)


@flow
def clock() -> str:
    return now().isoformat()


@flow
def told(result: dict[str, Any]) -> dict[str, Any]:
    return publish(result)


def test_a_failed_shard_is_counted_and_the_rest_is_kept() -> None:
    state = doubled([1, 13, 3, -1], 0.5, return_state=True)
    assert state.is_completed()
    shards = state.result()
    assert shards["results"] == (2, 6)
    assert len(shards["failed"]) == 2
    assert "unlucky" in shards["failed"][0]


def test_shards_in_other_processes_are_task_runs_as_well() -> None:
    state = doubled_elsewhere([1, 13, 3, -1], return_state=True)
    shards = state.result()
    assert shards["results"] == (2, 6)
    assert len(shards["failed"]) == 2
    with get_client(sync_client=True) as client:
        flow_run = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        runs = client.read_task_runs(flow_run_filter=flow_run)
    assert sorted(str(run.state_name) for run in runs if run.name.startswith("double")) == [
        "Completed", "Completed", "Failed", "Failed",
    ]  # fmt: skip


def test_many_shards_are_few_task_runs() -> None:
    state = in_few(list(range(20, 60)), return_state=True)
    assert state.result() == tuple(range(40, 120, 2))
    with get_client(sync_client=True) as client:
        flow_run = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        runs = client.read_task_runs(flow_run_filter=flow_run)
    assert len([run for run in runs if run.name.startswith("double")]) == 3


def test_too_many_failed_shards_fail_the_run() -> None:
    state = doubled([1, 13, 3], 0.1, return_state=True)
    assert state.is_failed()
    with pytest.raises(ForetideError, match="1 of 3 shards failed, first: RuntimeError: unlucky"):
        state.result()


def test_a_run_that_partly_fails_says_how_much() -> None:
    state = verb([1, 13, 3], 0.5, return_state=True)
    assert state.is_completed()
    assert str(state.message).startswith("partly: 1 of 3 shards failed; verb: 2 of 2 series")
    assert state.result()["done"] == 2
    with get_client(sync_client=True) as client:
        shown = [a for a in client.read_artifacts() if a.key == "double-progress"]
    assert "double: 3 of 3 shards, 1 failed" in {a.description for a in shown}
    assert verb.fn([1, 3], 0.0)["done"] == 2  # plainly, the outcome itself


def test_a_run_with_too_many_failed_shards_says_how_many_and_is_red() -> None:
    state = verb([1, -1, 3], 0.1, return_state=True)
    assert state.is_failed()
    assert "1 of 3 shards failed; -1 is too little" in str(state.message)


def test_what_a_person_must_mend_is_not_tried_again() -> None:
    runs: dict[int, int] = {}
    for xs in ([-1], [13]):
        state = verb(xs, 0.0, return_state=True)
        with get_client(sync_client=True) as client:
            runs[xs[0]] = client.read_flow_run(state.state_details.flow_run_id).run_count
    assert runs == {-1: 1, 13: 2}


def test_what_the_user_can_mend_is_said_as_it_is() -> None:
    assert "-1 is too little" in str(doubled([-1], 0.0, return_state=True).message)


def test_the_error_of_a_single_task_is_the_flows() -> None:
    assert one(4) == 8
    assert one(-1, return_state=True).is_failed()


def test_parameters_are_checked_before_anything_runs() -> None:
    state = doubled("no list", 0.5, return_state=True)  # pyright: ignore[reportArgumentType]
    assert state.is_failed()
    assert "xs" in str(state.message)


def test_the_clock_of_a_late_run_is_its_schedule() -> None:
    planned = pd.Timestamp("2026-06-01T09:15", tz="UTC")
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(clock, state=Scheduled(scheduled_time=planned))
    assert run_flow(clock, flow_run=run) == planned.isoformat()


def test_the_clock_outside_of_a_run_is_the_present() -> None:
    before = pd.Timestamp.now("UTC").floor("s")
    assert before <= now() <= pd.Timestamp.now("UTC")


def test_an_outcome_is_shown_as_text_whatever_is_in_it() -> None:
    notes = ("  # not a heading", "<img src=x>")
    result = Outcome("forecast", "r", "2026-06-01", "series", 3, notes=notes).to_dict()
    assert told(result) == result
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts()
    shown = next(a for a in artifacts if a.key == "forecast")
    assert shown.description == "forecast: 3 of 3 series"
    lines = str(shown.data).splitlines()
    assert lines[0] == "    forecast: 3 of 3 series"
    assert all(line.startswith("    ") for line in lines)


def test_a_verb_does_the_same_in_a_run_and_as_a_plain_call(tmp_path: Path) -> None:
    samples = simulate(ClusterSpec(n_workloads=2, weeks=1)).samples
    pq.write_table(samples, tmp_path / "samples.parquet")
    config = tmp_path / "foretide.yaml"
    source = {"kind": "files", "paths": [str(tmp_path / "samples.parquet")]}
    config.write_text(yaml.safe_dump({"source": source}))
    common = {"config": str(config), "as_of": "2026-05-11T00:00Z"}
    watched = ingest(**common, out=str(tmp_path / "watched"))
    plain = ingest.fn(**common, out=str(tmp_path / "plain"))
    assert json.loads(json.dumps(watched))["run_id"] == plain["run_id"]
    tables = [Store(tmp_path / out).read_samples() for out in ("watched", "plain")]
    assert tables[0].equals(tables[1])
    assert len(tables[0]) == len(samples)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of Dask, whose worker is killed
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_task_run_whose_worker_was_killed_does_not_stay_running() -> None:
    @flow(name="killing")
    def killing() -> str:
        there = Where("processes")
        done = run_shards(deadly_once_seen, [13], workers=1, max_failed_share=1.0, where=there)
        assert "KilledWorker" in done.failed[0]
        return str(flow_run.id)

    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        of_it = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(killing())]))
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=of_it)
    assert [r.state_name for r in runs] == ["Crashed"] * 2  # with others, and alone


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")  # mlflow
def test_runs_off_the_grid_and_late_samples_leave_out_no_step(tmp_path: Path) -> None:
    samples = simulate(ClusterSpec(n_workloads=1, weeks=3, step_s=3600)).samples
    config, out = tmp_path / "foretide.yaml", str(tmp_path / "out")
    config.write_text(yaml.safe_dump({"forecast": {"models": ["seasonal_naive"]}}))
    store = Store(out)

    def arrive(until: str) -> None:
        before = samples["ts"].to_pandas() < pd.Timestamp(until)
        store.write_samples(samples.filter(before.to_numpy()))

    arrive("2026-05-18T05:00Z")
    train.fn(config=str(config), out=out, as_of="2026-05-18T00:00Z")
    for arrived, as_of in (("05:00", "06:04"), ("07:00", "07:04"), ("08:00", "08:04")):
        arrive(f"2026-05-18T{arrived}Z")
        score.fn(config=str(config), out=out, as_of=f"2026-05-18T{as_of}Z")
    scored = store.read(SCORES).to_pandas().drop_duplicates("ts")["ts"].sort_values()
    assert set(scored.diff().dropna()) == {pd.Timedelta("1h")}
    assert scored.iloc[-1] == pd.Timestamp("2026-05-18T07:00Z")
