"""The report in a real browser where labels are hostile, and where there are many workloads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, expect
from report_big import big_sample
from report_browser import MISSING, browsing, opened, workload
from report_sample import AS_OF, sample

from pipelines.report import render_report

HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
    "\"'&%{x}{{ 7*7 }}"
)
LONG = "x" * 10_000

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(MISSING, reason="chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as one:
        yield one


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    label = HOSTILE.replace("/", "%2F")
    bad = f"prod/{label}/Deployment/{label}"
    data = sample((bad, f"{LONG}/{LONG}/Deployment/{LONG}"))
    mark = {
        "workload": bad,
        "metric": "requests_per_second",
        "ts": AS_OF - pd.Timedelta(hours=2),
        "detector": HOSTILE,
        "score": 4.0,
        "value": 80.0,
        "reason": HOSTILE,
    }
    file = tmp_path_factory.mktemp("report") / "report.html"
    data = dataclasses.replace(data, title="Plain", scores=pd.DataFrame([mark]))
    file.write_text(render_report(data), encoding="utf-8")
    return file


def test_hostile_labels_stay_text_on_every_view(browser: Browser, hostile: Path):
    label = HOSTILE.replace("/", "%2F")
    with opened(browser, hostile, width=1440) as seen:
        page = seen.page
        assert page.title() == "Foretide – Plain"
        page.select_option("#namespace", HOSTILE)
        expect(page.locator("#shown")).to_contain_text("1 workload of")
        page.click("#fleet tbody tr:visible a")
        page.wait_for_selector(".chart .main-svg")
        page.locator(".chart").hover()
        expect(page.locator("#page-full")).to_have_text(f"prod/{label}/Deployment/{label}")
        page.click("summary:has-text('Anomalies on the chart')")
        expect(page.locator("#page table").first).to_contain_text(HOSTILE[:40])
        assert page.title() != "owned"
        assert page.locator("img").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") == 1440


def test_no_label_is_wider_than_a_phone(browser: Browser, hostile: Path):
    """Neither markup nor ten thousand characters."""
    with opened(browser, hostile, width=390) as seen:
        page = seen.page
        assert page.locator("header.top").evaluate("n => n.clientHeight") < 800
        for searched in (HOSTILE.replace("/", "%2f")[:40], LONG):
            page.fill("#search", searched)
            expect(page.locator("#shown")).to_contain_text("1 workload of")
            assert page.evaluate("document.documentElement.scrollWidth") == 390
            page.click("#fleet tbody tr:visible a")
            page.wait_for_selector("#page[data-shows] .chart .main-svg")
            assert page.locator("#page-title").evaluate("n => n.clientHeight") < 400
            page.click("summary:has-text('Full name')")
            assert page.evaluate("document.documentElement.scrollWidth") == 390
            page.keyboard.press("Escape")
            expect(page.locator("#overview")).to_be_visible()
            page.click("#clear")
            expect(page.locator("#shown")).not_to_contain_text("of")
        page.evaluate("history.back()")
        page.wait_for_selector("#page[data-shows]")
        assert LONG in (page.locator("#page-full").text_content() or "")
        assert page.title() != "owned"


def test_many_workloads_show_the_first_and_find_any(browser: Browser, tmp_path: Path):
    """Nothing lays out more than its first rows or draws a chart before it is asked for."""
    file = tmp_path / "report.html"
    file.write_text(render_report(big_sample(200, days=7, step_min=60)), encoding="utf-8")
    assert file.stat().st_size < 12_000_000
    with opened(browser, file) as seen:
        page = seen.page
        shown = page.locator("#overview tbody tr:visible")
        assert shown.count() < 200 < page.locator("#overview tbody tr").count()
        assert not page.evaluate("'Plotly' in window")
        page.fill("#search", "payments-039")
        expect(page.locator("#shown")).to_contain_text("1 workload of")
        row = page.locator("#fleet tbody tr:visible")
        expect(row).to_have_count(1)
        index = int(row.get_attribute("data-workload") or "")
        row.locator("a").click()
        workload(page, index)
        expect(page.locator(".chart .main-svg").first).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        page.keyboard.press("Escape")
        page.click("#workloads .showall")
        expect(page.locator("#fleet tbody tr:visible")).to_have_count(
            page.locator("#fleet tbody tr").count()
        )
