"""A store in which everything has happened that the dashboard shows, and a registry beside it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pandas as pd
from publish_store import WORKLOADS, fill

from features.frames import RUNS, VALUE, VERDICTS
from pipelines.adapters.store import Store
from pipelines.run import part_name

__all__ = ["FLOWS", "add_runs", "fill_all", "registry", "run_row"]

FLOWS = (
    "ingest", "score", "forecast", "forecast-next", "prescale", "apply", "train", "evaluate",
    "retrain", "publish", "notify",
)  # fmt: skip
_FIGURES = {
    "ingest": {"usd": 0.02, "samples": 5000.0},
    "apply": {"held": 4.0, "overdue": 0.0, "rolled_back": 1.0},
    "publish": {"series_published": 120.0, "series_refused": 0.0},
}
_VALUES = {
    "incidents_per_day": "a day", "alerts_per_day": "a day", "static_alerts_per_day": "a day",
    "detect_minutes": "min", "static_detect_minutes": "min", "sooner_minutes": "min",
    "repeat_share": "share", "static_missed_share": "share", "static_only_share": "share",
    "forecast_wape": "share", "forecast_q90_coverage": "share", "usd_spent": "USD",
    "usd_saved": "USD", "short_pod_minutes_avoided": "pod-min", "replica_hours_extra": "pod-h",
    "node_hours_extra": "node-h",
}  # fmt: skip


def run_row(verb: str, as_of: pd.Timestamp, state: str = "done", **more: Any) -> dict[str, Any]:
    """A row of RUNS, of a run that took 40 s."""
    row = {
        "verb": verb, "run_id": f"{part_name(as_of)}-0", "as_of": as_of,
        "started_at": as_of + pd.Timedelta("3s"), "ended_at": as_of + pd.Timedelta("43s"),
        "state": state, "unit": "series", "done": 90, "skipped": 10, "failed": 0,
        "reasons": [{"reason": "history 1.2 d, needs 3.0 d", "count": 10}],
        "figures": [{"name": n, "value": v} for n, v in _FIGURES.get(verb, {}).items()],
        "error": "",
    }  # fmt: skip
    failed = {"done": 0, "skipped": 0, "failed": 1, "reasons": [], "figures": [], "error": "no"}
    return row | (failed if state == "failed" else {}) | more


def add_runs(store: Store, rows: list[dict[str, Any]]) -> None:
    """As the runs themselves would have: a file a day."""
    frame = pd.DataFrame(rows)[RUNS.schema.names]
    for day, part in frame.groupby(frame["as_of"].dt.floor("D")):
        store.write(RUNS, part, part_name(day))


def fill_all(folder: Path, at: pd.Timestamp, workloads: tuple[str, ...] = WORKLOADS) -> Store:
    """``publish_store.fill``, and runs, verdicts and a value report."""
    store = fill(folder, workloads, at)
    add_runs(store, [run_row(flow, at - pd.Timedelta("5min")) for flow in FLOWS])
    verdict = {
        "metric": "cpu_usage_cores", "evaluated_at": at, "trained_at": at, "model": "m",
        "verdict": "drifted", "reason": "r", "since": at, "losing_since": at, "wape": 0.2,
        "bar_wape": 0.3, "backtest_wape": 0.2, "pinball_q50": 0.1, "pinball_q90": 0.1,
        "coverage_q90": 0.9, "backtest_coverage_q90": 0.9, "peak_coverage_q90": 0.9, "points": 9,
        "run_id": "r",
    }  # fmt: skip
    store.write(VERDICTS, pd.DataFrame([{"workload": w} | verdict for w in workloads]),
                part_name(at))  # fmt: skip
    value = {
        "scope": "all", "evaluated_at": at, "started_at": at, "value": 2.0, "lower": 1.0,
        "upper": 3.0, "reason": "", "run_id": "r",
    }  # fmt: skip
    rows = [{"name": n, "unit": u} | value for n, u in _VALUES.items()]
    store.write(VALUE, pd.DataFrame(rows), part_name(at))
    return store


@contextmanager
def registry(learned: pd.Timestamp) -> Iterator[str]:
    """The address of what answers as an MLflow server whose champions learned until a moment."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            name = parse_qs(parts.query).get("name", [""])[0]
            version = {
                "name": name, "version": "3", "run_id": "r", "source": "models:/x",
                "status": "READY", "tags": [{"key": "as_of", "value": learned.isoformat()}],
            }  # fmt: skip
            body = json.dumps({"model_version": version} if name else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
