from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.frames import BACKTEST, SAMPLES
from pipelines.adapters.files import read_samples
from pipelines.errors import InputError

pytestmark = pytest.mark.filterwarnings(
    # pyarrow 25 under pandas' own to_parquet
    "ignore:Series.values returning:pandas.errors.Pandas4Warning"
)


def frame(**columns: object) -> pd.DataFrame:
    ts = pd.date_range("2026-06-01", periods=3, freq="5min", tz="UTC")
    rows = {"name": "checkout", "metric": "cpu_usage_cores", "ts": ts, "value": [1.0, 2.0, 3.0]}
    return pd.DataFrame(rows | columns)


def csv(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "samples.csv"
    file.write_text(text)
    return file


def test_parquet_and_csv_of_the_same_rows_are_the_same_table(tmp_path):
    rows = frame(cluster="prod", namespace="shop", kind="Deployment")
    rows.to_parquet(tmp_path / "a.parquet")
    rows.to_csv(tmp_path / "b.csv", index=False)
    rows.to_csv(tmp_path / "c.csv.gz")  # with row numbers, as pandas does by default
    parquet, plain, packed = (
        read_samples([tmp_path / f]) for f in ("a.parquet", "b.csv", "c.csv.gz")
    )
    assert parquet.schema.equals(SAMPLES.schema)
    assert parquet.to_pylist() == plain.to_pylist() == packed.to_pylist()


def test_left_out_parts_of_the_workload_get_the_defaults(tmp_path):
    frame().to_parquet(tmp_path / "a.parquet")
    row = read_samples([tmp_path / "a.parquet"]).to_pylist()[0]
    assert (row["cluster"], row["namespace"], row["kind"]) == ("default", "default", "Workload")


def test_a_directory_is_its_files_in_order_without_hidden_ones(tmp_path):
    frame(name="b").to_parquet(tmp_path / "2.parquet")
    frame(name="a").to_csv(tmp_path / "1.csv", index=False)
    (tmp_path / ".hidden.parquet").write_text("left over")
    (tmp_path / "date=2026-06-02").mkdir()
    frame(name="c").to_parquet(tmp_path / "date=2026-06-02" / "samples.parquet")
    assert read_samples([tmp_path]).column("name").unique().to_pylist() == ["a", "b", "c"]


def test_stamps_of_any_zone_become_utc(tmp_path):
    file = csv(
        tmp_path,
        "name,metric,ts,value\n"
        "a,m,2026-06-01T02:00:00+02:00,1\n"
        "a,m,2026-06-01 00:05:00Z,2\n"
        "a,m,2026-05-31T20:10:00.123456-0400,3\n",
    )
    stamps = pd.to_datetime(read_samples([file]).column("ts").to_pandas())
    want = ["2026-06-01T00:00Z", "2026-06-01T00:05Z", "2026-06-01T00:10:00.123Z"]
    assert list(stamps) == [pd.Timestamp(t) for t in want]


def test_rows_that_a_panel_must_count_are_kept(tmp_path):
    file = csv(
        tmp_path,
        "name,metric,ts,value\n"
        + "".join(
            f"a,m,2026-06-01T00:{minute}:00Z,{value}\n"
            for minute, value in [
                ("10", "1"),
                ("05", "NaN"),
                ("05", "+Inf"),
                ("10", "-inf"),
                ("00", ""),
            ]
        ),
    )
    value = read_samples([file]).column("value")
    assert value.null_count == 0
    np.testing.assert_array_equal(value.to_numpy(), [1, np.nan, np.inf, -np.inf, np.nan])


@settings(max_examples=50)
@given(name=st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1))
def test_any_label_is_data(name, tmp_path_factory):
    file = tmp_path_factory.mktemp("labels") / "a.csv"
    frame(name=name).to_csv(file, index=False)
    assert set(read_samples([file]).column("name").to_pylist()) == {name}


HEAD = "name,metric,ts,value\n"
ROW = "a,m,2026-06-01T00:00:00Z,1\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (HEAD, "no row"),
        ("name,metric,ts\na,m,2026-06-01T00:00:00Z\n", "'value' is missing"),
        (
            "name;metric;ts;value\na;m;2026-06-01T00:00:00Z;1\n",
            "unknown column 'name;metric;ts;value'",
        ),
        (
            HEAD + "a,m,2026-06-01T00:00:00,1\n",
            "'ts' has '2026-06-01T00:00:00'.*time zone.*add the zone",
        ),
        (HEAD + "a,m,1780272000,1\n", "'ts'.*ISO-8601"),
        (HEAD + "a,m,2026-13-41T00:00:00Z,1\n", "'ts'.*ISO-8601"),
        (HEAD + ROW + "a,m,2026-06-01T00:00:00Z,fast\n", "'value' of data row 2 has 'fast'"),
        (HEAD + ROW + "a,m\n", "cannot be read"),
        (HEAD + ",m,2026-06-01T00:00:00Z,1\n", "'name' has empty values"),
        ("pod," + HEAD + "p," + ROW, "unknown column 'pod'"),
        (HEAD + "a,m,2026-06-01T00:00:00Z,NaN\n", "none of the 1 samples"),
    ],
)
def test_a_broken_csv_is_named_with_what_is_wrong(tmp_path, text, said):
    file = csv(tmp_path, text)
    with pytest.raises(InputError, match=said) as error:
        read_samples([file])
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (frame(ts=pd.date_range("2026-06-01", periods=3)), "'ts' has no time zone"),
        (frame(ts=["today"] * 3), "'ts' must be a UTC timestamp"),
        (frame(value=["low", "mid", "high"]), "'value' must be double"),
        (frame(name=[1, 2, 3]), "'name' must hold text"),
        (frame(name=["a", None, "b"]), "'name' has 1 empty values"),
        (frame().drop(columns="metric"), "'metric' is missing"),
    ],
)
def test_a_broken_parquet_is_named_with_what_is_wrong(tmp_path, rows, said):
    rows.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=said) as error:
        read_samples([tmp_path / "a.parquet"])
    assert "a.parquet" in str(error.value)


def test_what_is_no_samples_file_is_refused(tmp_path):
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and then nothing")
    (tmp_path / "notes.md").write_text("hello")
    (tmp_path / "bytes.csv").write_bytes(
        b"name,metric,ts,value\n\xff\xfe,m,2026-06-01T00:00:00Z,1\n"
    )
    (tmp_path / "folder").mkdir()
    frame().to_parquet(tmp_path / "other.parquet")
    table = read_samples([tmp_path / "other.parquet"]).replace_schema_metadata(BACKTEST.metadata())
    pq.write_table(table, tmp_path / "other.parquet")
    for name, said in {
        "cut.parquet": "cannot be read",
        "notes.md": "expected a file ending in",
        "bytes.csv": "cannot be read",
        "folder": "holds no file",
        "absent.csv": "no such file",
        "other.parquet": "expected a samples table, got a backtest table",
    }.items():
        with pytest.raises(InputError, match=said) as error:
            read_samples([str(tmp_path / name)])
        assert name in str(error.value)
    with pytest.raises(InputError, match="no input file"):
        read_samples([])
