"""A double of Datadog's ``/api/v1/query`` on 127.0.0.1.

It reads queries of the form ``AGG:METRIC{SCOPE} by {TAGS}.rollup(AGG, SECONDS)``, scopes of ``*``,
``tag:value`` and ``tag IN (a, b)`` joined by AND, and does with them what the manual says: both
ends of the window are inclusive, points are rolled up into buckets of the step that begin at its
multiples, and buckets grow where a series would have more than 1,500 points.
"""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pyarrow as pa

API_KEY = "0123456789abcdef0123456789abcdef"
APPLICATION_KEY = "fedcba9876543210fedcba98765432100123abcd"
HOSTILE = "_we-ird/é.x:y-and-in-or"
"""What a tag may hold: letters of any language, digits, and these signs; all in lower case."""

_QUERY = re.compile(
    r"(?P<space>avg|sum|min|max):(?P<metric>[\w.]+)\{(?P<scope>[^}]*)\}"
    r"(?: by \{(?P<by>[\w,\s]*)\})?(?:\.rollup\((?P<time>\w+),\s*(?P<step>\d+)\))?"
)
_AGGREGATE = {"avg": np.mean, "sum": np.sum, "min": np.min, "max": np.max}
_KIND_TAGS = {
    "Deployment": "kube_deployment",
    "StatefulSet": "kube_stateful_set",
    "DaemonSet": "kube_daemon_set",
}
_MAX_POINTS = 1500

Tags = dict[str, str]


