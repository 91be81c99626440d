"""What verbs say of a store: documents that keep their schema, explanations that agree with the
tables, tables that fit the terminal.
"""

from __future__ import annotations

import io
import json
import math
import re
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cli_store import AS_OF, CliStore, FakeTerminal, filled
from click.shell_completion import ShellComplete
from jsonschema import Draft202012Validator
from rich.cells import cell_len

from features.frames import CAPACITY, FORECASTS, INCIDENTS, SCORES, SKIPS
from pipelines.adapters.store import Store
from pipelines.answers.explained import Explained, explained
from pipelines.cli import _run_cli, cli
from pipelines.commands.outputs import OUTPUTS, schema
from pipelines.errors import InputError
from pipelines.plans import newest_plan
from pipelines.run import Run, RunRef

pytestmark = [
    # mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
NOW = pd.Timestamp("2026-11-01T00:00Z")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CliStore:
    return filled(tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="module")
def run(store: CliStore) -> Run:
    return RunRef.resolve(str(store.config), None, str(store.out), AS_OF, NOW).open()


@pytest.fixture(scope="module")
def answer(run: Run, store: CliStore) -> Explained:
    return explained(run, store.workloads[0])


def said(*args: str, code: int = 0) -> str:
    pipe = io.StringIO()
    with redirect_stdout(pipe):
        assert _run_cli(list(args)) == code
    return pipe.getvalue()


def keeps_its_schema(verb: str, text: str) -> list[Any]:
    """The documents of an output, one a line, each checked."""
    documents = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    assert documents
    validator = Draft202012Validator(schema(verb))
    for document in documents:
        assert [e.message for e in validator.iter_errors(document)] == []
    return documents


# ---- schemas


@pytest.mark.parametrize("verb", sorted(OUTPUTS))
def test_every_schema_is_one_and_refuses_what_is_not_said(verb: str) -> None:
    made = schema(verb)
    Draft202012Validator.check_schema(made)
    if verb != "schema":
        assert not Draft202012Validator(made).is_valid({"surprise": 1})


def test_every_verb_that_prints_json_has_a_schema() -> None:
    plain = {n for n, c in cli.commands.items() if not hasattr(c, "commands")}
    models = {f"models {n}" for n in cli.commands["models"].commands}  # type: ignore[attr-defined]
    assert (plain - {"mcp"}) | models == set(OUTPUTS)


VERBS = {
    "ingest": [], "score": [], "forecast": [], "plan": [], "report": [], "models list": [],
    "publish": ["--dry-run"], "notify": ["--dry-run"],
    "evaluate": [],
}  # fmt: skip


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_what_a_verb_prints_keeps_its_schema(store: CliStore, verb: str) -> None:
    keeps_its_schema(verb, said(*verb.split(), *VERBS[verb], *store.args, "--json"))


def test_a_doctor_that_finds_something_says_so_by_its_code(store: CliStore) -> None:
    pipe = io.StringIO()
    with redirect_stdout(pipe):
        code = _run_cli(["doctor", *store.args, "--json"])
    (checks,) = keeps_its_schema("doctor", pipe.getvalue())
    assert code == int(any(c["status"] == "fail" for c in checks))


def test_models_show_and_promote_keep_their_schemas(store: CliStore) -> None:
    args = [*store.args, "--json"]
    keeps_its_schema("models show", said("models", "show", store.workloads[0], *args))
    keeps_its_schema("models promote", said("models", "promote", "forecaster", "1", *args))


@pytest.mark.parametrize("verb", ["score", "forecast", "plan"])
def test_an_explanation_keeps_the_schema_of_its_verb(store: CliStore, verb: str) -> None:
    text = said(verb, *store.args, "--explain", store.workloads[0], "--json")
    (document,) = keeps_its_schema(verb, text)
    assert document["workload"] == store.workloads[0]


def test_the_verbs_on_files_keep_their_schemas(store: CliStore, tmp_path: Path) -> None:
    common = ["--config", str(store.config), "--input", str(store.samples), "--json"]
    (told,) = keeps_its_schema(
        "backtest", said("backtest", *common, "--out", str(tmp_path), "--step", "1h")
    )
    assert told["rows"]
    args = ["diagnose", "--input", str(store.samples), "--at", "2026-05-22T10:00Z", "--json"]
    keeps_its_schema("diagnose", said(*args))


def test_schema_and_completion_print_what_they_promise() -> None:
    assert keeps_its_schema("schema", said("schema", "--json"))[0].keys() == OUTPUTS.keys()
    assert json.loads(said("schema", "models", "list")) == schema("models list")
    keeps_its_schema("completion", said("completion", "zsh", "--json"))


def test_a_schema_of_nothing_names_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run_cli(["schema", "forcast"]) == 1
    assert "expected ingest" in capsys.readouterr().err


# ---- explanations


def test_the_score_is_the_one_of_the_table(run: Run, answer: Explained) -> None:
    table = run.read(SCORES, newest=True).to_pandas()
    mine = table[table["workload"].astype("str") == answer.workload]
    assert len(answer.scores) == len(mine[["metric", "detector"]].drop_duplicates())
    for why in answer.scores:
        of = mine[(mine["metric"] == why.metric) & (mine["detector"] == why.detector)]
        row = of.loc[of["ts"].idxmax()]
        assert (why.score, why.severity) == (row["score"], row["severity"])
        assert why.steps_over_line == (of["score"] >= 1).sum()
        assert why.highest == of["score"].max()
        assert f"{why.score:.2f}" in why.arithmetic[-1]
    scores = [why.score for why in answer.scores]
    assert scores == sorted(scores, reverse=True)


def test_the_forecast_and_the_floor_are_those_of_the_tables(run: Run, answer: Explained) -> None:
    forecasts = run.read(FORECASTS, newest=True).to_pandas()
    for why in answer.forecasts:
        at = (forecasts["workload"] == answer.workload) & (forecasts["metric"] == why.metric)
        row = forecasts[at & (forecasts["ts"] == why.ts)].iloc[0]
        assert why.quantiles["q90"] == row["q90"]
        assert next(c for c in why.candidates if c.is_champion).wape == why.wape
    capacity = run.read(CAPACITY, newest=True).to_pandas()
    mine = capacity[capacity["workload"] == answer.workload]
    day = mine[mine["ts"] < run.as_of + pd.Timedelta(1, "D")]
    assert answer.floor is not None
    assert answer.floor.peak_24h.replicas == day["replicas"].max()
    plan = newest_plan(run)
    assert plan is not None
    wanted = [f.after for f in plan.floors if f.workload == answer.workload]
    assert [f.after for f in answer.floor.floors] == wanted
    assert {g.name: g.passes for g in answer.floor.gates} == {
        "forecast": mine["gate"].iloc[0] == "act",
        "mode": False,
        "plan": bool(wanted),
    }


def test_the_arithmetic_of_a_floor_leads_to_its_pods(answer: Explained) -> None:
    assert answer.floor is not None
    pods, peak = answer.floor.arithmetic[1], answer.floor.peak_24h.replicas
    low, high = map(int, re.search(r"these are (\d+) and (\d+) pods", pods).groups())  # type: ignore[union-attr]
    assert low <= peak <= high
    assert f"{peak} pods" in answer.floor.arithmetic[-1]


def test_the_arithmetic_of_a_band_is_a_distance_over_a_room(answer: Explained) -> None:
    shares = 0
    for why in answer.scores:
        found = re.search(r": ([\d.]+) of the way", " ".join(why.arithmetic))
        if found is None or why.value is None or why.expected is None:
            continue
        edge = why.upper if why.value >= why.expected else why.lower
        assert edge is not None
        share = abs(why.value - why.expected) / abs(edge - why.expected)
        assert math.isclose(float(found[1]), share, abs_tol=0.006)
        shares += 1
    assert shares


def test_a_metric_alone(run: Run, answer: Explained) -> None:
    one = explained(run, answer.workload, metric="requests_per_second")
    assert {s.metric for s in one.scores} == {"requests_per_second"}
    assert {f.metric for f in one.forecasts} == {"requests_per_second"}


def test_at_a_moment_the_score_of_that_moment_is_explained(run: Run, answer: Explained) -> None:
    then = explained(run, answer.workload, at=pd.Timestamp("2026-05-24T12:07Z"))
    assert {s.ts for s in then.scores} == {"2026-05-24T12:00:00Z"}
    assert then.at == "2026-05-24T12:07:00Z"
    assert then.floor is not None
    assert then.floor.issued_at == "2026-05-24T00:00:00Z"
    assert then.floor.plan_id == ""  # planned only later
    assert answer.floor is not None
    assert answer.floor.issued_at == "2026-05-25T00:00:00Z"


def test_what_is_past_its_time_says_so_and_what_to_run(run: Run, answer: Explained) -> None:
    assert not answer.stale
    later = replace(run, ref=replace(run.ref, as_of=NOW.isoformat()))
    old = explained(later, answer.workload)
    assert old.stale
    assert "run `foretide score`" in old.stale_reason
    assert old.floor is not None
    assert old.floor.plan_id == ""


def test_a_workload_that_is_not_known_is_told_who_comes_close(run: Run, answer: Explained) -> None:
    name = answer.workload.rsplit("/", 1)[1]
    for mistyped in (answer.workload[:-1], f"prod-us/shop/Deployment/{name}", name):
        if mistyped in known(run):
            continue
        with pytest.raises(InputError, match=r"did you mean .*" + re.escape(name)):
            explained(run, mistyped)


def known(run: Run) -> list[str]:
    from pipelines.answers.explained import known_workloads

    return known_workloads(run)


def test_a_skipped_workload_has_its_reason_for_an_answer(tmp_path: Path) -> None:
    row = {
        "workload": "c/n/Deployment/new", "metric": "", "step": "train",
        "reason": "history 1 d, needs 3 d", "issued_at": pd.Timestamp(AS_OF), "run_id": "r",
    }  # fmt: skip
    Store(str(tmp_path)).write(SKIPS, pd.DataFrame([row]), "20260525T000000Z-train")
    run = RunRef.resolve(None, None, str(tmp_path), AS_OF, NOW).open()
    found = explained(run, "c/n/Deployment/new")
    assert (found.scores, found.forecasts, found.floor) == ((), (), None)
    assert "skipped: history 1 d, needs 3 d" in {m.reason for m in found.missing}


def test_nothing_is_written_by_an_explanation(store: CliStore) -> None:
    def state() -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in store.out.rglob("*") if p.is_file()}

    before = state()
    said("plan", *store.args, "--explain", store.workloads[0])
    assert state() == before


