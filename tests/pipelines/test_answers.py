"""Answers: from an empty store, from old tables, and the same numbers as the verbs'."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from fastmcp.exceptions import ToolError
from publish_store import CLOCK, fill, opened

from features.frames import CAPACITY, INCIDENTS, LEDGER, RUNS, VERDICTS
from features.synthetic import ClusterSpec, simulate
from pipelines.adapters.store import Store
from pipelines.answers.diagnosed import diagnosed
from pipelines.answers.explanation import explanation
from pipelines.answers.forecasts import forecasts
from pipelines.answers.incidents import incidents
from pipelines.answers.known import known_workload
from pipelines.answers.morning import morning
from pipelines.answers.planned import planned
from pipelines.answers.shared import Answer, NoSuchName, data
from pipelines.answers.simulated import simulated
from pipelines.answers.state import state
from pipelines.answers.tables import tables
from pipelines.answers.value import value
from pipelines.diagnose import diagnose
from pipelines.errors import ConfigError
from pipelines.forecast import forecast
from pipelines.hpa_specs import open_cluster
from pipelines.mcp.asking import Desk
from pipelines.run import Run, RunRef
from pipelines.shadow import replay_issued
from pipelines.train import train

pytestmark = [
    # mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROOT = Path(__file__).parents[2]
WEB = "prod/shop/Deployment/web"
END = pd.Timestamp("2026-06-01T00:00Z")
WEEK = pd.Timedelta("7D")
WHOLE: tuple[Callable[[Run], Answer], ...] = (incidents, planned, value, state, morning)


@pytest.mark.parametrize("answer", WHOLE)
def test_an_empty_store_has_an_answer_with_a_reason(
    answer: Callable[[Run], Answer], tmp_path: Path
) -> None:
    told = answer(opened(tmp_path))
    assert (told.as_of, told.valid_until, told.stale) == (None, None, True)
    assert "run `foretide" in told.stale_reason
    assert not (tmp_path / "store").exists()  # it was looked at, and nothing was made


def test_of_an_empty_store_no_workload_is_known(tmp_path: Path) -> None:
    run = opened(tmp_path)
    for ask in (forecasts, explanation, simulated):
        with pytest.raises(NoSuchName, match="none is known yet"):
            ask(run, WEB)
    assert {t.newest_at for t in tables(run).tables} == {None}


@pytest.mark.parametrize("answer", [incidents, planned, morning, lambda r: forecasts(r, WEB)])
def test_what_is_past_its_time_is_stale_and_still_told(
    answer: Callable[[Run], Answer], tmp_path: Path
) -> None:
    fill(tmp_path)
    fresh = answer(opened(tmp_path, at=CLOCK + pd.Timedelta("5min")))
    old = answer(opened(tmp_path, at=CLOCK + pd.Timedelta("40D")))
    assert (fresh.stale, fresh.stale_reason) == (False, "")
    assert old.stale
    assert old.stale_reason
    assert old.as_of == fresh.as_of == "2026-06-08T12:00:00Z"


def test_nothing_after_the_clock_is_seen(tmp_path: Path) -> None:
    fill(tmp_path)
    before = opened(tmp_path, at=CLOCK - pd.Timedelta("1h"))
    assert incidents(before, state="all").as_of is None
    assert planned(before).plan_id == ""


def test_an_incident_that_the_newest_run_does_not_find_is_over(tmp_path: Path) -> None:
    fill(tmp_path)
    later = CLOCK + pd.Timedelta("5min")
    Store(tmp_path / "store").write(
        INCIDENTS, INCIDENTS.schema.empty_table(), f"{later:%Y%m%dT%H%M%SZ}"
    )
    run = opened(tmp_path, at=later)
    assert incidents(run).open_count == 0
    states = {i.incident_id: i.state for i in incidents(run, state="all").incidents}
    assert states == {"i-open": "over", "i-over": "over"}


def test_a_workload_is_named_whole_or_by_an_end_of_its_own(tmp_path: Path) -> None:
    names = (WEB, "prod/pay/Deployment/web", "prod/pay/Deployment/bank")
    fill(tmp_path, names)
    run = opened(tmp_path)
    assert known_workload(run, "bank") == names[2]
    assert known_workload(run, " shop/Deployment/web ") == WEB
    with pytest.raises(NoSuchName) as several:
        known_workload(run, "web")
    assert set(several.value.close) == set(names[:2])
    with pytest.raises(NoSuchName) as typo:
        known_workload(run, "prod/pay/Deployment/bnak")
    assert typo.value.close[0] == names[2]
    for hostile in ("*", "../bank", "prod/pay/Deployment/ban?", "", "/", "%2e%2e"):
        with pytest.raises(NoSuchName):
            known_workload(run, hostile)


def test_text_from_outside_is_cut_and_cannot_steer() -> None:
    told = data("a\x1b[31m\n" + "z" * 10_000)
    assert len(told.data) == 400
    assert told.data.startswith("a�[31m z")
    assert told.data.endswith("…")
    assert data(None).data == ""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small simulated cluster, trained a week before its end, forecast then and at its end."""
    root = tmp_path_factory.mktemp("answers")
    cluster = simulate(ClusterSpec(n_workloads=4, weeks=4, step_s=900))
    Store(root / "store").write_samples(cluster.samples)
    tree: dict[str, Any] = {
        "store": {"path": str(root / "store")},
        "history": {"step_s": 900},
        "forecast": {"models": ["seasonal_naive", "seasonal_day"],
                     "champion": {"combination": {"members": ["seasonal_naive", "seasonal_day"]}}},
        "shards": {"workers": 1},
    }  # fmt: skip
    config = root / "foretide.yaml"
    config.write_text(yaml.safe_dump(tree))
    train.fn(str(config), None, None, (END - WEEK).isoformat())
    for at in (END - WEEK, END):
        forecast.fn(str(config), None, None, at.isoformat())
    return RunRef.resolve(str(config), None, None, END.isoformat(), END).open()


