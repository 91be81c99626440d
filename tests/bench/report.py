"""The report of 1,000 workloads: how large it is, how soon it is open, how soon a workload is.

    python tests/bench/report.py [WORKLOADS]

Two weeks in steps of five minutes, rendered once, opened in a headless Chromium: from asking for
the file until its script is done and a frame is painted, the median of five fresh browsers. The
seconds of the page's own process do not grow when the machine has other work.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "kit")]

from report_big import big_sample  # noqa: E402

from pipelines.report import ReportData, render_report  # noqa: E402

RUNS = 5
_PAINTED = "() => new Promise(r => requestAnimationFrame(() => setTimeout(r, 0)))"


def main(workloads: int = 1000) -> None:
    data = big_sample(workloads)
    render_report(ReportData(as_of=data.as_of))  # imports, templates, the packed library
    begin = time.perf_counter()
    html = render_report(data)
    rendered = time.perf_counter() - begin
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        file.write_text(html, encoding="utf-8")
        size_mb = file.stat().st_size / 1e6
        seen = [_opened(file) for _ in range(RUNS)]
    opened, busy, searched, shown = (statistics.median(part) for part in zip(*seen, strict=True))
    print(f"figure report_render_seconds_{workloads} {rendered:.1f} s")
    print(f"figure report_mb_{workloads} {size_mb:.1f} MB")
    print(f"figure report_open_seconds_{workloads} {opened:.2f} s")
    print(f"figure report_open_cpu_seconds_{workloads} {busy:.2f} s")
    print(f"figure report_search_seconds_{workloads} {searched:.2f} s")
    print(f"figure report_workload_seconds_{workloads} {shown:.2f} s")


def _opened(file: Path) -> tuple[float, float, float, float]:
    """Seconds until the page is painted, of its process until then, and until a search in it and
    its first workload's page are."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        developer = page.context.new_cdp_session(page)
        developer.send("Performance.enable")
        begin = time.perf_counter()
        page.goto(file.as_uri(), wait_until="commit")
        page.wait_for_selector("html[data-ready]", state="attached")
        page.evaluate(_PAINTED)
        opened = time.perf_counter() - begin
        told = developer.send("Performance.getMetrics")["metrics"]
        busy = next(m["value"] for m in told if m["name"] == "ProcessTime")
        searched = _search(page)
        begin = time.perf_counter()
        page.evaluate("location.hash = '#workload=7'")
        page.wait_for_selector("#page[data-shows='7'] .main-svg")
        page.evaluate(_PAINTED)
        shown = time.perf_counter() - begin
        browser.close()
    return opened, busy, searched, shown


def _search(page: Page) -> float:
    begin = time.perf_counter()
    page.fill("#search", "checkout-004")
    page.evaluate(_PAINTED)
    page.evaluate(_PAINTED)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:2]))
