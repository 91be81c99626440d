"""Publishing to real servers, and what they say afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml
from checking_proxy import Reply, Request, passing_on
from metric_servers import MetricsServer
from publish_store import WORKLOADS, fill
from signing_proxy import Gate, Key

from pipelines.adapters.http import open_client
from pipelines.adapters.remote_write import RemoteWriter
from pipelines.adapters.remote_write_wire import labels_of
from pipelines.clock import present
from pipelines.errors import ForetideError
from pipelines.publish import publish
from pipelines.series.gauge import Gauge

pytestmark = [
    pytest.mark.e2e,
    # mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ID, SECRET, REGION = "AKIAEXAMPLE0LONG", "a/long+lived/secret", "eu-west-1"
HOSTILE = (
    "prod/q\"uo'te/Deployment/new\nline",
    "prod/back\\slash/Deployment/{a=~'.*'}",
    "prod/ünï/Deployment/日本語 ",
    f"prod/long/Deployment/{'x' * 10_000}",
    f"prod/long/Deployment/{'x' * 10_001}",
)
QUICK = {"attempts": 2, "retry_wait_s": 0.01, "retry_wait_max_s": 0.05}


@pytest.fixture(params=["prometheus", "victoria"])
def server(request: pytest.FixtureRequest) -> MetricsServer:
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No AWS configuration of the machine's own."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def renamed(cluster: str, workloads: tuple[str, ...] = WORKLOADS) -> tuple[str, ...]:
    """Servers keep what they were given: each test has a cluster of its own."""
    return tuple(f"{cluster}/{w.partition('/')[2]}" for w in workloads)


def config(folder: Path, url: str, send: dict[str, Any] | None = None, **more: Any) -> str:
    remote = {"url": url, "send": QUICK | (send or {})} | more.pop("remote", {})
    path = folder / "foretide.yaml"
    path.write_text(yaml.safe_dump({"publish": {"remote_write": remote, **more}}))
    return str(path)


def run(folder: Path, settings: str, **parameters: Any) -> dict[str, Any]:
    """Publish, with a stamp of its own: all tests of a server are one installation to it."""
    next_second()
    return publish.fn(config=settings, out=str(folder / "store"), **parameters)


def ask(server: MetricsServer, query: str) -> dict[tuple[str, ...], float]:
    """Labels' values, by label name, and the value; as of now."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        client.get("/internal/force_flush")
        form = {"query": query, "nocache": "1", "latency_offset": "1ms"}
        answer = client.get("/api/v1/query", params=form).raise_for_status().json()
    found: dict[tuple[str, ...], float] = {}
    for one in answer["data"]["result"]:
        labels = one["metric"]
        found[tuple(labels[k] for k in sorted(labels) if k != "__name__")] = float(one["value"][1])
    return found


def soon(answer: Callable[[], bool], within_s: float = 20.0) -> bool:
    until = time.monotonic() + within_s
    while not answer():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def next_second() -> None:
    """Samples of one series, the installation's own among them, may not have the same stamp."""
    begun = present()
    assert soon(lambda: present() > begun)


def test_what_is_sent_is_what_is_read_back(server: MetricsServer, tmp_path: Path) -> None:
    fill(tmp_path, renamed("back"), present())
    said = run(tmp_path, config(tmp_path, server.url + "/api/v1/write"))
    assert said["figures"]["series_refused"] == 0
    assert said["done"] == said["figures"]["series_published"] > 0
    score = 'foretide_anomaly_score{cluster="back"}'
    assert soon(lambda: len(ask(server, score)) == 3)
    found = ask(server, score)
    assert found["back", "band", "Deployment", "cpu_usage_cores", "web", "shop"] == 0.5
    forecast = ask(server, 'foretide_forecast{cluster="back",name="web",metric="cpu_usage_cores"}')
    assert {k[1]: v for k, v in forecast.items() if "0.5" in k} == {"1h": 101.0, "24h": 124.0}
    floor = 'foretide_floor_replicas{cluster="back"} > on(cluster,namespace,kind,name) '
    assert list(ask(server, floor + "foretide_demand_replicas").values()) == [7.0]
    valid = 'foretide_valid_until_timestamp_seconds{table="scores"} - time()'
    assert 0 < next(iter(ask(server, valid).values())) <= 3600


def test_what_is_no_longer_sent_ends_at_once(server: MetricsServer, tmp_path: Path) -> None:
    fill(tmp_path, renamed("ends"), present())
    url = server.url + "/api/v1/write"
    run(tmp_path, config(tmp_path, url))
    query = 'foretide_forecast{cluster="ends"}'
    assert soon(lambda: len(ask(server, query)) == 24)
    said = run(tmp_path, config(tmp_path, url, names={"foretide_forecast": False}))
    assert said["figures"]["series_ended"] == 24
    assert soon(lambda: not ask(server, query))  # and not in five minutes
    assert len(ask(server, 'foretide_anomaly_score{cluster="ends"}')) == 3
    rows = run(tmp_path, config(tmp_path, url), dry_run=True)["rows"]
    assert {r["name"]: r["new"] for r in rows}["foretide_forecast"] == 24
    run(tmp_path, config(tmp_path, url))
    assert soon(lambda: len(ask(server, query)) == 24)


