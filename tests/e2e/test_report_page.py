"""The report in a real browser: opened, searched, filtered, read by keyboard, on any screen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from report_browser import (
    MISSING,
    WIDTHS,
    Seen,
    at_its_start,
    browsing,
    faint_texts,
    opened,
    workload,
)
from report_sample import AS_OF, LEAKY, SLOW, WORKLOADS, sample

from pipelines.report import ReportData, render_report

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(MISSING, reason="chromium is not installed"),
]

_ITEMS = "#overview [data-cluster]:visible"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as one:
        yield one


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "report.html"
    data = sample()
    told = [[*data.incidents["workloads"][0], LEAKY], data.incidents["workloads"][1]]
    data = replace(data, incidents=data.incidents.assign(workloads=told))
    file.write_text(render_report(data), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def kept(browser: Browser, report: Path) -> Iterator[Seen]:
    """One open report for all tests that do not need to open their own: charts' library is slow."""
    with opened(browser, report) as seen:
        yield seen


@pytest.fixture
def page(kept: Seen) -> Iterator[Page]:
    """The open report as it was when it was opened; the test may leave no trouble behind."""
    yield at_its_start(kept.page)
    assert not kept.trouble


def number(page: Page, name: str) -> int:
    """A workload's number on the page."""
    row = page.locator("#fleet tbody tr", has=page.locator(f"a[title='{name}']"))
    return int(row.get_attribute("data-workload") or "")


def told(page: Page, selector: str) -> list[str]:
    """The full names and words of what is shown."""
    return page.locator(selector).evaluate_all(
        "nodes => nodes.map(n => n.textContent"
        " + Array.from(n.querySelectorAll('[title]'), t => t.title).join(' '))"
    )


# ---- open, search, filter


def test_it_opens_without_a_chart_and_says_how_much_it_holds(browser: Browser, report: Path):
    with opened(browser, report) as seen:
        expect(seen.page.locator("#shown")).to_have_text("7 workloads")
        assert not seen.page.evaluate("'Plotly' in window")
        assert seen.page.locator("#page").is_hidden()


def test_search_leaves_what_it_names_in_every_section_and_escape_brings_all_back(page: Page):
    before = page.locator(_ITEMS).count()
    page.keyboard.press("/")
    page.keyboard.type("Deployment/CHECK")
    expect(page.locator("#shown")).to_contain_text("1 workload of 7")
    assert 1 < page.locator(_ITEMS).count() < before
    assert all("checkout" in text for text in told(page, _ITEMS))
    expect(page.locator("#leaks .nomatch")).to_be_visible()
    expect(page.locator("nav a[href='#workloads'] b")).to_have_text("1/7")
    page.keyboard.press("Escape")
    expect(page.locator("#shown")).to_have_text("7 workloads")
    assert page.locator(_ITEMS).count() == before


def test_namespace_filters_every_section(page: Page):
    page.select_option("#namespace", "media")
    expect(page.locator("#shown")).to_contain_text("2 workloads of 7")
    places = page.locator(_ITEMS).evaluate_all("nodes => nodes.map(n => n.dataset.namespace)")
    assert set(places) == {"media"}
    page.select_option("#cluster", "prod")
    assert page.locator(_ITEMS).count() == len(places)
    page.click("#clear")
    expect(page.locator("#shown")).to_have_text("7 workloads")


def test_a_heading_sorts_its_table_both_ways(page: Page):
    names = "#fleet tbody .name"
    head = page.locator("#fleet thead th", has_text="Workload")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    up = page.locator(names).all_text_contents()
    assert up == sorted(up)
    head.locator("button").click()
    assert page.locator(names).all_text_contents() == up[::-1]


# ---- a workload's page


