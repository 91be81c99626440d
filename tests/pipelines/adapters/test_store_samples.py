"""Merging a day: the file is a function of its rows, whatever the order and the pieces."""

import gc
import io
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.frames import SAMPLES, FrameError, conform
from pipelines.adapters.store import samples_write
from pipelines.adapters.store.samples import merge_day, millis, read_day, split_days
from pipelines.adapters.store.samples_file import groups_of

DAY = pd.Timestamp("2026-06-01", tz="UTC")
DAY_MS = int(DAY.value) // 10**6
COLUMNS = ("metric", "cluster", "namespace", "kind", "name", "ts")
TEXTS = st.sampled_from(["a", "a-b", "a/b", "", "Z", "é", "\U0001f30a", "%2F", "x\0y"])
KEYS = st.tuples(
    st.sampled_from(["cpu", "mem", "µ"]), TEXTS, TEXTS, st.just("D"), TEXTS, st.integers(0, 40)
)
ROWS = st.lists(st.tuples(KEYS, st.floats(width=64)), max_size=60)


def table(rows) -> pa.Table:
    """A table of ``(metric, cluster, namespace, kind, name, step), value`` in that order."""
    keys = list(zip(*(key for key, _ in rows), strict=True)) or [()] * 6
    columns = dict(zip(COLUMNS, map(list, keys), strict=True))
    stamps = np.array(columns.pop("ts"), np.int64) * 300_000 + DAY_MS
    data = {c: pa.array(v, pa.string()).dictionary_encode() for c, v in columns.items()}
    data["ts"] = pa.array(stamps).cast(SAMPLES.schema.field("ts").type)
    data["value"] = pa.array([v for _, v in rows], pa.float64())
    return conform(pa.table(data), SAMPLES)


def merged(old: bytes | None, *fresh: pa.Table | Path) -> tuple[bytes, object]:
    out = io.BytesIO()
    before = None if old is None else pq.ParquetFile(pa.BufferReader(old))
    counts = merge_day(before, fresh, out)
    return out.getvalue(), counts


def opened(data: bytes) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(data))


def items(samples: pa.Table) -> list:
    """Rows as ``(key, value)``, NaN as text so that it equals itself."""
    step = (millis(samples) - DAY_MS) // 300_000
    labels = [samples[c].to_pylist() for c in COLUMNS[:-1]]
    value = [repr(v) for v in samples["value"].to_pylist()]
    return [(key, v) for *key, v in zip(*labels, step.tolist(), value, strict=True)]


@settings(max_examples=60, deadline=None)
@given(writes=st.lists(ROWS, min_size=1, max_size=4), spooled=st.booleans())
def test_a_day_is_a_sorted_dictionary_of_keys(writes, spooled, tmp_path_factory):
    want: dict = {}
    data = None
    for i, rows in enumerate(writes):
        known, distinct = set(want), {key for key, _ in rows}
        want |= dict(rows)
        fresh = table(rows)
        if spooled:
            path = tmp_path_factory.mktemp("spool") / "rows.arrows"
            with pa.ipc.new_stream(path, fresh.schema) as sink:
                sink.write_table(fresh.slice(0, i))
                sink.write_table(table(rows[i:]))
            fresh = path
        data, counts = merged(data, fresh)
        assert counts.rows == len(rows)
        assert counts.duplicates == len(rows) - len(distinct)
        assert counts.replaced == len(distinct & known)
        assert counts.added == len(distinct - known)
    got = items(read_day(opened(data)))
    assert got == sorted((list(key), repr(v)) for key, v in want.items())


