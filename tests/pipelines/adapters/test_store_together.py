"""Readers and writers at once, and writers that are killed: on disk and in a bucket."""

import random
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from s3_server import s3_server
from store_writers import BATCHES, DAY, KEY, batch, begin, received, write, write_within

from pipelines.adapters.objects.s3 import S3Objects, S3Params
from pipelines.adapters.store import Store
from pipelines.errors import StoreError


@pytest.fixture(scope="module")
def bucket():
    with s3_server() as server:
        yield server


@pytest.fixture(params=["local", "s3"])
def place(request, tmp_path, bucket, monkeypatch):
    """A root, and what a process needs to get there."""
    if request.param == "local":
        return str(tmp_path / "store"), {}
    for key, value in bucket.environment.items():
        monkeypatch.setenv(key, value)
    return bucket.root(tmp_path.name), bucket.environment


def reading(root: str) -> Store:
    """A bucket's objects in many small requests, so that one can be replaced in between."""
    small = S3Params(tail_bytes=500)
    return Store(root, S3Objects(root, params=small) if root.startswith("s3://") else None)


def contents(root: str | Path) -> dict[str, bytes]:
    files = (f for f in Path(root).rglob("*") if f.is_file() and f.name != ".lock")
    return {str(f.relative_to(root)): f.read_bytes() for f in files}


def test_a_reader_sees_the_old_day_or_the_new_one(place):
    root, _ = place
    store = Store(root)
    store.write_samples(batch(0, 0.0))
    enough = threading.Event()

    def rewrite():
        value = 0.0
        while not enough.is_set():
            value += 1000.0
            store.write_samples(batch(0, value))

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen: set[float] = set()
    reader = reading(root)
    try:
        for _ in range(500):
            table = reader.read_samples(DAY, DAY + pd.Timedelta(days=1)).to_pandas()
            assert len(table) == 2 * 288
            (version,) = set(table["value"] // 1000)
            seen.add(version)
            if len(seen) == 5:
                break
    finally:
        enough.set()
        writer.join()
    assert len(seen) == 5


def test_two_writers_lose_nothing(place):
    root, environment = place
    halves = [list(range(0, BATCHES, 2)), list(range(1, BATCHES, 2))]
    started = [begin(write, root, half, environment=environment) for half in halves]
    assert [received(pipe) for _, pipe in started] == halves
    for process, _ in started:
        process.join()
    store = Store(root)
    want = pd.concat([batch(n) for n in range(BATCHES)])
    got = store.read_samples().to_pandas()
    assert len(got) == len(want)
    assert set(got["name"]) == set(want["name"])
    assert store.coverage(KEY).spans == ((0, BATCHES * 3_600_000),)


def test_a_killed_writer_loses_nothing_that_was_committed(tmp_path):
    chance = random.Random(3)  # noqa: S311
    root = tmp_path / "killed"
    acknowledged: set[int] = set()
    for _ in range(15):
        process, pipe = begin(write, str(root), list(range(BATCHES)))
        pipe.poll(5)
        time.sleep(chance.uniform(0, 0.08))
        process.kill()
        process.join()
        acknowledged |= set(received(pipe))
        table = Store(root).read_samples().to_pandas()
        whole = table.groupby("name", observed=True).size()
        assert all(whole[f"w{n}"] == 2 * 432 for n in acknowledged)
        hours = {a // 3_600_000 for a, b in _hours(Store(root).coverage(KEY).spans)}
        assert acknowledged <= hours
    assert len(acknowledged) > 0
    for where in (root, tmp_path / "calm"):
        process, pipe = begin(write, str(where), list(range(BATCHES)))
        assert received(pipe) == list(range(BATCHES))
        process.join()
    left = contents(root)
    Store(root).clean(pd.Timestamp.now("UTC") + pd.Timedelta(days=2), 1, [])
    assert contents(root) == contents(tmp_path / "calm")
    assert set(left) - set(contents(root)) == {f for f in left if f.endswith(".tmp")}


def _hours(spans):
    return [(a, a) for start, end in spans for a in range(start, end, 3_600_000)]


def test_a_full_disk_leaves_the_old_day(tmp_path):
    store = Store(tmp_path)
    store.write_samples(batch(0))
    before = contents(tmp_path)
    process, pipe = begin(write_within, str(tmp_path), 4096)
    (said,) = received(pipe)
    process.join()
    assert "samples.parquet cannot be written" in said
    assert contents(tmp_path) == before


def test_what_is_in_the_way_is_named_and_nothing_is_lost(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"file.* a file is where a folder should be"):
        Store(tmp_path / "file").write_samples(batch(0))
    store = Store(tmp_path / "store")
    store.write_samples(batch(0))
    blocked = tmp_path / "store/samples/date=2026-06-02/samples.parquet"
    blocked.unlink()
    blocked.mkdir()
    before = contents(tmp_path)
    with pytest.raises(StoreError, match=r"06-02.samples.parquet cannot be .*a folder is where"):
        store.write_samples(batch(1).iloc[300:301])
    assert contents(tmp_path) == before


def test_a_lock_that_is_never_given_back_ends_the_wait(tmp_path):
    import fcntl

    from pipelines.adapters.objects.local import LocalObjects

    store = Store(tmp_path, LocalObjects(tmp_path, lock_wait_s=0.05))
    store.write_samples(batch(0))
    with (tmp_path / "samples/.lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=r"samples/.lock has been held for 0.05 s"):
            store.write_samples(batch(1))
    store.write_samples(batch(1))
    assert [f.name for f in tmp_path.iterdir()] == ["samples"]