def test_a_workload_shows_everything_on_one_time_axis(page: Page):
    index = number(page, SLOW)
    page.click(f"#fleet tr[data-workload='{index}'] td >> nth=0")
    workload(page, index)
    assert page.url.endswith(f"#workload={index}")
    expect(page.locator("#page-title")).to_be_focused()
    expect(page.locator("#page-title")).to_have_text("payments")
    assert page.title().startswith("payments")
    drawn = page.evaluate(
        "(({data, layout}) => ({roles: data.map(t => t.meta),"
        " axes: [...new Set(data.map(t => t.xaxis))],"
        " rows: layout.annotations.map(a => a.text), deploys: layout.shapes.length - 1,"
        " alert: data.find(t => t.meta === 'alert').y}))(document.querySelector('.chart'))"
    )
    assert drawn["axes"] == ["x"]
    wanted = {"actual", "low", "high", "median", "floor", "anomaly", "score", "alert", "deploy"}
    assert wanted <= set(drawn["roles"])
    for title in ("Requests", "CPU", "Replicas", "Memory", "Latency p99", "Anomaly score"):
        assert any(title in row for row in drawn["rows"])
    assert drawn["deploys"] == 1
    assert drawn["alert"] == [1, 1]
    expect(page.locator(".facts")).to_contain_text("Lead time")
    assert page.locator("#page table caption").count() == page.locator("#page table").count() > 0


def test_the_way_back_returns_to_where_it_was_left(page: Page):
    link = page.locator("#skips a.who, #models a.who").first
    link.scroll_into_view_if_needed()
    left = page.evaluate("scrollY")
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#page[data-shows]")
    assert page.locator("#overview").is_hidden()
    page.keyboard.press("Escape")
    expect(page.locator("#overview")).to_be_visible()
    expect(link).to_be_focused()
    assert abs(page.evaluate("scrollY") - left) < 2
    assert left > 0


def test_next_and_previous_follow_the_table_as_it_is_filtered(page: Page):
    page.fill("#search", "deployment floor")
    expect(page.locator("#shown")).to_contain_text("5 workloads of 7")
    page.click("#fleet tbody tr:visible >> nth=0 >> a")
    page.wait_for_selector("#page[data-shows]")
    names = [page.locator("#page-title").inner_text()]
    expect(page.locator("#nth")).to_have_text("1 of 5")
    assert page.locator("#previous").is_hidden()
    while page.locator("#following").is_visible():
        page.click("#following")
        expect(page.locator("#page-title")).not_to_have_text(names[-1])
        names.append(page.locator("#page-title").inner_text())
    assert sorted(names) == sorted(w.rsplit("/", 1)[1] for w in WORKLOADS)
    page.click("#previous")
    expect(page.locator("#page-title")).to_have_text(names[-2])


def test_a_deep_link_opens_and_a_wrong_one_says_so(browser: Browser, report: Path):
    with opened(browser, report, "#workload=3") as seen:
        workload(seen.page, 3)
        expect(seen.page.locator(".chart .main-svg").first).to_be_visible()
        seen.page.click(".back")
        expect(seen.page.locator("#overview")).to_be_visible()
        assert not seen.page.title().startswith("cart")
    with opened(browser, report, "#workload=99") as seen:
        expect(seen.page.locator("#shown")).to_contain_text("no workload number 99")


def test_ranges_and_legend_work_by_keyboard(page: Page):
    page.evaluate("location.hash = '#workload=3'")
    workload(page, 3)
    span = "document.querySelector('.chart').layout.xaxis.range.map(x => +new Date(x))"
    page.wait_for_selector(".chart .main-svg")
    week = page.evaluate(span)
    page.locator(".range button", has_text="Day").press("Enter")
    day = page.evaluate(span)
    assert day[1] - day[0] < week[1] - week[0]
    page.get_by_role("button", name="Earlier").press("Enter")
    assert page.evaluate(span)[0] < day[0]
    key = page.get_by_role("button", name="measured")
    key.press("Space")
    assert key.get_attribute("aria-pressed") == "false"
    shown = (
        "document.querySelector('.chart').data"
        ".filter(t => t.meta === 'actual' && t.visible !== false).length"
    )
    assert page.evaluate(shown) == 0
    key.press("Space")
    assert page.evaluate(shown) > 0


@pytest.mark.parametrize("who", [SLOW, LEAKY], ids=["cause", "only in it"])
def test_a_workload_of_an_incident_shows_its_evidence(page: Page, who: str):
    index = number(page, who)
    page.evaluate(f"location.hash = '#workload={index}'")
    workload(page, index)
    incident = page.locator("#page details.incident")
    expect(incident).to_have_count(1)
    expect(incident.locator("svg").first).to_be_visible()


