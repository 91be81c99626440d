"""Files of earlier releases are read and gone on with as they are; those of a later one refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from old_stores import FIRST, LAST, MADE, config_of, restored

from features.frames import CAPACITY, CONTRACTS, FORECASTS, LEDGER, SAMPLES, SCORES, Contract
from pipelines.adapters.store import Store
from pipelines.adapters.store.coverage import decode
from pipelines.adapters.store.layout import LAYOUT
from pipelines.approvals import approvals
from pipelines.errors import ForetideError, ModelError, StoreError
from pipelines.evaluate import evaluate
from pipelines.forecast import forecast
from pipelines.ledger import Ledger
from pipelines.plans import newest_plan, read_plan
from pipelines.prescale import prescale
from pipelines.registry import load_live
from pipelines.run import Run, RunRef
from pipelines.score import score
from pipelines.versions import listing

pytestmark = [  # mlflow and what it imports warn about themselves
    pytest.mark.filterwarnings(f"ignore::{kind}")
    for kind in (
        "DeprecationWarning", "FutureWarning", "UserWarning", "ResourceWarning",
        "pytest.PytestUnraisableExceptionWarning",
    )
]  # fmt: skip

HOUR = pd.Timedelta(1, "h")


@pytest.fixture(scope="module", params=[FIRST, LAST])
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return restored(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def last(tmp_path: Path) -> Path:
    return restored(LAST, tmp_path)


def opened(root: Path, at: pd.Timestamp = MADE) -> Run:
    return RunRef.resolve(config_of(root), None, None, at.isoformat(), at).open()


def tables(root: Path) -> list[Contract]:
    return [c for c in CONTRACTS.values() if c is not SAMPLES and (root / c.name).is_dir()]


def test_the_files_are_of_more_than_one_version_of_the_contracts(old: Path) -> None:
    found = {
        (c.name, int(pq.read_schema(file).metadata[b"foretide.version"]), c.version)
        for c in tables(old)
        for file in (old / c.name).glob("*.parquet")
    }
    assert all(written in (now, now - 1) for _, written, now in found)
    older = {name for name, written, now in found if written < now}
    assert ("capacity" in older) == (old.parent.name.startswith(FIRST)), found
    assert len(found) >= 9


def test_every_table_is_read_with_all_its_rows_in_this_releases_columns(old: Path) -> None:
    store = Store(old)
    for contract in tables(old):
        files = sorted((old / contract.name).glob("*.parquet"))
        table = store.read(contract)
        assert len(table) == sum(pq.read_metadata(f).num_rows for f in files)
        assert table.schema.names[: len(contract.schema.names)] == contract.schema.names
        raw = pa.concat_tables([pq.read_table(f) for f in files], promote_options="permissive")
        for name in set(raw.column_names) - set(contract.added):
            got, was = (
                t.column(name).cast(pa.string())
                if pa.types.is_dictionary(t.column(name).type)
                else t.column(name)
                for t in (table, raw)
            )
            assert got.to_pylist() == was.to_pylist() or pa.types.is_floating(was.type), name


def test_samples_and_what_was_pulled_are_known(old: Path) -> None:
    store = Store(old)
    samples = store.read_samples()
    days = sorted(old.glob("samples/date=*/samples.parquet"))
    assert len(samples) == sum(pq.read_metadata(f).num_rows for f in days) > 5_000
    found = store.census(MADE - 14 * 24 * HOUR, MADE)
    assert found is not None
    assert len(found[0]) == 2
    assert found[1] == HOUR
    panel = store.panel(["requests_per_second"], MADE - 24 * HOUR, MADE, HOUR)
    assert panel is not None
    assert panel.values.shape == (2, 24)
    covered = [decode(f.read_bytes()) for f in sorted((old / "samples/_coverage").glob("*.json"))]
    assert len(covered) == 2
    for key, coverage in covered:
        assert store.coverage(key) == coverage
        assert coverage.end_ms == MADE.timestamp() * 1000


def test_its_models_answer_and_its_verbs_go_on(old: Path) -> None:
    later = (MADE + HOUR / 4).isoformat()
    common: dict[str, Any] = {"config": config_of(old), "out": str(old), "as_of": later}
    run = opened(old)
    rows = listing(run.tracking())
    assert {(r["family"], r["version"], r["champion"]) for r in rows} == {
        ("forecaster", "1", True), ("detector", "1", True),
    }  # fmt: skip
    assert len(load_live(run, ["prod-eu/shop/Deployment/checkout"], detectors=True).shards) == 1
    for verb, flow, floor in (
        ("forecast", forecast, 4), ("score", score, 4), ("evaluate", evaluate, 1),
        ("plan", prescale, 1),
    ):  # fmt: skip
        told = flow.fn(**common)
        assert told["failed"] == ()
        assert told["done"] >= floor, (verb, told)
    store = Store(old)
    for contract in (FORECASTS, CAPACITY, SCORES):
        assert {p[:15] for p in store.parts(contract)} >= {"20260608T000000", "20260608T001500"}
        assert store.read(contract).schema.names[: len(contract.schema.names)]
    plan = newest_plan(opened(old, MADE + HOUR / 4))
    assert plan is not None
    assert plan.as_of == MADE + HOUR / 4


def test_what_was_applied_approved_and_planned_is_known(last: Path) -> None:
    run = opened(last, pd.Timestamp("2026-06-09T07:05Z"))
    entries = Ledger(run).entries(MADE)
    ended = {(e.target.rsplit("/", 1)[1], e.status, e.before, e.after) for e in entries}
    assert ended >= {
        ("web", "done", "2", "4"), ("web", "given_back", "4", "2"),
        ("db", "waiting", "2", "5"), ("db", "done", "2", "5"), ("db", "given_back", "5", "2"),
        ("cart", "done", "2", "6"), ("cart", "done", "6", "5"),
    }  # fmt: skip
    past = Ledger(run).days_before(MADE, run.as_of)
    assert {(p.workload.rsplit("/", 1)[1], p.after) for p in past} >= {("cart", 6), ("web", 4)}
    (yes,) = approvals(run)
    assert yes.floors["prod/shop/StatefulSet/db"] == 5
    plans = run.store.files("plans")
    read = [read_plan(run, name) for name in plans if name.endswith("/plan.json")]
    assert len(read) == 3
    newest = newest_plan(run)
    assert newest is not None
    assert {f.workload for f in newest.floors} == {"prod/shop/Deployment/cart"}
    for file in (last / "snapshots").iterdir():
        assert all("spec" in body for body in json.loads(file.read_text()).values())


# -- a later release's files


def one_line(refused: Callable[[], Any], kind: type[ForetideError], match: str) -> None:
    with pytest.raises(kind, match=match) as caught:
        refused()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("contract", [LEDGER, FORECASTS, CAPACITY, SCORES], ids=lambda c: c.name)
def test_a_later_table_is_refused_and_stays_as_it_is(last: Path, contract: Contract) -> None:
    file = max((last / contract.name).glob("*.parquet"))
    table = pq.read_table(file)
    later = replace(contract, version=contract.version + 1)
    pq.write_table(table.replace_schema_metadata(later.metadata()), file)
    before = file.read_bytes()
    text = rf"{contract.name}.*version {later.version}.*upgrade foretide"
    one_line(lambda: Store(last).read(contract), StoreError, text)
    assert file.read_bytes() == before


def test_a_later_ledger_keeps_apply_from_raising_anything(last: Path) -> None:
    file = max((last / "ledger").glob("*.parquet"))
    later = replace(LEDGER, version=LEDGER.version + 1)
    pq.write_table(pq.read_table(file).replace_schema_metadata(later.metadata()), file)
    ledger = Ledger(opened(last, pd.Timestamp("2026-06-09T07:05Z")))
    ledger.entries(MADE)
    assert ledger.hurt_since(MADE) == file.stem


def test_a_later_layout_is_refused_before_anything_is_read_or_written(last: Path) -> None:
    note = last / "store.json"
    note.write_text(json.dumps({"layout": LAYOUT + 1, "written_by": "9.0", "more": True}))
    run = opened(last)
    text = rf"written by foretide 9\.0 with layout {LAYOUT + 1}.*upgrade foretide"
    for use in (
        lambda: run.store.read(FORECASTS),
        run.store.days,
        lambda: run.store.put_file("report.html", b""),
        lambda: run.store.clean(MADE, 1, [SCORES]),
        lambda: forecast.fn(config=config_of(last), out=str(last), as_of=MADE.isoformat()),
    ):
        one_line(use, StoreError, text)
    note.write_text("{")
    one_line(lambda: Store(last).parts(SCORES), StoreError, "store.json is damaged.*delete it")


def test_a_store_is_marked_once_and_by_whom(tmp_path: Path) -> None:
    Store(tmp_path).mark()
    told = json.loads((tmp_path / "store.json").read_text())
    assert told["layout"] == LAYOUT
    (tmp_path / "store.json").write_text('{"layout": 0, "written_by": "0.0"}')
    Store(tmp_path).mark()
    assert json.loads((tmp_path / "store.json").read_text())["written_by"] == "0.0"


def test_a_later_plan_bundle_or_coverage_is_refused(last: Path) -> None:
    run = opened(last)
    plan = last / "plans" / "20260608T000000Z" / "plan.json"
    text = plan.read_text()
    told = json.loads(text)
    told["actions"][0]["from_a_later_release"] = 1
    plan.write_text(json.dumps(told))
    one_line(lambda: newest_plan(run), StoreError, "plan")
    (bundle,) = last.glob("mlartifacts/*/artifacts/bundle/data/forecaster/*/bundle.json")
    bundle.write_text(
        re.sub(r'"foretide_bundle": \d+', '"foretide_bundle": 99', bundle.read_text())
    )
    who = ["prod-eu/shop/Deployment/checkout"]
    one_line(lambda: load_live(run, who, detectors=False), ModelError, "99")
    covered = min((last / "samples/_coverage").glob("*.json"))
    key, _ = decode(covered.read_bytes())
    covered.write_text(covered.read_text().replace('"version": 1', '"version": 2'))
    one_line(lambda: run.store.coverage(key), StoreError, "version 2.*delete it")
