"""Runs of the whole ``ingest``, and what the store holds after them.

Every run signs in with secrets, and whatever it says (stdout, stderr, logs, errors) is searched for
them.
"""

from __future__ import annotations

import base64
import json
import logging
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from source_contract import everything_said

from pipelines.cli import _run_cli
from pipelines.ingest import ingest

__all__ = [
    "END",
    "METRICS",
    "SECRETS",
    "START",
    "STEP_MS",
    "Ingest",
    "Ran",
    "day",
    "grid",
    "sizes",
    "table",
]

DAY_MS = 86_400_000
STEP_MS = 300_000
START = pd.Timestamp("2026-06-01", tz="UTC")
DAYS = 3
END = START + pd.Timedelta(days=DAYS)

USER, PASSWORD, TOKEN = "reader", "pass/w0rd+4b7d2a", "tok-9f3a7c1e55d0"
SECRETS = (
    PASSWORD,
    TOKEN,
    base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(),
    PASSWORD.replace("/", "%2F").replace("+", "%2B"),
)

CATALOG = {
    "cpu_usage_cores": {"unit": "cores", "role": "demand", "minimum": 0},
    "memory_rss_bytes": {"unit": "bytes", "role": "resource"},
    "requests_per_second": {"unit": "requests/s", "role": "demand"},
}
METRICS = tuple(CATALOG)
QUICK = {"attempts": 8, "retry_wait_s": 0.01, "retry_wait_max_s": 0.05}
A_DAY_A_PIECE = {"first_query_steps": 288, "max_points_per_query": 288 * 4}


@dataclass(frozen=True)
class Ran:
    """``result`` is the outcome's JSON, or empty where the run was red; ``line`` says why then."""

    code: int
    result: dict[str, Any]
    err: str

    @property
    def notes(self) -> str:
        return "\n".join(self.result["notes"])

    @property
    def line(self) -> str:
        lines = [x for x in self.err.splitlines() if not x.startswith("ingest: ")]
        assert len(lines) == 1, self.err
        return lines[0]


@dataclass
class Ingest:
    """One store and its source. ``source``, ``knobs`` and ``ingest`` override settings."""

    url: str
    folder: Path
    capsys: pytest.CaptureFixture[str]
    caplog: pytest.LogCaptureFixture
    source: dict[str, Any] = field(default_factory=dict)
    knobs: dict[str, Any] = field(default_factory=dict)
    ingest: dict[str, Any] = field(default_factory=dict)
    queries: dict[str, str] = field(default_factory=dict)
    """In the place of the metric's own name."""
    password_in_url: bool = False

    @property
    def out(self) -> Path:
        return self.folder / "store"

    def config(self) -> str:
        where = self.url
        who: dict[str, Any] = {"username": USER, "password": PASSWORD}
        if self.password_in_url:
            quoted = PASSWORD.replace("/", "%2F").replace("+", "%2B")
            where, who = where.replace("//", f"//{USER}:{quoted}@"), {}
        source = {
            "url": where,
            **who,
            "headers": {"X-Api-Token": TOKEN},
            "catalog": str(self.catalog()),
            "reread_s": 0,
            "prometheus": QUICK | A_DAY_A_PIECE | self.knobs,
        }
        settings = {
            "source": source | self.source,
            "ingest": self.ingest,
            "history": {"days": DAYS},
        }
        path = self.folder / "foretide.yaml"
        path.write_text(yaml.safe_dump(settings))
        return str(path)

    def catalog(self) -> Path:
        """Of its own: the shipped ones are large, and every task of a run reads the catalog."""
        own = {name: f"{name}{{$__select}}" for name in METRICS}
        asked = self.queries or own
        path = self.folder / "catalog.yaml"
        metrics = {name: CATALOG[name] | {"query": query} for name, query in asked.items()}
        path.write_text(yaml.safe_dump({"metrics": metrics}))
        return path

    def arguments(self, *options: str, as_of: pd.Timestamp = END) -> list[str]:
        where = ["--config", self.config(), "--out", str(self.out)]
        return ["ingest", *where, "--as-of", as_of.isoformat(), "--json", *options]

    def run(self, *options: str, as_of: pd.Timestamp = END) -> Ran:
        """By the command line, in this process."""
        self.listen()
        code = _run_cli(self.arguments(*options, as_of=as_of))
        out, err = self.capsys.readouterr()
        assert_no_secret("\n".join((out, err, *self.logged())))
        assert "Traceback" not in err
        return Ran(code, json.loads(out) if out else {}, err)

    def done(self, *options: str, as_of: pd.Timestamp = END) -> Ran:
        """The same, and it must not be red."""
        ran = self.run(*options, as_of=as_of)
        assert ran.code == 0, ran.err
        return ran

    def red(self) -> Ran:
        """The same, and it must be; then once more, for the error and all that hangs on it."""
        ran = self.run()
        assert ran.code == 1
        assert ran.line.startswith("foretide: ")
        self.listen()
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is, no secret is in it
            ingest.fn(config=self.config(), out=str(self.out), as_of=END.isoformat())
        error = caught.value
        told = "".join(traceback.format_exception(error))
        assert_no_secret("\n".join((everything_said(error), told, *self.logged())))
        self.capsys.readouterr()
        return ran

    def listen(self) -> None:
        """To everything that is logged, whoever was told to be quiet before."""
        self.caplog.clear()
        self.caplog.set_level(logging.DEBUG)
        for name in ("stamina", "httpx", "httpcore", "prefect", "pipelines"):
            self.caplog.set_level(logging.DEBUG, logger=name)

    def logged(self) -> list[str]:
        return [f"{r.getMessage()} {vars(r)}" for r in self.caplog.records]


def assert_no_secret(text: str) -> None:
    for secret in SECRETS:
        beginning = secret[:10]  # an error that is cut may not cut a secret that it should hide
        assert beginning not in text, text[max(0, text.index(beginning) - 200) :][:400]


def table(out: Path) -> pd.DataFrame:
    """The samples as a data scientist reads them, in an order of their own; no key comes twice."""
    frame = pd.read_parquet(out / "samples")
    keys = ["metric", "cluster", "namespace", "kind", "name", "ts"]
    frame = frame.astype(dict.fromkeys(keys[:-1], "str"))[[*keys, "value"]]
    assert not frame.duplicated(keys).any()
    assert np.isfinite(frame["value"]).all()
    return frame.sort_values(keys, ignore_index=True)


def sizes(out: Path) -> dict[str, bytes]:
    """The samples' files, byte by byte."""
    files = (out / "samples").rglob("*.parquet")
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def grid(start: pd.Timestamp = START, steps: int = DAYS * 288) -> np.ndarray:
    return start.value // 10**6 + np.arange(steps) * STEP_MS


def day(number: int) -> int:
    """The left edge of the window's day, counted from 0, Unix milliseconds."""
    return START.value // 10**6 + number * DAY_MS