def scaled(run: Run) -> pd.DataFrame:
    """The capacity of the first workload that may act."""
    table: pd.DataFrame = run.read(CAPACITY, newest=True).to_pandas()
    acts = table.loc[table["gate"] == "act", "workload"].astype("str")
    mine = table[table["workload"] == acts.min()]
    return mine.astype({"workload": "str"}).reset_index(drop=True)


def test_simulated_at_todays_load_is_the_forecast_itself(trained: Run) -> None:
    rows = scaled(trained)
    told = simulated(trained, rows["workload"][0], horizon_h=168).ahead
    assert told is not None
    assert told.replicas_now == rows["replicas"].iloc[0]
    assert told.replicas_peak == rows["replicas"].max()
    assert told.hpa_alone_replicas_peak == rows["reactive_replicas"].max()
    assert told.lead_time_s == pytest.approx(rows["lead_time_s"][0], rel=1e-5)
    assert told.gate_reason.data == rows["gate_reason"][0]


def test_more_load_never_asks_for_less_and_a_floor_never_lacks_more(trained: Run) -> None:
    name = scaled(trained)["workload"][0]
    half, twice = (simulated(trained, name, load_factor=x, floor_replicas=6) for x in (0.5, 2.0))
    assert half.ahead is not None
    assert twice.ahead is not None
    assert (half.ahead.replicas_peak or 0) <= (twice.ahead.replicas_peak or 0)
    assert (half.ahead.hours_above_floor or 0) <= (twice.ahead.hours_above_floor or 0)
    for told in (half, twice):
        short = {(p.policy, p.load_factor): p.short_pod_minutes for p in told.replayed}
        hours = {(p.policy, p.load_factor): p.replica_hours for p in told.replayed}
        for x in (1.0, told.load_factor):
            assert short["with_floor", x] <= short["hpa_alone", x]
            assert hours["with_floor", x] >= hours["hpa_alone", x]


def test_the_replayed_hpa_is_that_of_the_weekly_verdict(trained: Run) -> None:
    name = scaled(trained)["workload"][0]
    week = replay_issued(trained, END - WEEK, open_cluster).table
    row = week[(week["workload"] == name) & (week["policy"] == "reactive")].iloc[0]
    own = next(p for p in simulated(trained, name).replayed if p.policy == "hpa_alone")
    assert own.short_pod_minutes == pytest.approx(row["short_pod_min"], rel=1e-5)
    assert own.replica_hours == pytest.approx(row["replica_hours"], rel=1e-5)
    assert own.over_target_core_hours == pytest.approx(row["over_target_core_h"], rel=1e-5)


def test_simulating_writes_nothing(trained: Run) -> None:
    root = Path(trained.store.root)
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*") if "mlflow" not in p.name}
    simulated(trained, scaled(trained)["workload"][0], load_factor=3)
    after = {p: p.stat().st_mtime_ns for p in root.rglob("*") if "mlflow" not in p.name}
    assert after == before


