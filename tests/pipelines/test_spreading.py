"""What a shard takes along, and what it finds to be otherwise where it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dask_tasks import VERB, Once, double, keeps
from prefect import task

from features.frames import SKIPS
from pipelines.doctor.spread import check_dask
from pipelines.errors import ConfigError, StoreError
from pipelines.run import RunRef
from pipelines.settings import ShardSettings
from pipelines.spreading import Baggage, Parcel, Where, run_elsewhere, sees, signed
from pipelines.staging import staged, tables_aside

AS_OF = "2026-06-01T00:00:00+00:00"


@pytest.fixture(params=["file", "s3"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    out = f"s3://bucket/{tmp_path.name}" if request.param == "s3" else str(tmp_path / "store")
    run = RunRef(None, (), out, AS_OF).open()
    return Where("dask", "tcp://127.0.0.1:8786", run.ref, run.run_id, VERB)


def ref_of(where: Where) -> RunRef:
    assert where.run is not None
    return where.run


def test_what_a_shard_keeps_comes_back_and_only_the_flow_writes_it(there: Where) -> None:
    ref = ref_of(there)
    run = ref.open()
    with staged(run, VERB) as folder:
        (folder / "told.txt").write_text("known")
        parcel = Parcel.of(keeps, Once(ref), Baggage.of(there))
        for _ in range(2):  # Dask may run it again
            back = run_elsewhere(parcel)
            assert [p.name for p in folder.iterdir()] == ["told.txt"]
        assert back.unpack(there) == 0
        table = tables_aside(run, VERB, SKIPS)
        assert table is not None
        assert table["reason"].to_pylist() == ["known"]
        assert (folder / "bundle/shard-0/a.txt").read_text() == "known"
        assert "told.txt" not in back.kept


def test_a_folder_that_is_not_seen_is_an_error_and_never_an_empty_one(tmp_path: Path) -> None:
    run = RunRef(None, (), str(tmp_path / "store"), AS_OF).open()
    where = Where("dask", "tcp://127.0.0.1:8786", run.ref, run.run_id, VERB)
    with staged(run, VERB) as folder:
        (folder / "told.txt").write_text("known")
        parcel = Parcel.of(keeps, Once(run.ref), Baggage.of(where))
    with pytest.raises(StoreError, match=r"told.txt is not seen by this worker; give all workers"):
        run_elsewhere(parcel)


def test_another_configuration_is_refused_by_every_shard(
    there: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    parcel = Parcel.of(double, 3, Baggage(there))
    monkeypatch.setenv("FORETIDE_HISTORY__DAYS", "9")
    with pytest.raises(ConfigError, match="this worker reads another configuration"):
        run_elsewhere(parcel)
    monkeypatch.setenv("FORETIDE_SHARDS__WORKERS", "7")
    monkeypatch.delenv("FORETIDE_HISTORY__DAYS")
    assert run_elsewhere(parcel).result == 6


def test_a_worker_that_sees_the_same_has_nothing_to_say(there: Where) -> None:
    with staged(ref_of(there).open(), VERB) as folder:
        with signed(there) as sign:
            assert sees(there, sign) == ""
        assert list(folder.iterdir()) == []


def test_a_worker_on_another_disk_says_so(tmp_path: Path) -> None:
    run = RunRef(None, (), str(tmp_path / "store"), AS_OF).open()
    where = Where("dask", "tcp://127.0.0.1:8786", run.ref, run.run_id, VERB)
    with staged(run, VERB):
        assert "sees another" in sees(where, "a sign that is not there")
    assert f"has no folder {tmp_path / 'store'}" in sees(where, "")
    lost = replace(run.ref, inputs=(str(tmp_path / "gone.parquet"),))
    told = sees(replace(where, run=lost, run_id=lost.open().run_id), "")
    assert told.startswith(f"has no {tmp_path / 'gone.parquet'}; give all workers the same volume")


def test_a_task_that_nobody_else_could_find_is_refused() -> None:
    alone = task(lambda x: x)  # as a notebook's is
    alone.fn.__module__, alone.fn.__qualname__ = "dask_tasks", "double"
    with pytest.raises(ValueError, match="dask_tasks:double is no task of a module"):
        Parcel.of(alone, 1, None)


def test_the_doctor_says_when_nobody_answers() -> None:
    assert check_dask(ShardSettings()) is None
    assert check_dask(ShardSettings(backend="dask")) is None
    found = check_dask(ShardSettings(backend="dask", dask_address="tcp://127.0.0.1:1"), 0.5)
    assert found is not None
    assert found.status == "fail"
    assert "no Dask scheduler at tcp://127.0.0.1:1" in found.detail