# ---- on a terminal


PRINTS: dict[str, Callable[[CliStore], list[str]]] = {
    "plan": lambda s: ["plan", *s.args],
    "score --explain": lambda s: ["score", *s.args, "--explain", s.workloads[0]],
    "forecast --explain": lambda s: ["forecast", *s.args, "--explain", s.workloads[0]],
    "plan --explain": lambda s: ["plan", *s.args, "--explain", s.workloads[0]],
    "models list": lambda s: ["models", "list", *s.args],
    "models show": lambda s: ["models", "show", s.workloads[0], *s.args],
    "doctor": lambda s: ["doctor", *s.args],
}


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("what", sorted(PRINTS))
def test_what_is_printed_fits_the_terminal(
    store: CliStore, monkeypatch: pytest.MonkeyPatch, what: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")  # rich writes no codes: what is left is what is seen
    screen = FakeTerminal()
    with redirect_stdout(screen), redirect_stderr(FakeTerminal()):
        assert _run_cli(PRINTS[what](store)) in (0, 1)
    lines = screen.getvalue().splitlines()
    assert lines
    assert [line for line in lines if cell_len(line) > columns] == []


def test_a_shell_completes_the_workloads_of_the_store(store: CliStore) -> None:
    first = store.workloads[0]
    for args in (["score", *store.args, "--explain"], ["models", "show", *store.args]):
        shell = ShellComplete(cli, {}, "foretide", "_FORETIDE_COMPLETE")
        found = {item.value for item in shell.get_completions(args, first[:-2])}
        assert first in found
        assert found <= set(known_names(store))
    nowhere = ["score", "--out", str(store.out / "nowhere"), "--explain"]
    shell = ShellComplete(cli, {}, "foretide", "_FORETIDE_COMPLETE")
    assert shell.get_completions(nowhere, "p") == []


def known_names(store: CliStore) -> list[str]:
    return known(RunRef.resolve(str(store.config), None, str(store.out), AS_OF, NOW).open())


def test_run_prints_a_document_a_step_and_a_rollback_what_moved(
    store: CliStore, tmp_path: Path
) -> None:
    """On a copy: both change what is live."""
    own = replace(store, out=tmp_path / "store")
    shutil.copytree(store.out, own.out)
    steps = keeps_its_schema("run", said("run", *own.args, "--json"))
    assert [s["verb"] for s in steps] == [
        "ingest", "train", "score", "forecast", "plan", "evaluate", "report",
    ]  # fmt: skip
    keeps_its_schema("models rollback", said("models", "rollback", *own.args, "--json"))


def test_a_workload_is_known_by_its_end_and_a_run_without_incidents_is_explained(
    store: CliStore, answer: Explained, tmp_path: Path
) -> None:
    out = tmp_path / "store"
    shutil.copytree(store.out, out)
    run = RunRef.resolve(str(store.config), None, str(out), AS_OF, NOW).open()
    newest = run.parts(INCIDENTS)[-1]
    run.store.write(INCIDENTS, run.store.read(INCIDENTS, part=newest).slice(0, 0), newest)
    told = explained(run, answer.workload)
    assert (told.scores, told.incidents) == (answer.scores, ())
    name = answer.workload.rsplit("/", 1)[1]
    with pytest.raises(InputError, match="did you mean"):
        explained(run, name)  # several end so
    for contract in (CAPACITY, FORECASTS, SCORES, SKIPS):
        part = run.parts(contract)[-1]
        rows = run.store.read(contract, part=part).to_pandas()
        run.store.write(contract, rows[rows["workload"] == answer.workload], part)
    assert explained(run, name).workload == answer.workload