@dataclass
class DatadogServer:
    url: str
    held: dict[str, list[tuple[Tags, np.ndarray, np.ndarray]]] = field(default_factory=dict)
    """Metric → tags, stamps (n,) in Unix milliseconds, values (n,)."""
    asked: list[tuple[int, int, str]] = field(default_factory=list)
    """from, to and query of every request that was let in."""
    script: list[object] = field(default_factory=list)
    """What the next requests get instead: a status, (status, headers), ``cut``, or a body."""
    headers: dict[str, str] = field(default_factory=dict)
    """Rate-limit headers of every answer."""
    interval_ms: bool = False
    """Whether ``interval`` is written in milliseconds, as the API's reference has it."""

    def load(self, samples: pa.Table) -> None:
        """Each series under its metric's name, with the agent's tags."""
        frame = samples.to_pandas()
        keys = ["metric", "cluster", "namespace", "kind", "name"]
        for key, part in frame.groupby(keys, observed=True):
            metric, cluster, namespace, kind, name = map(str, key)
            owner = _KIND_TAGS.get(kind)
            tags = {"kube_namespace": namespace, "pod_phase": "running"}
            tags |= {owner: name} if owner else {"kind": kind, "name": name}
            tags |= {"kube_cluster_name": cluster} if cluster != "prod" else {}
            ts_ms = part["ts"].dt.as_unit("ms").astype("int64").to_numpy()
            self.add(metric, tags, ts_ms, part["value"].to_numpy())

    def add(self, metric: str, tags: Tags, ts_ms: np.ndarray, values: np.ndarray) -> None:
        self.held.setdefault(metric, []).append((tags, ts_ms, values))

    def answer(self, text: str, from_s: int, to_s: int) -> dict[str, object]:
        """The body of a 200."""
        form = _QUERY.fullmatch(text)
        if form is None:
            return {"status": "error", "error": f"Rule 'scope_expr' didn't match at '{text[:20]}'"}
        step_s = int(form["step"] or 20)
        wanted_s = max(step_s, -(-(to_s - from_s) // _MAX_POINTS))
        step_s = step_s if wanted_s == step_s else -(-wanted_s // 60) * 60
        by = [tag.strip() for tag in (form["by"] or "").split(",") if tag.strip()]
        groups: dict[tuple[str, ...], list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
        for tags, ts_ms, values in self.held.get(form["metric"], []):
            if not in_scope(form["scope"], tags):
                continue
            inside = (ts_ms >= from_s * 1000) & (ts_ms <= to_s * 1000 + 999)
            if inside.any():
                group = tuple(f"{tag}:{tags.get(tag, 'N/A')}" for tag in by)
                groups[group].append(
                    rolled(ts_ms[inside], values[inside], step_s * 1000, form["time"] or "avg")
                )
        series = [self._series(form, group, step_s, members) for group, members in groups.items()]
        return {"status": "ok", "res_type": "time_series", "query": text, "series": series}

    def _series(
        self,
        form: re.Match[str],
        group: tuple[str, ...],
        step_s: int,
        members: list[tuple[np.ndarray, np.ndarray]],
    ) -> dict[str, object]:
        buckets: dict[int, list[float]] = defaultdict(list)
        for stamps, values in members:
            for stamp, value in zip(stamps.tolist(), values.tolist(), strict=True):
                buckets[stamp].append(value)
        space = _AGGREGATE[form["space"]]
        first, last = min(buckets), max(buckets)
        points = [
            [float(t), float(space(buckets[t])) if t in buckets else None]
            for t in range(first, last + 1, step_s * 1000)
        ]
        return {
            "metric": form["metric"],
            "tag_set": list(group),
            "scope": ",".join(group) or "*",
            "interval": step_s * (1000 if self.interval_ms else 1),
            "length": len(points),
            "pointlist": points,
        }


def in_scope(scope: str, tags: Tags) -> bool:
    """Whether tags meet a scope of conditions joined by AND."""
    for condition in re.split(r" AND ", scope):
        if condition == "*":
            continue
        if among := re.fullmatch(r"(\w+) IN \(([^()]*)\)", condition):
            if tags.get(among[1]) not in [v.strip() for v in among[2].split(",")]:
                return False
        elif one := re.fullmatch(r"(\w+):([\w./-]+)", condition):
            if tags.get(one[1]) != one[2]:
                return False
        else:
            raise ValueError(f"no condition: {condition!r}")
    return True


def rolled(
    ts_ms: np.ndarray, values: np.ndarray, step_ms: int, how: str
) -> tuple[np.ndarray, np.ndarray]:
    starts, which = np.unique(ts_ms // step_ms * step_ms, return_inverse=True)
    return starts, np.array([_AGGREGATE[how](values[which == i]) for i in range(len(starts))])


@contextmanager
def datadog_server() -> Iterator[DatadogServer]:
    """The double, and ended afterwards."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.double = DatadogServer(f"http://127.0.0.1:{http.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield http.double  # type: ignore[attr-defined]
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        double: DatadogServer = self.server.double  # type: ignore[attr-defined]
        address = urlsplit(self.path)
        keys = (self.headers.get("DD-API-KEY"), self.headers.get("DD-APPLICATION-KEY"))
        if keys != (API_KEY, APPLICATION_KEY):
            self.send(403, {"errors": ["Forbidden"]}, double.headers)
            return
        if address.path != "/api/v1/query":
            self.send(404, {"errors": ["Not found"]}, double.headers)
            return
        form = {key: values[0] for key, values in parse_qs(address.query).items()}
        double.asked.append((int(form["from"]), int(form["to"]), form["query"]))
        self.play(double, double.script.pop(0) if double.script else None)

    def play(self, double: DatadogServer, turn: object) -> None:
        from_s, to_s, text = double.asked[-1]
        match turn:
            case None:
                self.send(200, double.answer(text, from_s, to_s), double.headers)
            case int(status):
                self.send(status, {"errors": [f"status {status}"]}, double.headers)
            case (int(status), dict(headers)):
                body = {"errors": [f"status {status}"]}
                if status == 200:
                    body = double.answer(text, from_s, to_s)
                self.send(status, body, double.headers | headers)
            case "cut":
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                self.wfile.write(b'{"status": "ok", "series": [')
                self.close_connection = True
            case bytes(body):
                self.send(200, body, double.headers)
            case _:
                raise ValueError(f"no turn: {turn!r}")

    def send(self, status: int, body: object, headers: dict[str, str]) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