@pytest.mark.parametrize(
    "wrong",
    [{"load_factor": 0}, {"load_factor": float("nan")}, {"floor_replicas": 0}, {"days": 15.0}],
)
def test_what_cannot_be_simulated_is_refused(trained: Run, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        simulated(trained, scaled(trained)["workload"][0], **wrong)


def test_diagnosed_are_the_causes_of_the_verb(trained: Run, tmp_path: Path) -> None:
    name, onset = scaled(trained)["workload"][0], END - pd.Timedelta("2D")
    told = diagnosed(trained, workload=name, at=onset)
    start, end = onset - pd.Timedelta("6h"), onset + pd.Timedelta("2h")
    samples = trained.store.read_samples(start, end).to_pandas()
    cluster = samples[samples["cluster"] == name.split("/")[0]]
    file = tmp_path / "samples.parquet"
    cluster.to_parquet(file)
    verb = diagnose([str(file)], onset.isoformat(), target=name)
    assert [(c.workload.data, c.metric.data) for c in told.causes] == [
        (c["workload"], c["metric"]) for c in verb["causes"]
    ]
    assert told.series_compared_count == verb["done"]
    with pytest.raises(NoSuchName, match="incident_id"):
        diagnosed(trained, incident_id="nobody")
    with pytest.raises(ConfigError, match="incident_id, or workload and at"):
        diagnosed(trained, workload=name)


def test_the_state_names_runs_that_failed_and_what_the_ledger_holds(tmp_path: Path) -> None:
    store = fill(tmp_path)
    row = {"verb": "score", "run_id": "r", "as_of": CLOCK, "started_at": CLOCK, "ended_at": CLOCK,
           "state": "failed", "unit": "series", "done": 0, "skipped": 0, "failed": 1,
           "reasons": [], "figures": [], "error": "it broke"}  # fmt: skip
    store.write(RUNS, pd.DataFrame([row]), f"{CLOCK:%Y%m%dT%H%M%SZ}")
    entry = {"action_id": "a", "cluster": "prod", "target": WEB, "uid": "u", "field": "hpa min",
             "before": "2", "after": "7", "replicas": 2, "reason": "peak", "plan_id": "p",
             "mode": "act", "stage": "", "applied_at": CLOCK, "status": "done", "detail": "",
             "expires_at": CLOCK + pd.Timedelta("1h"), "rolled_back_by": ""}  # fmt: skip
    waits = entry | {"action_id": "b", "target": "prod/pay/Deployment/bank", "status": "waiting"}
    store.write(LEDGER, pd.DataFrame([entry, waits]), f"{CLOCK:%Y%m%dT%H%M%SZ}-aa-00")
    told = state(opened(tmp_path, at=CLOCK + pd.Timedelta("5min")))
    assert [(r.verb, r.state, r.error.data) for r in told.runs] == [("score", "failed", "it broke")]
    assert [(h.target.data, h.original, h.value) for h in told.held] == [(WEB, "2", "7")]
    assert [w.workload.data for w in told.waiting] == ["prod/pay/Deployment/bank"]
    assert (told.held_by, told.open_incidents_count) == ("ledger", 1)


def test_a_question_that_takes_too_long_is_given_up_and_keeps_its_turn(tmp_path: Path) -> None:
    fill(tmp_path)
    opened(tmp_path)
    go_on = threading.Event()
    desk = Desk(str(tmp_path / "publish.yaml"), str(tmp_path / "store"), CLOCK.isoformat(), 0.5)
    patient = dataclasses.replace(desk, timeout_s=60.0)  # the same turns

    def slow(run: Run) -> Answer:
        go_on.wait(60)
        return incidents(run)

    async def session() -> None:
        with pytest.raises(ToolError, match=r"no answer within 0\.5 s"):
            await desk.ask(slow, heavy=True)
        with pytest.raises(ToolError, match=r"busy|no answer within"):
            await desk.ask(incidents, heavy=True)
        assert (await patient.ask(incidents)).structured_content is not None  # others are answered
        go_on.set()
        assert (await patient.ask(incidents, heavy=True)).structured_content is not None

    asyncio.run(session())


def test_an_error_is_short_and_what_of_it_is_not_ours_is_data(tmp_path: Path) -> None:
    fill(tmp_path)
    opened(tmp_path)
    desk = Desk(str(tmp_path / "publish.yaml"), str(tmp_path / "store"), CLOCK.isoformat())

    def refuse(_: Run) -> Answer:
        raise ConfigError("no " + "x" * 5_000)

    def crash(_: Run) -> Answer:
        raise KeyError("/etc/secret")

    async def told(question: Callable[[Run], Answer]) -> str:
        with pytest.raises(ToolError) as error:
            await desk.ask(question)
        return str(error.value)

    assert len(asyncio.run(told(refuse))) < 400
    assert asyncio.run(told(refuse)).startswith('no answer: {"data": "no xxx')
    assert "secret" not in asyncio.run(told(crash))


def test_an_explanation_brings_neither_the_tracker_nor_the_orchestrator(tmp_path: Path) -> None:
    store = fill(tmp_path)
    frame = VERDICTS.schema.empty_table().to_pandas().reindex(range(1))
    stamps = dict.fromkeys(("evaluated_at", "trained_at", "since", "losing_since"), CLOCK)
    texts = dict.fromkeys(("metric", "model", "verdict", "reason", "run_id"), "x")
    other = frame.assign(workload="prod/shop/Deployment/other", points=1, **stamps, **texts)
    store.write(VERDICTS, other, "20260608T120000Z")
    code = (
        "import sys\n"
        "from pipelines.cli import _run_cli\n"
        f"code = _run_cli(['score', '--explain', {WEB!r}, '--out', {str(tmp_path / 'store')!r}])\n"
        "print(code, sorted({'mlflow', 'prefect'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == "0 []\n"
    assert "below the alert line" in done.stdout
