"""What a store is beyond one writer's tables: the same on disk and in a bucket."""

import threading
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s3_server import s3_server
from store_writers import KEY

from features.frames import LEDGER, SAMPLES, SCORES, conform
from features.panel import Panel
from pipelines.adapters.objects.local import LocalObjects
from pipelines.adapters.store import Store
from pipelines.adapters.store.coverage import Coverage, missing
from pipelines.errors import StoreError

MONDAY = pd.Timestamp("2026-06-01", tz="UTC")
DAY = pd.Timedelta(days=1)
DAY_MS = 86_400_000


def samples(value: float = 1.0, name: str = "checkout", days: float = 3, **columns) -> pd.DataFrame:
    ts = pd.date_range(MONDAY, MONDAY + days * DAY, freq="5min", inclusive="left")
    rows = {"name": name, "metric": "cpu_usage_cores", "ts": ts, "value": value}
    return pd.DataFrame(rows | columns)


def empty(contract) -> pa.Table:
    return contract.schema.empty_table()


def files(root: Path) -> dict[str, bytes]:
    found = (f for f in root.rglob("*") if f.is_file() and f.name != ".lock")
    return {str(f.relative_to(root)): f.read_bytes() for f in found}


@pytest.fixture(scope="module")
def bucket():
    with s3_server() as server:
        yield server


@pytest.fixture(params=["local", "s3"])
def place(request, tmp_path, bucket, monkeypatch):
    """A store, and what lies in it: file → bytes."""
    if request.param == "local":
        return Store(tmp_path / "store"), lambda: files(tmp_path / "store")
    for key, value in bucket.environment.items():
        monkeypatch.setenv(key, value)
    return Store(bucket.root(tmp_path.name)), lambda: bucket.contents(tmp_path.name)


def spool(path: Path, *tables: pd.DataFrame) -> Path:
    with pa.ipc.new_stream(str(path), SAMPLES.schema) as writer:
        for table in tables:
            writer.write_table(conform(table, SAMPLES).replace_schema_metadata(None))
    return path


def test_the_same_writes_are_the_same_bytes_on_disk_and_in_a_bucket(place, tmp_path):
    store, contents = place
    plain = Store(tmp_path / "plain")
    for one in (plain, store):
        one.write_samples(samples(name="b"))
        one.write_samples(pd.concat([samples(2.0, name="a"), samples(days=1, metric="errors")]))
        one.write(SCORES, empty(SCORES), "20260601T000000Z")
        one.cover(KEY, Coverage(((0, 5),), ("2026-06-01",)))
        one.write_samples(samples(2.0, name="a", days=2))
    assert contents() == files(tmp_path / "plain")
    assert store.read_samples().equals(plain.read_samples())
    assert store.parts(SCORES) == ["20260601T000000Z"]


def test_spools_are_merged_as_their_rows_would_be(place, tmp_path):
    store, contents = place
    parts = [samples(1.0, days=2), samples(2.0, days=1), samples(3.0, name="other", metric="m")]
    spools = [
        spool(tmp_path / "a.arrows", parts[0].sample(frac=1, random_state=1), parts[1]),
        spool(tmp_path / "b.arrows", parts[2]),
        spool(tmp_path / "none.arrows"),
    ]
    report = store.merge(spools)
    plain = Store(tmp_path / "plain")
    assert plain.write_samples(pd.concat(parts)).rows == report.rows == 576 + 288 + 864
    assert contents() == files(tmp_path / "plain")
    assert report.days == ("2026-06-01", "2026-06-02", "2026-06-03")
    assert (report.duplicates, report.added) == (288, 576 + 864)
    again = store.merge(spools)
    assert (again.added, again.replaced) == (0, report.added)
    assert contents() == files(tmp_path / "plain")
    assert not [f for f in tmp_path.iterdir() if f.name.startswith("tmp")]
    assert store.merge([]).rows == 0


def test_a_damaged_spool_or_day_is_named(place, tmp_path):
    store, contents = place
    (tmp_path / "bad").write_bytes(b"half a spool")
    with pytest.raises(StoreError, match="what was pulled cannot be merged: "):
        store.merge([tmp_path / "bad"])
    assert contents() == {}
    store.write_samples(samples(days=1))
    store._objects.put("samples/date=2026-06-01/samples.parquet", b"damaged")
    with pytest.raises(StoreError, match=r"samples.parquet cannot be merged into.*move the f"):
        store.write_samples(samples(days=1))
    with pytest.raises(StoreError, match=r"06-01/samples.parquet cannot be read.*move the file"):
        store.read_samples()
    assert contents() == {"samples/date=2026-06-01/samples.parquet": b"damaged"}


