"""What is in files is a source like any other: the contract, for every kind of file and place."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.config import Config
from files_harness import FilesHarness, bucket, sorted_by, write
from moto.core import set_initial_no_auth_action_count
from source_contract import END, START, STEP, OverTheNetwork, SourceContract, keyed, truth, window

from features.frames import SAMPLES, conform
from features.metrics import Metric
from pipelines.adapters.files import EVERYTHING, FilesParams, FilesSource, read_samples
from pipelines.adapters.source import Chunk, FetchReport, Source, Spec, Window
from pipelines.errors import AccessDenied, InputError, SourceUnreachable

ALL = Spec(Metric(EVERYTHING))


@pytest.fixture(scope="module")
def s3() -> Iterator[Callable[[], Any]]:
    with bucket("metrics") as client:
        yield client


class TestParquet(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, tmp_path_factory) -> FilesHarness:
        where = tmp_path_factory.mktemp("parquet") / "samples.parquet"
        return FilesHarness(lambda samples: str(write(samples, where)))


class TestCsv(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, tmp_path_factory) -> FilesHarness:
        where = tmp_path_factory.mktemp("csv") / "samples.csv"
        return FilesHarness(lambda samples: str(write(samples, where)))


class TestOpenMetrics(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, tmp_path_factory) -> FilesHarness:
        where = tmp_path_factory.mktemp("om") / "samples.om"
        return FilesHarness(lambda samples: str(write(samples, where)), rows_at_once=10_000)


class TestDirectory(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, tmp_path_factory) -> FilesHarness:
        root = tmp_path_factory.mktemp("directory")

        def fill(samples: pa.Table) -> str:
            for at, (name, part) in enumerate(by_day(samples)):
                write(part, root / name / f"samples{('.parquet', '.csv.gz', '.prom')[at]}")
            write(samples, root / "_temporary" / "samples.parquet")
            write(samples, root / ".samples.parquet")
            return str(root)

        return FilesHarness(fill)


class TestS3(SourceContract, OverTheNetwork):
    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, tmp_path_factory, s3) -> FilesHarness:
        root = tmp_path_factory.mktemp("s3")

        def fill(samples: pa.Table) -> str:
            for name, part in by_day(samples):
                file = write(part, root / f"{name}.parquet")
                s3().upload_file(str(file), "metrics", f"cold/{name}/samples.parquet")
            s3().upload_file(str(file), "metrics", "colder/samples.parquet")
            return "s3://metrics/cold"

        silent = FilesSource(["s3://metrics/cold"], cluster="prod", s3_client=nobody)
        return FilesHarness(fill, s3_client=s3, silent=silent)


def nobody() -> Any:
    return boto3.client(
        "s3",
        endpoint_url="http://127.0.0.1:1",
        region_name="eu-central-1",
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key="not-a-secret",  # noqa: S106
        config=Config(retries={"total_max_attempts": 1}),
    )


def by_day(samples: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    days = pa.compute.floor_temporal(samples["ts"], unit="day")
    for day in sorted(days.unique().to_pylist()):
        yield f"date={day:%Y-%m-%d}", samples.filter(pa.compute.equal(days, day))


def rows(**columns: object) -> pa.Table:
    frame = {"namespace": "shop", "kind": "Deployment", "name": "a", "metric": "m"} | columns
    return conform(pd.DataFrame(frame), SAMPLES)


def fetched(source: Source, spec: Spec, asked: Window) -> tuple[list[Chunk], FetchReport]:
    chunks = list(source.fetch(spec, asked))
    return chunks, sum((c.report for c in chunks), FetchReport())


@pytest.mark.parametrize(
    ("suffix", "at_once"),
    [(".parquet", 500), (".parquet", 10**6), (".csv", 2000), (".om", 10**6), (".prom.gz", 10**6)],
)
def test_everything_is_all_metrics_in_one_pass(tmp_path, suffix, at_once):
    samples = truth()
    file = write(samples, tmp_path / f"all{suffix}")
    source = FilesSource([file], cluster="x", params=FilesParams(max_rows_per_chunk=at_once))
    chunks, report = fetched(source, ALL, window())
    got = keyed(pa.concat_tables([c.samples for c in chunks]))
    pd.testing.assert_series_equal(got, keyed(samples), rtol=0)
    assert (report.series, report.samples) == (6, len(samples))
    assert len(chunks) > 1 or at_once == 10**6
    assert max(len(c.samples) for c in chunks) <= 2 * at_once
    estimate = source.estimate(ALL, window())
    assert (estimate.series, estimate.samples) == (6, len(samples))


def test_everything_keeps_stamps_and_one_metric_goes_to_the_grid(tmp_path):
    ts = START + pd.to_timedelta([1, 2, 301, 601], "s")
    file = write(rows(ts=ts, value=[1.0, 2.0, 3.0, np.nan]), tmp_path / "a.parquet")
    source = FilesSource([file], cluster="prod")
    (raw,), report = fetched(source, ALL, window())
    assert raw.samples["ts"].to_pandas().tolist() == list(ts[:3])
    assert (report.off_grid, report.duplicates, report.dropped_not_finite) == (0, 0, 1)
    assert raw.window == window()
    (grid,), report = fetched(source, Spec(Metric("m")), window())
    assert grid.samples["ts"].to_pandas().tolist() == [START, START + STEP]
    assert grid.samples["value"].to_pylist() == [2.0, 3.0]
    assert (report.off_grid, report.duplicates, report.dropped_not_finite) == (3, 1, 1)


def test_rows_without_a_cluster_have_the_sources(tmp_path):
    table = rows(ts=[START], value=[1.0])
    write(table.drop_columns(["cluster"]), tmp_path / "a.parquet")
    write(table.drop_columns(["cluster"]), tmp_path / "b.csv")
    (tmp_path / "c.om").write_text(
        f'm{{name="a",kind="Deployment",namespace="shop"}} 1.0 {START.timestamp()}\n# EOF\n'
    )
    for name in ("a.parquet", "b.csv", "c.om"):
        source = FilesSource([tmp_path / name], cluster="edge")
        for select in ({}, {"cluster": ("edge", "prod")}):
            (chunk,), _ = fetched(source, Spec(Metric("m"), select), window())
            assert chunk.samples["cluster"].to_pylist() == ["edge"]
        (chunk,), _ = fetched(source, Spec(Metric("m"), {"cluster": ("prod",)}), window())
        assert len(chunk.samples) == 0


def test_row_groups_that_cannot_have_it_are_not_read(tmp_path):
    samples = sorted_by(truth(), "metric", "ts")
    file = write(samples, tmp_path / "a.parquet")
    broken = bytearray(file.read_bytes())
    groups = pq.ParquetFile(file).metadata
    # the pages of all row groups but those of the first metric are made unreadable
    last = max(
        g
        for g in range(groups.num_row_groups)
        if groups.row_group(g).column(4).statistics.min == "cpu_usage_cores"
    )
    begin = groups.row_group(last + 1).column(0).dictionary_page_offset
    end = len(broken) - 8 - int.from_bytes(broken[-8:-4], "little")
    broken[begin:end] = bytes(end - begin)
    file.write_bytes(broken)
    source = FilesSource([file], cluster="prod")
    _, report = fetched(source, Spec(Metric("cpu_usage_cores")), window())
    assert report.samples == len(samples) // 2
    with pytest.raises(InputError, match="cannot be read"):
        fetched(source, Spec(Metric("requests_per_second")), window())


def test_a_metric_that_ends_inside_a_step_is_whole(tmp_path):
    ts = [START + STEP, START + STEP + pd.Timedelta("200s")]
    file = write(rows(ts=ts, value=[1.0, 2.0]), tmp_path / "a.parquet")
    asked = Window.of(START, START + STEP + pd.Timedelta("100s"), STEP)
    (chunk,), _ = fetched(FilesSource([file], cluster="prod"), Spec(Metric("m")), asked)
    assert chunk.samples["value"].to_pylist() == [2.0]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("s3://absent/x", "no such bucket"),
        ("s3://metrics/absent", "no such object"),
        ("s3://metrics/notes.md", "expected a file ending in"),
        ("s3://metrics/docs", "holds no file"),
        ("s3://", "expected s3://BUCKET"),
        ("s3://metrics/empty.csv", "the file is empty"),
    ],
)
def test_what_is_wrong_in_s3_is_said(s3, path, said):
    for key in ("notes.md", "docs/notes.md", "empty.csv"):
        s3().put_object(Bucket="metrics", Key=key, Body=b"")
    for ask in (
        lambda: read_samples([path], s3_client=s3),
        lambda: list(FilesSource([path], cluster="c", s3_client=s3).fetch(ALL, window())),
    ):
        with pytest.raises(InputError, match=said) as error:
            ask()
        assert path in str(error.value)
        assert "\n" not in str(error.value)


def test_one_object_and_every_kind_of_file_is_read_from_s3(s3, tmp_path):
    samples = truth()
    for suffix in (".parquet", ".csv", ".csv.gz", ".om", ".prom.gz"):
        file = write(samples, tmp_path / f"all{suffix}")
        s3().upload_file(str(file), "metrics", f"one/by/one{suffix}")
        got = read_samples([f"s3://metrics/one/by/one{suffix}"], s3_client=s3)
        pd.testing.assert_series_equal(keyed(got), keyed(samples), rtol=0)


def test_boto3_finds_endpoint_and_credentials_by_itself(s3, tmp_path, monkeypatch):
    file = write(truth(), tmp_path / "a.parquet")
    s3().upload_file(str(file), "metrics", "own/a.parquet")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3().meta.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert len(read_samples(["s3://metrics/own"])) == len(truth())


def test_s3_without_permission_is_one_clear_line(s3):
    ask = set_initial_no_auth_action_count(0)(read_samples)
    with (
        pytest.raises(
            AccessDenied, match=r"s3://metrics/cold: .* refuses .* s3:GetObject"
        ) as error,
    ):
        ask(["s3://metrics/cold"], s3_client=s3)
    assert "not-a-secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_s3_that_does_not_answer_is_said():
    with pytest.raises(SourceUnreachable, match="s3://metrics/x: no answer"):
        read_samples(["s3://metrics/x"], s3_client=nobody)


def test_several_paths_are_one_source(tmp_path):
    for number, name in enumerate("ab"):
        ts = [START, START + STEP]
        write(rows(name=name, ts=ts, value=[float(number)] * 2), tmp_path / f"{name}.parquet")
    source = FilesSource([tmp_path / "b.parquet", tmp_path / "a.parquet"], cluster="prod")
    (chunk,), report = fetched(source, ALL, Window.of(START, END, STEP))
    assert chunk.samples["name"].to_pylist() == ["b", "b", "a", "a"]
    assert (report.series, report.samples, report.queries) == (2, 4, 2)
    # the same workload in two files: the file that is named last holds
    source = FilesSource([tmp_path / "a.parquet"] * 2, cluster="prod")
    assert fetched(source, ALL, window())[1].duplicates == 2


def test_a_bound_of_no_row_is_refused():
    with pytest.raises(ValueError, match="max_rows_per_chunk must be at least 1, got 0"):
        FilesParams(max_rows_per_chunk=0)