def test_hostile_names_come_through_and_long_ones_stay_different(
    server: MetricsServer, tmp_path: Path
) -> None:
    fill(tmp_path, HOSTILE, present())
    said = run(tmp_path, config(tmp_path, server.url + "/api/v1/write"))
    assert said["figures"]["series_refused"] == 0
    query = 'foretide_demand_replicas{namespace=~"q.*|back.*|ü.*|long"}'
    assert soon(lambda: len(ask(server, query)) == len(HOSTILE))
    names = {key[2] for key in ask(server, query)}
    assert {"new\nline", "{a=~'.*'}", "日本語 "} <= names
    long = [name for name in names if name.startswith("x")]
    assert len(long) == 2
    assert all(len(name) == 1024 for name in long)


def test_amp_is_signed_for(
    prometheus_server: MetricsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    fill(tmp_path, renamed("amp"), present())
    gate = Gate({ID: Key(SECRET)}, REGION)
    with passing_on(prometheus_server.url, gate.check, prefix="/workspaces/ws-1") as url:
        remote = {"sign": True, "aws": {"region": REGION}}
        settings = config(tmp_path, url + "/api/v1/write", {"samples_per_request": 20},
                          remote=remote)  # fmt: skip
        said = run(tmp_path, settings)
        assert said["figures"]["series_refused"] == 0
        assert len(gate.passed) == said["figures"]["remote_write_requests"] + 1  # and metadata
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not/the/secret")
        next_second()
        with pytest.raises(ForetideError, match=r"HTTP 403.*check the credentials") as caught:
            run(tmp_path, settings)
        assert "not/the/secret" not in str(caught.value)
    assert soon(lambda: len(ask(prometheus_server, 'foretide_anomaly_score{cluster="amp"}')) == 3)


def test_half_of_the_batches_refused_is_told_and_the_rest_is_there(
    prometheus_server: MetricsServer, tmp_path: Path
) -> None:
    fill(tmp_path, renamed("half"), present())
    count = {"asked": 0}

    def check(request: Request) -> Reply | None:
        count["asked"] += 1
        return Reply(400, b"out of order sample") if count["asked"] % 2 else None

    with passing_on(prometheus_server.url, check) as url:
        settings = config(tmp_path, url + "/api/v1/write",
                          {"samples_per_request": 5, "metadata": False})  # fmt: skip
        with pytest.raises(ForetideError, match=r"of .* series were taken: .* not taken"):
            run(tmp_path, settings)
    score = 'foretide_anomaly_score{cluster="half"}'
    assert count["asked"] >= 4
    # what was not taken is new to the server the next time, and only that
    rows = run(tmp_path, settings, dry_run=True)["rows"]
    there = sum(r["series"] - r["new"] for r in rows)
    assert sum(r["new"] for r in rows) > 0
    by_name = {r["name"]: r["series"] - r["new"] for r in rows}
    assert soon(lambda: len(ask(prometheus_server, score)) == by_name["foretide_anomaly_score"])
    assert there >= 5


def test_a_server_that_throttles_gets_it_later(
    prometheus_server: MetricsServer, tmp_path: Path
) -> None:
    fill(tmp_path, renamed("later"), present())
    answers = [Reply(429, b"slow down", {"Retry-After": "0"}), Reply(503, b"busy")]
    with passing_on(prometheus_server.url, lambda _: answers.pop() if answers else None) as url:
        said = run(tmp_path, config(tmp_path, url + "/api/v1/write", {"attempts": 4}))
    assert said["figures"]["remote_write_retries"] == 2
    assert said["figures"]["series_refused"] == 0
    score = 'foretide_anomaly_score{cluster="later"}'
    assert soon(lambda: len(ask(prometheus_server, score)) == 3)


def test_the_same_moment_twice_says_what_to_do(
    prometheus_server: MetricsServer, tmp_path: Path
) -> None:
    """A stamp that has another value already is refused by Prometheus, not by us."""
    labels = pd.DataFrame({"cluster": ["twice"]})
    one = Gauge("foretide_run_failed", "h", labels, np.ones(1))
    with open_client(prometheus_server.url + "/api/v1/write") as client:
        writer = RemoteWriter(client)
        own, now = labels_of(one, 1024), present()
        assert writer.send(own, np.array([1.0]), now).taken.all()
        again = writer.send(own, np.array([2.0]), now)
        earlier = writer.send(own, np.array([2.0]), now - pd.Timedelta("10s"))
    assert "duplicate" in again.errors[0]
    assert "one publisher" in again.errors[0]
    assert "one publisher" in earlier.errors[0]


def test_a_server_that_is_down_is_one_line(tmp_path: Path) -> None:
    fill(tmp_path, WORKLOADS, present())
    with pytest.raises(ForetideError, match=r"publish: 0 of \d+ series were taken: .* no answer"):
        run(tmp_path, config(tmp_path, "http://127.0.0.1:9/api/v1/write"))