def test_of_many_open_days_the_damaged_one_is_named(place):
    store, contents = place
    store.write_samples(samples())
    name = "samples/date=2026-06-01/samples.parquet"
    good = contents()[name]
    store._objects.put(name, good[:4] + b"\xff" * 200 + good[204:])  # its footer is whole
    window = (MONDAY, MONDAY + 3 * DAY)
    for read in (
        lambda: store.panel(None, *window, pd.Timedelta("5min")),
        lambda: store.census(*window),
        store.read_samples,
    ):
        with pytest.raises(StoreError, match=r"06-01/samples.parquet cannot be read.*move the f"):
            read()


def test_days_are_opened_side_by_side_where_that_pays(tmp_path):
    two = threading.Barrier(2, timeout=10)

    class Slow(LocalObjects):
        readers = 2

        def open(self, name):
            if name != "store.json":
                two.wait()
            return super().open(name)

    Store(tmp_path).write_samples(samples(days=2))
    store = Store(tmp_path, Slow(tmp_path))
    panel = store.panel(None, MONDAY, MONDAY + 2 * DAY, pd.Timedelta("5min"))
    assert panel is not None
    assert panel.values.shape == (1, 576)


def test_a_panel_is_that_of_the_frame(place):
    store, _ = place
    frame = samples(np.arange(864.0))
    store.write_samples(pd.concat([frame, samples(5.0, metric="m"), samples(7.0, name="b")]))
    window = (MONDAY + DAY / 2, MONDAY + 2.5 * DAY)
    step = pd.Timedelta("5min")
    got = store.panel(["cpu_usage_cores"], *window, step)
    table = store.read_samples(*window, ["cpu_usage_cores"])
    want = Panel.from_frame(table, step=step, start=window[0], end=window[1])
    assert got is not None
    pd.testing.assert_frame_equal(got.keys, want.keys)
    np.testing.assert_array_equal(got.values, want.values)


def test_days_and_the_newest_stamp_are_known(place):
    store, contents = place
    assert store.days() == []
    assert store.newest() is None
    store.write_samples(samples(days=2.25))
    assert [day.date for day in store.days()] == ["2026-06-01", "2026-06-02", "2026-06-03"]
    lengths = [len(b) for f, b in sorted(contents().items())]
    assert [day.size_bytes for day in store.days()] == lengths
    assert store.newest() == MONDAY + 2.25 * DAY - pd.Timedelta("5min")
    assert store.newest(MONDAY + DAY + pd.Timedelta("7min")) == MONDAY + DAY + pd.Timedelta("5min")
    assert store.newest(MONDAY + DAY) == MONDAY + DAY - pd.Timedelta("5min")
    assert store.newest(MONDAY) is None


@pytest.mark.parametrize("ts", [[], ["ts"]])
def test_a_newest_stamp_that_cannot_be_told_is_refused(ts, tmp_path):
    store = Store(tmp_path)
    store.write_samples(samples(days=2))
    other = samples(days=2).astype({"ts": "int64"})[["name", "metric", "value", *ts]]
    other.to_parquet(tmp_path / "samples/date=2026-06-02/samples.parquet")
    with pytest.raises(StoreError, match=r"06-02/samples.parquet cannot be read.*'ts'"):
        store.newest()


def test_documents_lie_beside_the_tables_and_nowhere_else(place):
    store, contents = place
    assert store.get_file("report.html") is None
    store.put_file("report.html", b"<p>")
    store.put_file("plans/20260601T000000Z.json", b"{}")
    store.put_file("report.html", b"")
    assert store.get_file("report.html") == b""
    assert contents() == {"report.html": b"", "plans/20260601T000000Z.json": b"{}"}
    for name in ("", "../x", "/x", "samples/x", "scores/a.parquet", ".x", "a//b", "a\\b", "a\n"):
        with pytest.raises(StoreError, match="is no document's name"):
            store.put_file(name, b"x")
        with pytest.raises(StoreError, match="is no document's name"):
            store.get_file(name)


def test_a_run_is_adopted_from_a_folder_aside(place, tmp_path):
    store, contents = place
    aside = Store(tmp_path / "aside")
    store.write(SCORES, empty(SCORES), "20260601T000000Z-0001")
    aside.write(SCORES, empty(SCORES), "20260601T000000Z")
    paths = store.adopt(SCORES, aside, replacing=["20260601T000000Z-0001"])
    assert list(contents()) == ["scores/20260601T000000Z.parquet"]
    assert paths == [store._objects.where("scores/20260601T000000Z.parquet")]
    assert aside.parts(SCORES) == []


