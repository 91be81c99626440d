"""What the doctor says of a Foretide that runs: its flows, its plan, where it tells of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from own_world import FLOWS, add_runs, run_row
from publish_store import fill, opened

from features.frames import CAPACITY, RUNS, VALUE
from pipelines.adapters.store import Store
from pipelines.doctor.check import Check
from pipelines.doctor.watching import check_files, check_runs, check_watching, late_after_s
from pipelines.run import part_name

CLOCK = pd.Timestamp("2026-06-08T12:00Z")
HOUR = pd.Timedelta("1h")


def checks(
    folder: Path, settings: dict[str, Any] | None = None, status: int = 405
) -> dict[str, Check]:
    """All lines, with a network that always answers so, or nothing at all."""

    def answer(request: httpx.Request) -> httpx.Response:
        if status == 0:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(status)

    run = opened(folder, settings, CLOCK)
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        return {c.name: c for c in check_watching(run, client)}


def runs(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))[RUNS.schema.names]


@pytest.fixture(autouse=True)
def _no_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def test_all_is_well_where_all_is(tmp_path: Path) -> None:
    store = fill(tmp_path, at=CLOCK - HOUR / 4)
    add_runs(store, [run_row(flow, CLOCK - HOUR / 4) for flow in FLOWS])
    found = checks(tmp_path)
    assert {c.status for c in found.values()} == {"ok"}, found
    assert "score 15 min ago" in found["runs"].detail
    assert "valid for another 20 h" in found["plan"].detail


def test_a_new_installation_is_told_what_to_do(tmp_path: Path) -> None:
    found = checks(tmp_path)
    assert found["runs"].status == found["plan"].status == "warn"
    assert found["plan"].remedy == "run `foretide plan`"
    assert not (tmp_path / "store").exists()


def test_a_flow_that_is_late_is_named_with_its_error() -> None:
    late = late_after_s()
    assert set(FLOWS) == set(late)
    rows = runs(
        run_row("score", CLOCK - 5 * HOUR),
        run_row("score", CLOCK - HOUR, state="failed", error="StoreError: full"),
        run_row("ingest", CLOCK - HOUR),
        run_row("train", CLOCK - 24 * HOUR, state="failed"),
    )
    check = check_runs(rows, CLOCK, late)
    assert check.status == "warn"
    assert check.detail == (
        "score succeeded 5 h ago, expected at most 90 min (StoreError: full); "
        "train has not succeeded yet (no)"
    )


def test_much_that_is_left_out_is_told(tmp_path: Path) -> None:
    add_runs(Store(tmp_path / "store"), [
        run_row("score", CLOCK - HOUR, done=1, skipped=9),
        run_row("prescale", CLOCK - HOUR, done=0, skipped=9),
    ])  # fmt: skip
    check = checks(tmp_path)["skipped"]
    assert (check.status, check.detail) == ("warn", "left out: score 90%")


def test_a_plan_that_ran_out_is_told(tmp_path: Path) -> None:
    fill(tmp_path, at=CLOCK - 30 * HOUR)
    assert checks(tmp_path)["plan"].detail == "the newest is 30 h old and has expired"


@pytest.mark.parametrize(
    ("status", "expected"), [(405, "ok"), (204, "ok"), (404, "warn"), (0, "fail")]
)
def test_places_that_things_are_sent_to_are_asked(
    tmp_path: Path, status: int, expected: str
) -> None:
    settings = {
        "publish": {"remote_write": {"url": "http://user:secret@metrics:9090/api/v1/write"}},
        "watch": {"otlp_endpoint": "http://collector:4318"},
    }
    found = checks(tmp_path, settings, status)
    assert {found[name].status for name in ("publish", "traces")} == {expected}
    assert "secret" not in found["publish"].detail
    assert "http://collector:4318/v1/traces" in found["traces"].detail


def test_rules_and_dashboard_are_there_or_missed(tmp_path: Path) -> None:
    assert check_files().status == "ok"
    assert check_files(tmp_path / "rules.yaml").status == "warn"


def test_gates_that_let_few_through_and_old_reports_are_told(tmp_path: Path) -> None:
    store = fill(tmp_path, at=CLOCK - HOUR / 4)
    assert checks(tmp_path)["value"].status == "ok"
    capacity = store.read(CAPACITY).to_pandas()
    store.write(CAPACITY, capacity.assign(gate="shadow", gate_reason="x"), part_name(CLOCK))
    numbers = dict.fromkeys(("value", "lower", "upper"), 1.0)
    texts = {"scope": "all", "name": "incidents", "unit": "", "reason": "", "run_id": "r"}
    row = {**texts, **numbers, "evaluated_at": CLOCK, "started_at": CLOCK}
    store.write(VALUE, pd.DataFrame([row]), part_name(CLOCK - 9 * 24 * HOUR))
    found = checks(tmp_path)
    assert found["gates"].status == "warn"
    n = capacity["workload"].nunique()
    assert f"forecast {n} of {n}" in found["gates"].detail
    assert found["value"].detail == "the newest report is 9 days old"
