import string
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.frames import FORECASTS, SAMPLES, SCORES, conform
from pipelines.adapters.store import Store
from pipelines.errors import StoreError

MONDAY = pd.Timestamp("2026-06-01", tz="UTC")


def samples(
    value: float = 1.0, name: str = "checkout", periods: int = 600, **columns
) -> pd.DataFrame:
    """600 steps of 5 minutes from Monday: three UTC days."""
    ts = pd.date_range(MONDAY, periods=periods, freq="5min")
    rows = {"name": name, "metric": "cpu_usage_cores", "ts": ts, "value": value}
    return pd.DataFrame(rows | columns)


def forecasts(q50: float, issued_at: str = "2026-06-01", **extra: float) -> pa.Table:
    text = dict.fromkeys(("model", "confidence", "model_version", "run_id"), "x")
    at = pd.Timestamp(issued_at, tz="UTC")
    row = {"workload": "a/b/c/d", "metric": "m", "issued_at": at, "ts": at, "valid_until": at}
    quantiles = dict.fromkeys(("q05", "q50", "q90", "q95", "q99"), q50)
    return conform(pd.DataFrame([row | text | quantiles | extra]), FORECASTS)


def contents(root: Path) -> dict[str, bytes]:
    """Every file, but for the locks of writers."""
    files = (f for f in root.rglob("*") if f.is_file() and f.name != ".lock")
    return {str(f.relative_to(root)): f.read_bytes() for f in files}


def rows(table: pa.Table) -> list[dict]:
    return table.to_pylist()


def test_samples_lie_in_one_file_a_utc_day(tmp_path):
    report = Store(tmp_path).write_samples(samples())
    assert sorted(contents(tmp_path)) == [
        f"samples/date=2026-06-0{day}/samples.parquet" for day in (1, 2, 3)
    ]
    assert (report.rows, report.added, report.replaced, report.duplicates) == (600, 600, 0, 0)
    assert len(report.files) == 3


def test_what_was_written_is_read_back(tmp_path):
    store = Store(tmp_path)
    written = conform(samples(value=np.arange(600.0)), SAMPLES)
    store.write_samples(written)
    assert rows(store.read_samples()) == rows(written)
    assert store.read_samples().schema.equals(SAMPLES.schema)


def test_a_second_write_of_the_same_changes_no_byte(tmp_path):
    store = Store(tmp_path)
    table = pd.concat([samples(name="b"), samples(name="a"), samples(name="c", metric="errors")])
    store.write_samples(table)
    before = contents(tmp_path)
    report = store.write_samples(table.sample(frac=1, random_state=1))
    assert contents(tmp_path) == before
    assert (report.added, report.replaced) == (0, len(table))


def test_bytes_do_not_depend_on_the_order_of_writes(tmp_path):
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    a, b = samples(name="a"), samples(name="b")
    one.write_samples(pd.concat([a, b]))
    two.write_samples(b)
    two.write_samples(a)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_latest_write_of_a_key_wins_and_the_rest_stays(tmp_path):
    store = Store(tmp_path)
    store.write_samples(pd.concat([samples(1.0), samples(5.0, name="other")]))
    report = store.write_samples(pd.concat([samples(2.0, periods=10), samples(3.0, periods=10)]))
    assert (report.rows, report.duplicates, report.replaced, report.added) == (20, 10, 10, 0)
    frame = store.read_samples().to_pandas()
    mine = frame[frame["name"] == "checkout"].sort_values("ts")["value"].tolist()
    assert mine == [3.0] * 10 + [1.0] * 590
    assert set(frame[frame["name"] == "other"]["value"]) == {5.0}


KEYS = st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 700))