def test_what_was_pulled_is_remembered_by_query(place):
    store, _ = place
    other = type(KEY)("http://there", "b_total", "", "q", 300)
    store.cover(KEY, Coverage(((0, 10), (20, 30)), ("2026-06-01",), 7, 1.5))
    store.cover(KEY, Coverage(((10, 20),), ("2026-06-02", "2026-06-01")))
    assert store.coverage(KEY).spans == ((0, 30),)
    assert store.coverage(KEY).days == ("2026-06-01", "2026-06-02")
    known = store.coverage(KEY)  # who pulled nothing knows nothing newer of what a pull is like
    assert (known.series, known.processed_per_step) == (7, 1.5)
    assert store.coverage(other).spans == ()


def test_a_damaged_coverage_says_what_to_do(place):
    store, _ = place
    store._objects.put(f"samples/_coverage/{KEY.file}", b"{}")
    for act in (lambda: store.coverage(KEY), lambda: store.cover(KEY, Coverage(((0, 1),)))):
        with pytest.raises(StoreError, match=r"\.json cannot be read: .*delete it: its metric"):
            act()


def test_retention_removes_the_old_and_nothing_else(place):
    store, contents = place
    store.write_samples(samples(days=4))
    start = int(MONDAY.timestamp() * 1000)
    days = tuple(d.date for d in store.days())
    store.cover(KEY, Coverage(((start, start + 4 * DAY_MS),), days))
    parts = ["20260601T000000Z", "20260602T115959Z-0001", "20260602T120000Z", "notes"]
    for part in parts:
        store.write(SCORES, empty(SCORES), part)
    store.write(LEDGER, empty(LEDGER), parts[0])
    store.put_file("report.html", b"x")
    before = contents()
    as_of = MONDAY + 3.5 * DAY
    report = store.clean(as_of, 2, [SAMPLES, SCORES])
    assert report.days == ("2026-06-01",)  # the second day ends after the cut
    assert report.parts == ("scores/20260601T000000Z", "scores/20260602T115959Z-0001")
    gone = {"samples/date=2026-06-01/samples.parquet", *(f"{p}.parquet" for p in report.parts)}
    coverage = f"samples/_coverage/{KEY.file}"
    assert {f: b for f, b in contents().items() if f != coverage} == {
        f: b for f, b in before.items() if f not in gone and f != coverage
    }
    left = store.coverage(KEY)
    assert left.spans == ((start + DAY_MS, start + 4 * DAY_MS),)
    assert left.days == ("2026-06-02", "2026-06-03", "2026-06-04")
    there = {d.date for d in store.days()}
    assert missing(left, start + DAY_MS, start + 4 * DAY_MS, 0, there) == ()
    after = contents()
    assert store.clean(as_of, 2, [SAMPLES, SCORES]).days == ()
    assert contents() == after
    with pytest.raises(ValueError, match="keep_days must be at least 1, got 0"):
        store.clean(as_of, 0, [SAMPLES])


@settings(max_examples=15)
@given(
    days=st.sets(st.integers(0, 20), min_size=1, max_size=6),
    keep=st.integers(1, 10),
    now=st.floats(10, 25),
)
def test_exactly_the_days_that_are_over_for_long_enough_go(days, keep, now, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    stamps = [MONDAY + d * DAY for d in sorted(days)]
    store.write_samples(pd.DataFrame({"name": "n", "metric": "m", "ts": stamps, "value": 1.0}))
    as_of = MONDAY + now * DAY
    store.clean(as_of, keep, [SAMPLES])
    left = {pd.Timestamp(day.date, tz="UTC") for day in store.days()}
    assert left == {s for s in stamps if s + DAY > as_of - keep * DAY}
    root = Path(store.root) / "samples"
    assert {f.name for f in root.iterdir() if f.is_dir()} == {f"date={d:%Y-%m-%d}" for d in left}


def test_pandas_and_duckdb_read_the_folder_as_it_lies(tmp_path):
    store = Store(tmp_path)
    store.write_samples(samples())
    store.cover(KEY, Coverage(((0, 1),), ("2026-06-01",)))
    (tmp_path / "samples/date=2026-06-01/.samples.parquet.0a.tmp").write_text("half a fi")
    assert {f.name for f in (tmp_path / "samples").iterdir()} >= {".lock", "_coverage"}
    assert len(pd.read_parquet(tmp_path / "samples")) == 864
    with duckdb.connect() as db:
        found = db.execute(
            "select count(*), min(value), count(distinct name) from read_parquet(?)",
            [f"{tmp_path}/samples/**/*.parquet"],
        ).fetchall()
    assert found == [(864, 1.0, 1)]
