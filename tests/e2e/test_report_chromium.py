"""The report in a real browser: it runs without an error, loads nothing, and draws."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from report_sample import AS_OF, sample

from pipelines.report import ReportData, render_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        CHROMIUM is None and os.environ.get("CI") != "true", reason="chromium is not installed"
    ),
]


def opened(folder: Path, data: ReportData, fragment: str = "") -> tuple[str, dict[str, str]]:
    """The DOM after the scripts ran, without their text, and the root element's attributes."""
    file = folder / "report.html"
    file.write_text(render_report(data), encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM or "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={folder / 'profile'}",
            "--window-size=1280,2400",
            "--virtual-time-budget=8000",
            "--enable-logging=stderr",
            "--dump-dom",
            file.as_uri() + fragment,
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    console = [
        line for line in done.stderr.decode(errors="replace").splitlines() if "CONSOLE" in line
    ]
    assert not console, console
    dom = done.stdout.decode()
    parser = _Root()
    parser.feed(dom[: dom.index("<head")])
    return re.sub(r"<script.*?</script>", "", dom, flags=re.DOTALL), parser.attributes


class _Root(HTMLParser):
    attributes: dict[str, str]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "html":
            self.attributes = {k: v or "" for k, v in attrs}


def test_first_workload_opens_and_draws(tmp_path: Path):
    dom, root = opened(tmp_path, sample(), "#workload=1")
    assert root.get("data-ready") == "true"
    assert "data-errors" not in root
    detail = re.search(r'<tr class="detail">.*?</tr>', dom, re.S)
    assert detail
    assert "js-plotly-plot" in detail[0]
    assert len(re.findall(r'class="js-line"', detail[0])) >= 6
    for title in ("Requests", "CPU", "Replicas", "Memory (working set)"):
        assert title in detail[0]


def test_charts_wait_until_a_workload_is_opened(tmp_path: Path):
    dom, root = opened(tmp_path, sample())
    assert root.get("data-ready") == "true"
    assert "js-plotly-plot" not in dom


def test_hostile_labels_run_nothing(tmp_path: Path):
    bad = f"prod/shop/Deployment/{HOSTILE.replace('/', '%2F')}"
    data = sample((bad,))
    mark = {
        "workload": bad,
        "metric": "requests_per_second",
        "ts": AS_OF - pd.Timedelta(hours=2),
        "detector": HOSTILE,
        "score": 4.0,
        "value": 80.0,
        "reason": HOSTILE,
    }
    data = dataclasses.replace(data, title="Plain", scores=pd.DataFrame([mark]))
    dom, root = opened(tmp_path, data, "#workload=2")
    assert "js-plotly-plot" in dom
    assert "data-errors" not in root
    assert "<title>Foretide – Plain</title>" in dom
    assert "<img" not in dom


def test_empty_report_opens_without_an_error(tmp_path: Path):
    dom, root = opened(tmp_path, ReportData(as_of=AS_OF))
    assert root.get("data-ready") == "true"
    assert "data-errors" not in root
    assert "nothing was scored" in dom
