"""The ledger: append only, each action as it stands now, apart for two runs of one moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from features.frames import LEDGER
from pipelines.ledger import Entry, Ledger, news, past, snapshot_of
from pipelines.run import Run, RunRef

NOW = pd.Timestamp("2026-06-08T07:00Z").as_unit("ms")


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "foretide.yaml"
    path.write_text(yaml.safe_dump({"store": {"path": str(tmp_path / "store")}}))
    return str(path)


def run_at(config: str, at: pd.Timestamp = NOW) -> Run:
    return RunRef.resolve(config, None, None, at.isoformat(), at).open()


def an_entry(name: str = "web", at: pd.Timestamp = NOW, **more: Any) -> Entry:
    values: dict[str, Any] = {
        "target": f"prod/shop/Deployment/{name}", "field": f"hpa shop/{name}",
        "before": "2", "after": "8", "reason": "peak", "plan_id": "p", "mode": "act",
        "applied_at": at, "expires_at": at + pd.Timedelta(30, "min"), "status": "intended",
    }  # fmt: skip
    return Entry(**(values | more))


def test_the_last_row_of_an_action_is_how_it_stands(config: str) -> None:
    ledger = Ledger(run_at(config))
    rows = ledger.numbered([an_entry("a"), an_entry("b")])
    ledger.append(rows)
    assert [e.status for e in ledger.entries(NOW)] == ["intended", "intended"]
    ledger.append([Entry(**_values(rows[0]) | {"status": "done", "detail": "ok"})])
    found = Ledger(run_at(config)).entries(NOW)
    assert [(e.target[-1], e.status, e.detail) for e in found] == [
        ("a", "done", "ok"),
        ("b", "intended", ""),
    ]
    assert found[0] == Entry(**_values(rows[0]) | {"status": "done", "detail": "ok"})


def _values(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in Entry.__slots__}


def test_two_runs_of_one_moment_keep_their_rows_apart(config: str) -> None:
    for name in ("a", "b"):
        ledger = Ledger(run_at(config))
        ledger.append(ledger.numbered([an_entry(name)]))
    assert len(Ledger(run_at(config)).entries(NOW)) == 2


def test_nothing_after_the_runs_clock_is_seen(config: str) -> None:
    later = Ledger(run_at(config, NOW + pd.Timedelta(5, "min")))
    later.append(later.numbered([an_entry()]))
    assert Ledger(run_at(config)).entries(NOW - pd.Timedelta(1, "h")) == []


def test_nothing_to_say_writes_nothing(config: str, tmp_path: Path) -> None:
    assert Ledger(run_at(config)).append([]) == ""
    assert not (tmp_path / "store").exists()


def test_a_ledger_of_the_version_before_is_read(config: str, tmp_path: Path) -> None:
    ledger = Ledger(run_at(config))
    ledger.append(ledger.numbered([an_entry(status="done", replicas=3, stage="half")]))
    (file,) = (tmp_path / "store" / "ledger").glob("*.parquet")
    table = pq.read_table(file).drop_columns(list(LEDGER.added))
    pq.write_table(
        table.replace_schema_metadata({b"foretide.table": b"ledger", b"foretide.version": b"1"}),
        file,
    )
    (entry,) = ledger.entries(NOW)
    assert (entry.status, entry.replicas, entry.stage) == ("done", 0, "")
    assert isinstance(table, pa.Table)


def test_the_past_is_of_floors_and_an_unset_one_means_what_the_api_means() -> None:
    found = past(
        [
            an_entry("a", before="unset", status="done"),
            an_entry("b", before="unset", field="keda shop/b", status="done"),
            an_entry("c", field="room general", after="3 pods"),
            an_entry("d", after="a broken value"),
        ]
    )
    assert [(p.workload[-1], p.before, p.after) for p in found] == [("a", 1, 8), ("b", 0, 8)]


def test_what_was_said_is_not_said_again() -> None:
    said = an_entry("a", status="shown")
    assert news([said], [said]) == []
    assert news([an_entry("a", status="shown", reason="another hour", plan_id="q")], [said]) == []
    assert news([an_entry("a", status="shown", after="9")], [said])
    assert news([an_entry("a", status="waiting")], [said])


def test_days_that_are_over_become_one_document_and_say_the_same(
    config: str, tmp_path: Path
) -> None:
    old = NOW - pd.Timedelta(3, "D")
    for hour in range(3):
        at = old + pd.Timedelta(hour, "h")
        ledger = Ledger(run_at(config, at))
        rows = ledger.numbered([an_entry("a", at), an_entry("b", at, status="shown")])
        ledger.append(rows)
        ledger.append([Entry(**_values(rows[0]) | {"status": "done"})])
    ledger = Ledger(run_at(config))
    since, until = NOW - pd.Timedelta(28, "D"), NOW.floor("D") - pd.Timedelta(1, "D")
    plain = ledger.days_before(since, until)
    assert [(p.workload[-1], p.status) for p in plain] == [("a", "done")] * 3
    ledger.digest(since, until)
    for file in (tmp_path / "store" / "ledger").glob("*.parquet"):
        file.write_bytes(b"not looked at any more")
    assert ledger.days_before(since, until) == plain


def test_a_snapshot_has_our_fields_and_tells_whether_the_rest_changed() -> None:
    body = {
        "metadata": {"name": "web", "uid": "u", "managedFields": [{"manager": "helm"}]},
        "spec": {"minReplicas": 2},
        "status": {"currentReplicas": 2},
    }
    kept = snapshot_of(body)
    assert set(kept) == {"metadata", "spec", "rest"}
    assert kept["metadata"] == {"name": "web", "uid": "u"}
    assert kept["spec"] == {"minReplicas": 2}
    assert "managedFields" in body["metadata"], "the object itself is left as it was"
    calm = {**body, "status": {"currentReplicas": 9}}
    calm["metadata"] = {**body["metadata"], "resourceVersion": "7", "annotations": {}}
    assert snapshot_of(calm) == kept, "what the server writes is no difference"
    for other in (
        {**body, "spec": {"minReplicas": 2, "metrics": [{"token": "hunter2"}]}},
        {**body, "metadata": {**body["metadata"], "annotations": {"note": "hunter2"}}},
        {**body, "data": {"token": "hunter2"}},
    ):
        assert snapshot_of(other)["rest"] != kept["rest"]
        assert "hunter2" not in str(snapshot_of(other))


def test_a_damaged_part_is_passed_over_and_named(config: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        ledger = Ledger(run_at(config))
        ledger.append(ledger.numbered([an_entry(name)]))
    file = min((tmp_path / "store" / "ledger").glob("*.parquet"))
    file.write_bytes(b"PAR1garbage")
    ledger = Ledger(run_at(config, NOW + pd.Timedelta(2, "D")))
    assert len(ledger.entries(NOW - pd.Timedelta(1, "h"))) == 1
    assert list(ledger.damaged) == [file.stem]
    assert ledger.hurt_since(NOW - pd.Timedelta(1, "h")) == file.stem
    assert ledger.hurt_since(NOW + pd.Timedelta(1, "h")) == ""
    # no digest is made of what is not whole
    ledger.digest(NOW - pd.Timedelta(1, "D"), NOW + pd.Timedelta(2, "D"))
    assert not list((tmp_path / "store").rglob("ledger-days/*"))