@settings(max_examples=25)
@given(
    writes=st.lists(st.dictionaries(KEYS, st.integers(0, 9), min_size=1), min_size=1, max_size=4)
)
def test_the_store_is_a_dictionary_of_keys(writes, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    want: dict[tuple[str, str, int], int] = {}
    for write in writes:
        want |= write
        store.write_samples(
            pd.DataFrame(
                [
                    {
                        "name": n,
                        "metric": m,
                        "ts": MONDAY + i * pd.Timedelta("5min"),
                        "value": float(v),
                    }
                    for (n, m, i), v in write.items()
                ]
            )
        )
    got = [
        (r["name"], r["metric"], (r["ts"] - MONDAY) // pd.Timedelta("5min"), r["value"])
        for r in rows(store.read_samples())
    ]
    assert sorted(got) == sorted((*k, v) for k, v in want.items())
    by_day = [(i // 288, m, n, i) for n, m, i, _ in got]
    assert by_day == sorted(by_day)


def test_a_window_is_half_open_and_opens_only_its_days(tmp_path):
    store = Store(tmp_path)
    store.write_samples(samples())
    start, end = MONDAY + pd.Timedelta("23h50min"), MONDAY + pd.Timedelta("24h10min")
    (tmp_path / "samples/date=2026-06-03/samples.parquet").write_text(
        "damaged, and out of the window"
    )
    got = pd.to_datetime(store.read_samples(start, end).column("ts").to_pandas())
    assert list(got) == list(pd.date_range(start, end, freq="5min", inclusive="left"))
    with pytest.raises(StoreError, match=r"date=2026-06-03.samples.parquet cannot be read"):
        store.read_samples()


def test_metrics_are_chosen_and_nothing_found_is_an_empty_table(tmp_path):
    store = Store(tmp_path)
    store.write_samples(pd.concat([samples(), samples(metric="replicas")]))
    assert store.read_samples(metrics=["replicas"]).column("metric").unique().to_pylist() == [
        "replicas"
    ]
    for none in (
        store.read_samples(metrics=["unheard_of"]),
        store.read_samples(start=MONDAY + pd.Timedelta(days=400)),
    ):
        assert len(none) == 0
        assert none.schema.equals(SAMPLES.schema)


def test_a_missing_value_is_stored_as_nan(tmp_path):
    store = Store(tmp_path)
    store.write_samples(samples(value=pd.array([None, 1.0] * 300, dtype="Float64")))
    value = store.read_samples().column("value")
    assert value.null_count == 0
    assert np.isnan(value.to_numpy()).sum() == 300


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/", "date=2026-01-01", "a b\n", "ü\u202e", "%2F"]
)
def test_hostile_labels_are_data_and_never_paths(tmp_path, name):
    store = Store(tmp_path / "store")
    store.write_samples(samples(name=name, namespace=name, periods=2))
    assert set(contents(tmp_path)) == {"store/samples/date=2026-06-01/samples.parquet"}
    assert rows(store.read_samples())[0]["name"] == name


def test_pandas_reads_a_day_as_it_stands(tmp_path):
    Store(tmp_path).write_samples(samples())
    frame = pd.read_parquet(tmp_path / "samples/date=2026-06-01/samples.parquet")
    assert list(frame.columns) == SAMPLES.schema.names
    assert len(frame) == 288
    whole = pd.read_parquet(tmp_path / "samples")
    assert len(whole) == 600


def test_what_a_crash_leaves_behind_is_not_read(tmp_path):
    store = Store(tmp_path)
    store.write_samples(samples())
    store.write(FORECASTS, forecasts(1.0), "20260601T000000Z")
    (tmp_path / "samples/date=2026-06-01/.samples.parquet.0a.tmp").write_text("half a fi")
    (tmp_path / "samples/date=2026-06-09").mkdir()
    (tmp_path / "samples/date=2026-06-09/.samples.parquet.0b.tmp").write_text("half a fi")
    (tmp_path / "forecasts/.20260608T000000Z.parquet.0c.tmp").write_text("half a fi")
    assert len(store.read_samples()) == 600
    assert store.parts(FORECASTS) == ["20260601T000000Z"]
    assert len(store.read(FORECASTS)) == 1
    store.write_samples(samples(2.0))
    assert set(store.read_samples().column("value").to_pylist()) == {2.0}


def test_a_refused_write_leaves_the_old_table_and_no_litter(tmp_path):
    store = Store(tmp_path)
    store.write(FORECASTS, forecasts(1.0), "a")
    before = contents(tmp_path)
    with pytest.raises(StoreError, match="forecasts: column 'q50' is missing"):
        store.write(FORECASTS, forecasts(2.0).drop_columns(["q50"]), "a")
    assert contents(tmp_path) == before


def test_a_run_is_replaced_when_repeated_and_runs_are_ordered(tmp_path):
    store = Store(tmp_path)
    for part, q50 in [
        ("20260608T000000Z", 2.0),
        ("20260601T000000Z", 0.0),
        ("20260601T000000Z", 1.0),
    ]:
        store.write(FORECASTS, forecasts(q50), part)
    assert store.parts(FORECASTS) == ["20260601T000000Z", "20260608T000000Z"]
    assert store.read(FORECASTS).column("q50").to_pylist() == [1.0, 2.0]
    assert store.read(FORECASTS, latest=True).column("q50").to_pylist() == [2.0]
    assert store.read(FORECASTS, "20260601T000000Z").column("q50").to_pylist() == [1.0]


def test_runs_with_other_quantiles_are_read_together(tmp_path):
    store = Store(tmp_path)
    store.write(FORECASTS, forecasts(1.0), "1")
    store.write(FORECASTS, forecasts(2.0, q975=3.0), "2")
    assert store.read(FORECASTS).column("q975").to_pylist() == [None, 3.0]


@pytest.mark.parametrize("part", ["", "..", ".hidden", "a/b", "a\\b", "a\n", "x" * 101, "é"])
def test_a_part_that_is_no_plain_name_is_refused(tmp_path, part):
    with pytest.raises(StoreError, match="is no part name"):
        Store(tmp_path).write(FORECASTS, forecasts(1.0), part)
    assert contents(tmp_path) == {}


@settings(max_examples=20)
@given(part=st.text(string.ascii_letters + string.digits + "._-", max_size=20).map("r".__add__))
def test_every_part_that_was_written_is_listed(part, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    store.write(FORECASTS, forecasts(1.0), part)
    assert store.parts(FORECASTS) == [part]
    assert len(store.read(FORECASTS, part)) == 1


def test_what_is_missing_is_said_with_what_to_run(tmp_path):
    store = Store(tmp_path / "nowhere")
    with pytest.raises(StoreError, match=r"no samples in .*nowhere; run `foretide ingest` first"):
        store.read_samples()
    with pytest.raises(StoreError, match=r"no scores in .*; run `foretide score` first"):
        store.read(SCORES)
    store.write(FORECASTS, forecasts(1.0), "a")
    with pytest.raises(StoreError, match="no forecasts of run b"):
        store.read(FORECASTS, "b")
    assert store.parts(SCORES) == []


def test_tables_of_another_kind_version_or_no_table_are_named(tmp_path):
    store = Store(tmp_path)
    path = Path(store.write(FORECASTS, forecasts(1.0), "a"))
    (tmp_path / "scores").mkdir()
    path.rename(tmp_path / "scores/a.parquet")
    with pytest.raises(StoreError, match=r"a.parquet cannot be read: expected a scores table"):
        store.read(SCORES)
    with pytest.raises(StoreError, match="use write_samples"):
        store.write(SAMPLES, samples(), "a")
    with pytest.raises(StoreError, match="no store's address"):
        Store("nonsense://bucket")


def test_a_file_uri_is_the_same_store(tmp_path):
    Store(tmp_path).write_samples(samples())
    assert len(Store(f"file://{tmp_path}").read_samples()) == 600


@given(
    names=st.lists(st.sampled_from(["a/b/c/d", "a/b/c/e", "x'] or true", ""]), max_size=9),
    size=st.integers(1, 4),
)
@settings(max_examples=20)
def test_rows_of_one_workload_are_those_that_name_it_whatever_the_row_groups(names, size):
    whole = pa.concat_tables([forecasts(0.0).slice(0, 0), *(forecasts(1.0 * i) for i in range(9))])
    plain = whole.slice(0, len(names)).to_pandas().assign(workload=pd.Series(names, dtype=str))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        file = store.write(FORECASTS, plain, "20260601T000000Z")
        pq.write_table(pq.read_table(file), file, row_group_size=size)
        for name in (*sorted(set(names)), "a/b/c", "nobody"):
            found = store.read(FORECASTS, part="20260601T000000Z", workload=name)
            assert found.schema == whole.schema
            assert found["q50"].to_pylist() == [1.0 * i for i, n in enumerate(names) if n == name]


def test_a_damaged_row_group_is_named_where_one_workload_is_read(tmp_path):
    store = Store(tmp_path)
    file = Path(store.write(FORECASTS, forecasts(1.0), "20260601T000000Z"))
    data = bytearray(file.read_bytes())
    data[4:400] = b"\xff" * 396
    file.write_bytes(data)
    with pytest.raises(StoreError, match=r"20260601T000000Z\.parquet"):
        store.read(FORECASTS, part="20260601T000000Z", workload="a/b/c/d")