@settings(max_examples=60, deadline=None)
@given(
    rows=st.dictionaries(KEYS, st.floats(allow_nan=False), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=3).map(sorted),
    random=st.randoms(),
)
def test_the_bytes_depend_on_the_rows_alone(rows, cuts, random):
    rows = list(rows.items())
    want, _ = merged(None, table(rows))
    random.shuffle(rows)
    bounds = [0, *cuts, len(rows)]
    pieces = [rows[lo:hi] for lo, hi in pairwise(bounds)]
    together, _ = merged(None, *map(table, pieces))
    assert together == want
    data = None
    for piece in pieces:
        data, _ = merged(data, table(piece))
    assert data == want
    again, _ = merged(data)
    assert again == want
    again, counts = merged(data, table(rows[: len(rows) // 2]))
    assert again == want
    assert counts.added == 0


def block(metric: str, n_series: int, n_steps: int = 288, name: str = "service") -> pa.Table:
    """Dense series, one after the other."""
    step = np.tile(np.arange(n_steps), n_series)
    one = pa.DictionaryArray.from_arrays
    zero = np.zeros(len(step), np.int32)
    columns = {
        "cluster": one(zero, ["prod"]),
        "namespace": one(zero, ["shop"]),
        "kind": one(zero, ["Deployment"]),
        "name": one(
            np.repeat(np.arange(n_series, dtype=np.int32), n_steps),
            [f"{name}-{i:06d}" for i in range(n_series)],
        ),
        "metric": one(zero, [metric]),
        "ts": pa.array(step * 300_000 + DAY_MS).cast(SAMPLES.schema.field("ts").type),
        "value": np.random.default_rng(1).random(len(step)),
    }
    return conform(pa.table(columns), SAMPLES)


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=30), most=st.integers(1, 100))
def test_row_groups_are_cut_between_series(lengths, most):
    cuts = list(samples_write.cuts(np.array(lengths), most))
    assert [first for first, _ in cuts] == [0, *(end for _, end in cuts)][:-1]
    assert cuts[-1][1] == len(lengths)
    for first, end in cuts:
        assert sum(lengths[first:end]) <= most or end == first + 1
        assert end == len(lengths) or sum(lengths[first : end + 1]) > most


def test_row_groups_never_mix_metrics_nor_cut_a_series_and_the_footer_says_the_grid():
    late = block("mem", 3).slice(5)
    data, _ = merged(None, block("cpu", 4000), late)
    file = opened(data)
    groups = groups_of(file)
    assert [(g.metric, g.series, g.dense) for g in groups] == [
        ("cpu", 3472, True),
        ("cpu", 528, True),
        ("mem", 3, False),
    ]
    for i, group in enumerate(groups):
        rows = file.read_row_group(i)
        assert rows["metric"].unique().to_pylist() == [group.metric]
        assert len(rows["name"].unique()) == group.series
        assert len(rows["name"].chunk(0).dictionary) == group.series
        assert (group.first_ms, group.step_ms, group.n_steps) == (DAY_MS, 300_000, 288)


def test_a_series_longer_than_a_row_group_is_cut_alone_and_has_no_grid():
    long = block("fast", 1, 1_000_100)
    data, _ = merged(None, block("fast", 2, name="a"), long)
    groups = groups_of(opened(data))
    assert [(g.series, g.rows) for g in groups] == [(2, 576), (0, 1_000_000), (0, 100)]
    assert len(read_day(opened(data))) == 1_000_676
    assert merged(data, long)[0] == data


def test_a_file_of_another_hand_is_merged_and_read_and_then_is_ours(tmp_path):
    ours, _ = merged(None, block("cpu", 3), block("mem", 2))
    frame = read_day(opened(ours)).to_pandas().sample(frac=1, random_state=1)
    frame.astype(dict.fromkeys(COLUMNS[:-1], "str")).to_parquet(tmp_path / "f.parquet", index=False)
    foreign = pq.ParquetFile(tmp_path / "f.parquet")
    assert groups_of(foreign) is None
    assert sorted(items(read_day(foreign, metrics=["mem"]))) == items(
        read_day(opened(ours), metrics=["mem"])
    )
    again, counts = merged((tmp_path / "f.parquet").read_bytes(), block("cpu", 1))
    assert again == merged(ours, block("cpu", 1))[0]
    assert (counts.replaced, counts.added) == (288, 0)


def test_who_rewrites_a_file_in_another_order_does_not_keep_its_footer():
    data, _ = merged(None, block("cpu", 3))
    rows = read_day(opened(data))
    kept = pq.ParquetFile(pa.BufferReader(data)).read()
    assert b"foretide.grid" in kept.schema.metadata  # pyarrow takes it along
    sink = io.BytesIO()
    pq.write_table(kept.sort_by("ts"), sink)
    assert groups_of(opened(sink.getvalue())) is None
    assert sorted(items(read_day(opened(sink.getvalue())))) == items(rows)


def test_a_merge_that_breaks_leaves_nothing_that_writes_later(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    ours, _ = merged(None, block("cpu", 300))
    old = opened(ours[:4] + b"\xff" * 36 + ours[40:])
    with pytest.raises(OSError, match="header"), (tmp_path / "half").open("wb") as out:
        merge_day(old, [block("cpu", 1)], out)
    gc.collect()
    assert said == []


def test_another_table_is_refused():
    sink = io.BytesIO()
    other = {b"foretide.table": b"scores", b"foretide.version": b"1"}
    pq.write_table(block("cpu", 1).replace_schema_metadata(other), sink)
    with pytest.raises(FrameError, match="expected a samples table, got a scores table"):
        merged(sink.getvalue(), block("cpu", 1))


@pytest.mark.parametrize("foreign", [False, True])
def test_what_is_not_wanted_is_not_read(foreign):
    data, _ = merged(None, block("cpu", 2), block("mem", 2), block("net", 2))
    if foreign:
        sink = io.BytesIO()
        pq.write_table(opened(data).read().replace_schema_metadata(None), sink, row_group_size=576)
        data = sink.getvalue()
    whole = read_day(opened(data))
    # bytes of the other metrics' row groups are gone: whoever reads them fails
    meta = opened(data).metadata
    holes = bytearray(data)
    for i in (0, 2):
        group = meta.row_group(i)
        begin = group.column(0).dictionary_page_offset or group.column(0).data_page_offset
        size = sum(group.column(c).total_compressed_size for c in range(group.num_columns))
        holes[begin : begin + size] = b"\xff" * size
    got = read_day(opened(bytes(holes)), metrics=["mem"])
    assert items(got) == items(whole.slice(576, 576))
    with pytest.raises(OSError, match=r"."):
        read_day(opened(bytes(holes)), metrics=["cpu"])


@settings(max_examples=30, deadline=None)
@given(lo=st.integers(-5, 45), hi=st.integers(-5, 45), rows=ROWS)
def test_a_window_is_half_open(lo, hi, rows):
    data, _ = merged(None, table(rows))
    got = items(read_day(opened(data), DAY_MS + lo * 300_000, DAY_MS + hi * 300_000, ["cpu", "q"]))
    whole = items(read_day(opened(data)))
    assert got == [row for row in whole if lo <= row[0][5] < hi and row[0][0] == "cpu"]


@settings(max_examples=40, deadline=None)
@given(days=st.lists(st.integers(-2, 3), max_size=30))
def test_days_are_split_and_rows_keep_their_order(days):
    stamps = DAY_MS + np.array(days, np.int64) * 86_400_000
    rows = table([(("m", "c", "n", "k", "w", 0), float(i)) for i in range(len(days))])
    at = SAMPLES.schema.get_field_index("ts")
    rows = rows.set_column(at, rows.schema.field(at), pa.array(stamps).cast(rows.schema[at].type))
    got = {start: part["value"].to_pylist() for start, part in split_days(rows)}
    want: dict = {}
    for i, stamp in enumerate(stamps.tolist()):
        want.setdefault(stamp, []).append(float(i))
    assert got == want
    assert list(got) == sorted(got)


def test_empty_days_can_be_written_and_read():
    data, counts = merged(None)
    assert (counts.rows, len(read_day(opened(data)))) == (0, 0)
    assert read_day(opened(data)).schema.equals(SAMPLES.schema)
    assert groups_of(opened(data)) == []


def test_null_values_are_stored_as_nan():
    rows = table([(("m", "c", "n", "k", "w", i), None if i else 1.0) for i in range(3)])
    value = read_day(opened(merged(None, rows)[0]))["value"]
    assert value.null_count == 0
    assert np.isnan(value.to_numpy()).tolist() == [False, True, True]


def test_memory_is_that_of_a_metric_and_not_of_the_day(tmp_path):
    """Ten times the metrics, and the merge holds no more."""

    def peak(n_metrics: int) -> int:
        spools = []
        for i in range(n_metrics):
            spools.append(tmp_path / f"{n_metrics}-{i}.arrows")
            rows = block(f"metric_{i:02d}", 200)
            with pa.ipc.new_stream(spools[-1], rows.schema) as sink:
                sink.write_table(rows)
        with (tmp_path / "old").open("wb") as out:
            merge_day(None, spools, out)
        with pq.ParquetFile(tmp_path / "old") as old, (tmp_path / "new").open("wb") as out:
            usual = pa.default_memory_pool()
            pool = pa.proxy_memory_pool(usual)
            pa.set_memory_pool(pool)
            tracemalloc.start()
            try:
                merge_day(old, spools[::2], out)
                python = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
                pa.set_memory_pool(usual)
        assert (tmp_path / "new").read_bytes() == (tmp_path / "old").read_bytes()
        return python + pool.max_memory()

    few, many = peak(2), peak(20)
    assert many < 1.5 * few


def test_pandas_and_duckdb_read_the_folder_with_no_help(tmp_path):
    for day in ("2026-06-01", "2026-06-02"):
        place = tmp_path / f"date={day}"
        place.mkdir()
        shift = pd.Timestamp(day, tz="UTC") - DAY
        frame = block("cpu", 2).to_pandas()
        with (place / "samples.parquet").open("wb") as out:
            rows = conform(frame.assign(ts=frame["ts"] + shift), SAMPLES)
            merge_day(None, [rows, block("mem", 1).slice(0, 0)], out)
    frame = pd.read_parquet(tmp_path)
    assert list(frame.columns) == [*SAMPLES.schema.names, "date"]
    assert len(frame) == 2 * 2 * 288
    assert str(frame["ts"].dtype) == "datetime64[ms, UTC]"
    query = """select metric, count(*), min(epoch_ms(ts)), sum(value), count(distinct name)
        from read_parquet(?) where date = '2026-06-02' group by metric"""
    with duckdb.connect() as db:
        (row,) = db.execute(query, [f"{tmp_path}/*/*.parquet"]).fetchall()
        described = db.execute("describe from read_parquet(?)", [f"{tmp_path}/*/*.parquet"])
        types = dict(column[:2] for column in described.fetchall())
    total = frame.loc[frame["date"] == "2026-06-02", "value"].sum()
    assert row[:3] == ("cpu", 576, DAY_MS + 86_400_000)
    assert (row[3], row[4]) == (pytest.approx(total), 2)
    assert types == {
        **dict.fromkeys(("cluster", "namespace", "kind", "name", "metric"), "VARCHAR"),
        "ts": "TIMESTAMP WITH TIME ZONE",
        "value": "DOUBLE",
        "date": "DATE",
    }
