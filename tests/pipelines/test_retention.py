"""Retention: what goes away, and what a rollback, an approval or an audit still needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from apply_world import NOW, a_floor, a_plan, a_world

from features.frames import LEDGER
from pipelines.approvals import approvals
from pipelines.errors import StoreError
from pipelines.ledger import Ledger
from pipelines.retention import evidence_days, tidy_store
from pipelines.run import Run, RunRef
from pipelines.settings import load_settings

DAY = pd.Timedelta(1, "D")


def opened(folder: Path, at: pd.Timestamp, keep_days: float | None = 1) -> Run:
    config = folder / "keep.yaml"
    config.write_text(
        yaml.safe_dump({"store": {"path": str(folder / "store"), "keep_days": keep_days}})
    )
    return RunRef.resolve(str(config), None, None, at.isoformat(), at).open()


@pytest.fixture
def lived(tmp_path: Path) -> Path:
    """A store in which floors were raised, approved, given back, and raised again a day later."""
    with a_world(tmp_path) as world:
        for name in ("cart", "web"):
            world.hpa(name)
        world.hpa("db", kind="StatefulSet")
        plan = world.keep(
            a_plan(a_floor("cart", 6), a_floor("web", 4), a_floor("db", 5, kind="StatefulSet"))
        )
        world.apply(0)
        world.apply(5, approve=plan.plan_id)
        later = NOW + DAY
        world.keep(a_plan(a_floor("cart", 5, starts=later), as_of=later - DAY / 24))
        world.apply(24 * 60)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    root = folder / "store"
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def last_rows(run: Run) -> list[Any]:
    return Ledger(run).entries(NOW - 10 * DAY)


def test_what_is_kept_for_ever_loses_nothing(lived: Path) -> None:
    before = files(lived)
    assert tidy_store(opened(lived, NOW + 400 * DAY, keep_days=None)).gone == 0
    assert files(lived) == before


def test_within_the_guardrails_memory_nothing_that_decisions_rest_on_goes(lived: Path) -> None:
    run = opened(lived, NOW + 29 * DAY)
    kept = {n: d for n, d in files(lived).items() if not n.startswith("capacity/")}
    tidied = tidy_store(run)
    assert tidied.gone == 2  # the capacity forecasts: keep_days is a day
    assert tidied.folded == 0
    assert files(lived) == kept


def test_then_plans_snapshots_and_what_has_expired_go_and_the_ledger_is_a_file_a_day(
    lived: Path,
) -> None:
    run = opened(lived, NOW + 40 * DAY)
    said = last_rows(run)
    past = Ledger(run).days_before(NOW - DAY, NOW + 5 * DAY)
    Ledger(run).digest(NOW - DAY, NOW + 5 * DAY)
    tidied = tidy_store(run)
    assert tidied.folded >= 4
    # the approval ended after 28 days, 12 before: it stays as long as what is as old
    left = {name.split("/")[0] for name in files(lived)}
    assert left == {"approvals", "ledger"}
    assert run.store.parts(LEDGER) == ["20260608T000000Z-0", "20260609T000000Z-0"]
    assert last_rows(run) == said
    assert Ledger(run).days_before(NOW - DAY, NOW + 5 * DAY) == past
    again = tidy_store(run)
    assert (again.gone, again.folded) == (0, 0)
    tidy_store(opened(lived, NOW + 60 * DAY))
    assert {name.split("/")[0] for name in files(lived)} == {"ledger"}


def test_an_approval_that_holds_stays_however_old_it_is(lived: Path) -> None:
    (file,) = (lived / "store" / "approvals").iterdir()
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"expires_at": (NOW + 300 * DAY).isoformat()}))
    broken = file.with_name("broken.json")
    broken.write_text("{")
    run = opened(lived, NOW + 299 * DAY)
    tidy_store(run)
    assert [a.floors["prod/shop/StatefulSet/db"] for a in approvals(run)] == [5]
    assert broken.exists()  # a person is told of it


def test_a_fold_that_was_killed_is_finished_by_the_next(lived: Path) -> None:
    run = opened(lived, NOW + 40 * DAY)
    said = last_rows(run)
    before = {n: d for n, d in files(lived).items() if n.startswith("ledger/")}
    tidy_store(run)
    whole = {n: d for n, d in files(lived).items() if n.startswith("ledger/")}
    for name, data in before.items():  # as if none of the deletes had come
        (lived / "store" / name).write_bytes(data)
    assert last_rows(run) == said
    tidy_store(run)
    assert {n: d for n, d in files(lived).items() if n.startswith("ledger/")} == whole


def test_a_day_of_the_ledger_with_a_damaged_part_stays_as_it_is(lived: Path) -> None:
    part = min((lived / "store" / "ledger").glob("20260608*"))
    part.write_bytes(b"damaged")
    run = opened(lived, NOW + 40 * DAY)
    with pytest.raises(StoreError, match="cannot be read"):
        run.store.read(LEDGER)
    before = {n: d for n, d in files(lived).items() if n.startswith("ledger/20260608")}
    tidy_store(run)
    after = {n: d for n, d in files(lived).items() if n.startswith("ledger/")}
    assert {n: d for n, d in after.items() if "/20260608" in n} == before
    assert [n for n in after if "/20260609" in n] == ["ledger/20260609T000000Z-0.parquet"]


@pytest.mark.parametrize(
    ("prescale", "forecast", "days"),
    [
        ({}, {}, 30),
        ({"guard": {"canary": {"memory_days": 60}}}, {}, 62),
        ({}, {"valid_for_h": 24 * 90}, 92),
    ],
)
def test_evidence_outlives_whatever_looks_back_on_it(
    tmp_path: Path, prescale: dict[str, Any], forecast: dict[str, Any], days: float
) -> None:
    config = tmp_path / "f.yaml"
    text = {"store": {"keep_days": 3}, "prescale": prescale, "forecast": forecast}
    config.write_text(yaml.safe_dump(text))
    assert evidence_days(load_settings(config)) == days
    config.write_text(yaml.safe_dump(text | {"store": {"keep_days": 500}}))
    assert evidence_days(load_settings(config)) == 500
    with pytest.raises(ValueError, match=r"store\.keep_days"):
        evidence_days(load_settings())