# ---- light and dark, any width, paper


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(page: Page, scheme: str):
    index = number(page, LEAKY)
    page.emulate_media(color_scheme=scheme)
    page.wait_for_selector(f"html[data-theme={scheme}]")
    assert not faint_texts(page)
    page.evaluate(f"location.hash = '#workload={index}'")
    workload(page, index)
    page.locator(".legend button").first.click()
    assert not faint_texts(page)


def test_nothing_scrolls_sideways_at_any_width(browser: Browser, report: Path):
    wide = "document.documentElement.scrollWidth"
    with opened(browser, report, width=min(WIDTHS)) as seen:
        page = seen.page
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate(wide) == width
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.evaluate("location.hash = '#'")
            expect(page.locator("#overview")).to_be_visible()
            page.evaluate("location.hash = '#workload=3'")
            workload(page, 3)
            assert page.evaluate(wide) == width
            assert page.locator(".chart .main-svg").first.evaluate("n => n.clientWidth") <= width


def test_paper_is_white_has_no_controls_and_opens_what_is_folded(browser: Browser, report: Path):
    with opened(browser, report, scheme="dark") as seen:
        page = seen.page
        back = "getComputedStyle(document.body).backgroundColor"
        folded = "details.incident:not([open])"
        assert page.locator(folded).count() > 0
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator(folded).count() == 0
        assert page.evaluate(back) == "rgb(255, 255, 255)"
        for control in ("nav", "#finder", "#theme"):
            assert page.locator(control).first.is_hidden()
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        page.wait_for_selector("html[data-theme=dark]")
        assert page.locator(folded).count() > 0
        assert page.evaluate(back) != "rgb(255, 255, 255)"
        page.evaluate("location.hash = '#workload=3'")
        workload(page, 3)
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert not faint_texts(page)
        for control in (".pager", "#theme", ".range"):
            assert page.locator(control).is_hidden()
        assert page.locator(".chart .main-svg").first.evaluate("n => n.clientWidth") <= 700
        # the theme is the reader's own again, and can be changed, on page and chart
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        page.wait_for_selector("html[data-theme=dark]")
        look = (
            "[getComputedStyle(document.body).backgroundColor,"
            " document.querySelector('.chart').layout.font.color]"
        )
        dark = page.evaluate(look)
        page.click("#theme")
        light = page.evaluate(look)
        assert all(a != b for a, b in zip(light, dark, strict=True))
        page.click("#theme")
        assert page.evaluate(look) == dark


# ---- keyboard and screen reader


def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(
    browser: Browser, report: Path
):
    with opened(browser, report) as seen:
        page = seen.page
        where = (
            "(() => { const n = document.activeElement, s = getComputedStyle(n); return"
            " [n.id || n.getAttribute('href'), s.outlineStyle, parseFloat(s.outlineWidth)]; })()"
        )
        stops = []
        for _ in range(20):
            page.keyboard.press("Tab")
            stops.append(page.evaluate(where))
        names = [stop[0] for stop in stops]
        assert names[0] == "#main"
        order = ["theme", "#urgent", "search", "cluster", "namespace"]
        assert [n for n in names if n in order] == order
        assert all(style != "none" and width >= 1 for _, style, width in stops)


def test_landmarks_captions_and_names_are_there(page: Page):
    for role in ("banner", "navigation", "main", "search", "contentinfo"):
        assert page.get_by_role(role).count() == 1, role
    tables = page.locator("#overview table")
    captions = tables.evaluate_all("ts => ts.map(t => t.caption && t.caption.textContent.trim())")
    assert captions
    assert all(captions)
    controls = page.locator("a:visible, button:visible, input:visible, select:visible")
    names = controls.evaluate_all(
        "ns => ns.map(n => n.textContent.trim() || n.ariaLabel || (n.labels || []).length)"
    )
    assert all(names)
    assert page.locator("#shown").get_attribute("aria-live") == "polite"
    headings = page.locator("h1:visible, h2:visible, h3:visible").evaluate_all(
        "hs => hs.map(h => Number(h.tagName[1]))"
    )
    assert headings[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(headings))


# ---- nothing at all


def test_empty_report_opens(browser: Browser, tmp_path: Path):
    file = tmp_path / "report.html"
    file.write_text(render_report(ReportData(as_of=AS_OF)), encoding="utf-8")
    with opened(browser, file) as seen:
        expect(seen.page.locator("#urgent")).to_contain_text("nothing was scored")
        expect(seen.page.locator("#finder")).to_have_count(0)
