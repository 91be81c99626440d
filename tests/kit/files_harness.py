"""Samples tables written as every kind of file that is read, and the harness of ``FilesSource``."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from csv import QUOTE_NONNUMERIC
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq
from source_contract import HOSTILE, Denied

from features.frames import WORKLOAD_PARTS
from features.metrics import Metric
from pipelines.adapters.files import FilesParams, FilesSource
from pipelines.adapters.source import Source, Spec

__all__ = ["WRITERS", "FilesHarness", "bucket", "openmetrics", "sorted_by", "write"]


def write(samples: pa.Table, path: Path) -> Path:
    """The table as the kind of file that the path's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = next(k for k in sorted(WRITERS, key=len, reverse=True) if path.name.endswith(k))
    data = WRITERS[kind](samples)
    path.write_bytes(data)
    return path


def parquet(samples: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(samples, sink, row_group_size=500)
    return sink.getvalue().to_pybytes()


def csv(samples: pa.Table) -> bytes:
    frame = samples.to_pandas()
    frame["ts"] = frame["ts"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    # everything quoted: pandas leaves a carriage return bare, which then ends the row
    return frame.to_csv(index=False, lineterminator="\n", quoting=QUOTE_NONNUMERIC).encode()


def csv_of_arrow(samples: pa.Table) -> bytes:
    plain = pa.table({c: samples[c] for c in samples.column_names})
    at = plain.schema.get_field_index("ts")
    texts = [f"{pd.Timestamp(t).isoformat()}" for t in plain["ts"].to_pylist()]
    sink = pa.BufferOutputStream()
    pv.write_csv(plain.set_column(at, "ts", pa.array(texts, pa.string())), sink)
    return sink.getvalue().to_pybytes()


def openmetrics(samples: pa.Table) -> str:
    """One family after the other, each series' samples together, stamps in seconds."""
    lines = [
        f"{series} {value!r} {ms // 1000}.{ms % 1000:03d}" for series, ms, value in _lines(samples)
    ]
    return "\n".join([*lines, "# EOF\n"])


def prometheus_text(samples: pa.Table) -> str:
    """As ``openmetrics``, with stamps in milliseconds and no end."""
    return "".join(f"{series} {value!r} {ms}\n" for series, ms, value in _lines(samples))


def _lines(samples: pa.Table) -> Iterator[tuple[str, int, float]]:
    ordered = sorted_by(samples, "metric", *WORKLOAD_PARTS, "ts")
    rows = ordered.set_column(5, "ts", ordered["ts"].cast(pa.int64())).to_pylist()
    for row in rows:
        labels = ",".join(f'{part}="{_escape(row[part])}"' for part in WORKLOAD_PARTS)
        yield f"{row['metric']}{{{labels}}}", row["ts"], row["value"]


def sorted_by(samples: pa.Table, *columns: str) -> pa.Table:
    """In the order of the columns' values; pyarrow sorts no dictionaries."""
    plain = pa.table(
        {
            c: samples[c].cast(pa.string())
            if pa.types.is_dictionary(samples[c].type)
            else samples[c]
            for c in columns
        }
    )
    return samples.take(pc.sort_indices(plain, [(c, "ascending") for c in columns]))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


WRITERS: dict[str, Callable[[pa.Table], bytes]] = {
    ".parquet": parquet,
    ".csv": csv,
    ".csv.gz": lambda samples: gzip.compress(csv_of_arrow(samples)),
    ".om": lambda samples: openmetrics(samples).encode(),
    ".openmetrics": lambda samples: openmetrics(samples).encode(),
    ".om.gz": lambda samples: gzip.compress(openmetrics(samples).encode()),
    ".prom": lambda samples: prometheus_text(samples).encode(),
    ".txt": lambda samples: prometheus_text(samples).encode(),
    ".prom.gz": lambda samples: gzip.compress(prometheus_text(samples).encode()),
}


@dataclass
class FilesHarness:
    """``fill`` puts the samples somewhere and says the path that the source is given."""

    fill: Callable[[pa.Table], str]
    s3_client: Callable[[], Any] | None = None
    silent: Source | None = None
    hostile: str = HOSTILE
    rows_at_once: int = 1000
    """Several parts for the contract's some 1,700 rows of a metric."""
    path: str = ""

    def load(self, samples: pa.Table) -> None:
        self.path = self.fill(samples)

    def spec(self, metric: str, select: Mapping[str, tuple[str, ...]] | None = None) -> Spec:
        return Spec(Metric(metric), select or {})

    def source(self) -> Source:
        params = FilesParams(max_rows_per_chunk=self.rows_at_once)
        return FilesSource([self.path], cluster="prod", s3_client=self.s3_client, params=params)

    def denied(self) -> Denied | None:
        return None

    def unreachable(self) -> Source | None:
        return self.silent


@contextmanager
def bucket(name: str) -> Iterator[Callable[[], Any]]:
    """An empty bucket of an S3 server on loopback; gives what makes its clients."""
    import boto3
    from botocore.config import Config
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()

    def client() -> Any:
        return boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            region_name="eu-central-1",
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="not-a-secret",  # noqa: S106
            config=Config(retries={"total_max_attempts": 1}),
        )

    try:
        client().create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        yield client
    finally:
        server.stop()
