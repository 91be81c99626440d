"""Traces to a real collector's door on this machine, and logs as JSON."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pipelines.errors import HistoryError
from pipelines.logs import JsonLines, Whose, whose
from pipelines.run import RunRef
from pipelines.telemetry import carried, carrier, traced
from pipelines.watching import watched


@dataclass
class Collector:
    """An OTLP/HTTP collector: what came, decoded."""

    url: str = ""
    spans: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    def named(self, name: str) -> list[Any]:
        return [s for s in self.spans if s.name == name]

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        assert path == "/v1/traces"
        self.headers.append(headers)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {
                a.value.string_value for a in group.resource.attributes if a.key == "service.name"
            }
            self.spans += [span for scope in group.scope_spans for span in scope.spans]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    there = Collector()

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            there.take(self.path, dict(self.headers), body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    there.url = f"http://127.0.0.1:{server.server_port}"
    yield there
    server.shutdown()
    server.server_close()
    thread.join(5)


@dataclass(frozen=True)
class Done:
    series: int
    skipped: dict[str, int]


@traced
def shard(ref: RunRef) -> Done:
    logging.getLogger("pipelines.shard").warning("shard %d", ref.shard)
    if ref.shard == 13:
        raise HistoryError("unlucky")
    return Done(7, {"old": 2, "flat": 1})


@watched("score")
def flow(
    config: str | None = None,
    inputs: list[str] | None = None,
    out: str | None = None,
    as_of: str | None = None,
    shards: tuple[int, ...] = (0, 1),
) -> dict[str, Any]:
    refs = [RunRef(config, (), str(out), str(as_of), i, len(shards)) for i in shards]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(shard, refs))
    return {
        "verb": "score", "run_id": "r", "as_of": as_of, "unit": "series",
        "done": sum(d.series for d in done), "skipped": {"old": 4}, "failed": (), "figures": {},
    }  # fmt: skip


def run(folder: Path, watch: dict[str, Any], **more: Any) -> dict[str, Any]:
    config = folder / "foretide.yaml"
    config.write_text(yaml.safe_dump({"watch": watch}))
    at = "2026-06-08T12:00:00+00:00"
    return flow(config=str(config), out=str(folder / "store"), as_of=at, **more)


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def test_a_run_is_a_span_and_each_of_its_tasks_one_below(
    collector: Collector, tmp_path: Path
) -> None:
    secret = {"x-token": "not-for-you"}
    run(tmp_path, {"otlp_endpoint": collector.url, "otlp_headers": secret})
    (root,) = collector.named("foretide score")
    tasks = collector.named("shard")
    assert len(collector.spans) == 3
    assert collector.services == {"foretide"}
    assert collector.headers[0]["x-token"] == "not-for-you"
    told = attributes(root)
    assert told["foretide.verb"] == "score"
    assert told["foretide.as_of"] == "2026-06-08T12:00:00+00:00"
    assert (told["foretide.done"], told["foretide.skipped"]) == (14, 4)
    assert told["foretide.state"] == "done"
    assert told["foretide.run_id"]
    assert {t.parent_span_id for t in tasks} == {root.span_id}
    assert {t.trace_id for t in tasks} == {root.trace_id}
    assert sorted(attributes(t)["foretide.shard"] for t in tasks) == [0, 1]
    assert {attributes(t)["foretide.done"] for t in tasks} == {7}
    assert root.start_time_unix_nano <= min(t.start_time_unix_nano for t in tasks)
    assert root.end_time_unix_nano >= max(t.end_time_unix_nano for t in tasks)


def test_the_environment_names_a_collector_too(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    run(tmp_path, {})
    assert len(collector.named("foretide score")) == 1


def test_a_run_that_fails_is_a_red_span(collector: Collector, tmp_path: Path) -> None:
    with pytest.raises(HistoryError):
        run(tmp_path, {"otlp_endpoint": collector.url}, shards=(0, 13))
    (root,) = collector.named("foretide score")
    assert root.status.code == 2
    assert "unlucky" in root.status.message
    assert sorted(s.status.code for s in collector.named("shard")) == [0, 2]


def test_a_task_elsewhere_finds_the_trace_of_its_run(collector: Collector, tmp_path: Path) -> None:
    sent: list[str] = []

    @watched("train")
    def far(config: str | None = None, out: str | None = None, as_of: str | None = None) -> dict:
        sent.append(carrier())
        return {}

    config = tmp_path / "foretide.yaml"
    config.write_text(yaml.safe_dump({"watch": {"otlp_endpoint": collector.url}}))
    far(config=str(config), out=str(tmp_path / "store"), as_of="2026-06-08T12:00:00+00:00")
    (root,) = collector.spans
    with carried(sent[0], str(config)):
        shard(RunRef(str(config), (), "store", "2026-06-08T12:00:00+00:00", 5, 9))
    task = collector.spans[-1]
    assert (task.trace_id, task.parent_span_id) == (root.trace_id, root.span_id)
    assert attributes(task)["foretide.verb"] == "train"


def test_nothing_is_traced_unasked(collector: Collector, tmp_path: Path) -> None:
    assert run(tmp_path, {})["done"] == 14
    assert carrier() == ""
    assert collector.spans == []


def test_a_collector_that_is_not_there_costs_moments_and_a_line(
    collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as mute:  # takes connections and never answers
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        for address in (f"http://127.0.0.1:{mute.getsockname()[1]}", "http://127.0.0.1:1"):
            caplog.clear()
            began = time.monotonic()
            told = run(tmp_path, {"otlp_endpoint": address, "otlp_timeout_s": 0.5})
            assert told["done"] == 14
            assert time.monotonic() - began < 5
            lines = [r for r in caplog.records if "spans were not taken" in r.getMessage()]
            assert len(lines) == 1


def test_the_spans_of_runs_do_not_change_what_a_run_is_called(tmp_path: Path) -> None:
    names = set()
    for watch in ({}, {"log_format": "json", "otlp_endpoint": "http://h:1"}):
        config = tmp_path / "foretide.yaml"
        config.write_text(yaml.safe_dump({"watch": watch}))
        names.add(RunRef(str(config), (), "store", "2026-06-08T12:00:00+00:00").open().run_id)
    assert len(names) == 1


def test_the_command_line_logs_as_json_where_it_is_asked_to(tmp_path: Path) -> None:
    """Each line of stderr, also the last one, and one that says that there is no configuration."""
    command = [sys.executable, "-m", "pipelines.cli", "score", "--out", str(tmp_path / "none")]
    asked = os.environ | {"FORETIDE_WATCH__LOG_FORMAT": "json"}
    done = subprocess.run(
        command, env=asked, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    said, last = [line for line in lines if line["level"] == "ERROR"]
    assert (said["logger"], said["verb"]) == ("foretide", "score")
    assert said["run_id"]
    assert last["message"][:20] in said["message"]
    wrong = subprocess.run(
        [*command, "--config", "none.yaml"], env=asked, cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    (only,) = [json.loads(line) for line in wrong.stderr.splitlines()]
    assert only["message"] == "none.yaml: no such configuration file"


def test_a_log_line_is_one_object_whatever_is_in_it() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("pipelines.try")
    logger.addHandler(handler)
    try:
        with whose(Whose("score", "run-1", "f" * 32)):
            logger.warning('a "name"\nof %s', "prod/\x1b[31m/日本")
        try:
            shard(RunRef(None, (), "store", "2026-06-08T12:00:00+00:00", 13, 14))
        except HistoryError:
            logger.exception("it broke")
    finally:
        logger.removeHandler(handler)
    first, second = map(json.loads, out.getvalue().splitlines())
    assert list(first) == ["ts", "level", "logger", "verb", "run_id", "message", "trace_id"]
    assert first["message"] == 'a "name"\nof prod/\x1b[31m/日本'
    assert (first["verb"], first["run_id"], first["level"]) == ("score", "run-1", "WARNING")
    assert first["ts"].endswith("+00:00")
    assert second["verb"] == second["trace_id"] == ""
    assert "HistoryError: unlucky" in second["exception"]
