"""Real metric servers on 127.0.0.1, and a loader that fills them from a samples table.

A ``MetricsServer`` has ``.url``, ``.load(samples)`` (shaped like kube-state-metrics, cAdvisor and
HTTP series, for config/metrics/prometheus.yaml) and ``.load_plain(samples)`` (series named by the
logical metric, for config/metrics/plain.yaml; takes millions of samples).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import kube_shape
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from features.workloads import split_workload, with_workload

Series = tuple[dict[str, str], np.ndarray, np.ndarray]
"""Labels, stamps (n,) in Unix milliseconds, values (n,)."""


SERVERS = {
    "prometheus": (
        "/-/ready",
        "--config.file={dir}/prometheus.yml --storage.tsdb.path={dir}/data --log.level=error "
        "--web.listen-address=127.0.0.1:{port} --web.enable-remote-write-receiver "
        # one head block for everything: a sample may come up to 50 days after a younger one
        "--storage.tsdb.retention.time=3650d --storage.tsdb.min-block-duration=100d "
        "--storage.tsdb.max-block-duration=100d",
    ),
    "victoria-metrics": (
        "/health",
        "-storageDataPath={dir}/data -httpListenAddr=127.0.0.1:{port} -retentionPeriod=100y "
        "-loggerLevel=ERROR -search.disableCache",
    ),
}


@dataclass(frozen=True)
class MetricsServer:
    url: str
    process: subprocess.Popen[bytes]

    def load(self, samples: pa.Table) -> None:
        """In kube shape; see kube_shape.py for what each metric becomes."""
        self.write(kube_shape.kube_series(with_workload(samples)))

    def load_plain(self, samples: pa.Table) -> None:
        """As ``metric{cluster, namespace, kind, name}`` at the samples' own stamps."""
        frame = with_workload(samples).sort_values("ts", kind="stable")
        self.write(
            (plain_labels(workload, metric), millis(part), part["value"].to_numpy())
            for (workload, metric), part in frame.groupby(["workload", "metric"], observed=True)
        )

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def write(self, series: Iterator[Series], batch_bytes: int = 4_000_000) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            body = bytearray()
            for one in series:
                body += encode(*one)
                if len(body) > batch_bytes:
                    post(client, body)
                    body = bytearray()
            post(client, body)
            client.get("/internal/force_flush")  # VictoriaMetrics shows new samples after a second


@contextmanager
def serving(binary: str, directory: Path) -> Iterator[MetricsServer]:
    """The server, ready, and ended afterwards."""
    path = shutil.which(binary)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{binary} is not on PATH, and CI must not skip it")
        pytest.skip(f"{binary} is not on PATH")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (directory / "prometheus.yml").write_text("global: {}\n")
    ready, flags = SERVERS[binary]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [path, *flags.format(dir=directory, port=port).split()], stdout=log, stderr=log
        )
    server = MetricsServer(f"http://127.0.0.1:{port}", process)
    try:
        await_ready(server, ready, directory / "log")
        yield server
    finally:
        server.stop()


def await_ready(server: MetricsServer, path: str, log: Path, within_s: float = 30.0) -> None:
    until = time.monotonic() + within_s
    while time.monotonic() < until and server.process.poll() is None:
        try:
            if httpx.get(server.url + path).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail(f"{server.process.args[0]} did not start: {log.read_text()[-2000:]}")


def plain_labels(workload: str, metric: str) -> dict[str, str]:
    parts = zip(("cluster", "namespace", "kind", "name"), split_workload(workload), strict=True)
    return {"__name__": metric, **dict(parts)}


def millis(frame: pd.DataFrame) -> np.ndarray:
    return frame["ts"].dt.as_unit("ms").astype("int64").to_numpy()


# Remote write: protobuf in snappy's block format, uncompressed.


def post(client: httpx.Client, body: bytearray) -> None:
    # one literal with a four-byte length: what any snappy decoder takes, and no encoder is needed
    packed = varint(len(body)) + b"\xfc" + (len(body) - 1).to_bytes(4, "little") + body
    if body:
        client.post("/api/v1/write", content=bytes(packed), headers=HEADERS).raise_for_status()


HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def encode(labels: dict[str, str], ts_ms: np.ndarray, values: np.ndarray) -> bytes:
    """One ``TimeSeries`` field of a ``WriteRequest``. A sample is 18 bytes: stamps of our century
    are varints of six."""
    pairs = (field(1, k.encode()) + field(2, v.encode()) for k, v in sorted(labels.items()) if v)
    out = np.empty((len(ts_ms), 18), np.uint8)
    out[:, :3] = (0x12, 16, 0x09)
    out[:, 3:11] = np.ascontiguousarray(values, "<f8").view(np.uint8).reshape(-1, 8)
    out[:, 11] = 0x10
    out[:, 12:] = (np.asarray(ts_ms)[:, None] >> (7 * np.arange(6))) & 0x7F
    out[:, 12:17] |= 0x80
    return field(1, b"".join(field(1, pair) for pair in pairs) + out.tobytes())


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
