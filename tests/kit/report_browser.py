"""A report in a real Chromium: what it logs and loads is kept, its colours can be measured."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

__all__ = [
    "CHROMIUM",
    "MISSING",
    "WIDTHS",
    "Seen",
    "at_its_start",
    "browsing",
    "faint_texts",
    "opened",
    "workload",
]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = CHROMIUM is None and os.environ.get("CI") != "true"
WIDTHS = (390, 820, 1440)


@dataclass
class Seen:
    """A page, and what went wrong on it."""

    page: Page
    trouble: list[str] = field(default_factory=list[str])
    loads: list[str] = field(default_factory=list[str])


@contextmanager
def browsing() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, file: Path, fragment: str = "", *, width: int = 1440, scheme: str = "light"
) -> Iterator[Seen]:
    """The report, its script done; nothing may be logged, fail or be loaded meanwhile."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    seen = Seen(context.new_page())
    seen.page.on("console", lambda message: seen.trouble.append(message.text))
    seen.page.on("pageerror", lambda error: seen.trouble.append(str(error)))
    seen.page.on("request", lambda request: seen.loads.append(request.url))
    seen.page.goto(file.as_uri() + fragment, wait_until="commit")
    seen.page.wait_for_selector("html[data-ready]", state="attached")
    yield seen
    told = seen.page.evaluate("document.documentElement.dataset.errors || ''")
    context.close()
    assert not seen.trouble
    assert not told
    assert [url.partition("#")[0] for url in seen.loads] == [file.as_uri()]


def at_its_start(page: Page) -> Page:
    """The same page without search, filter or workload, at its top, in the light."""
    page.emulate_media(media="screen", color_scheme="light")
    page.evaluate("location.hash = '#'")
    page.wait_for_selector("#overview:not([hidden])")
    page.evaluate("document.querySelector('#clear').click()")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.wait_for_function("document.querySelector('#clear').hidden")
    return page


def workload(page: Page, number: int) -> None:
    """Wait until a workload's page is drawn."""
    page.wait_for_selector(f"#page[data-shows='{number}']")


def faint_texts(page: Page) -> list[str]:
    """Texts with a contrast to what is behind them below 4.5 (3 if large): WCAG 2.2, 1.4.3."""
    return page.evaluate(_FAINT)


_FAINT = """() => {
  const parse = (c) => {
    const n = (c.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
    return [n[0], n[1], n[2], n.length > 3 ? n[3] : 1];
  };
  const over = (top, under) =>
    [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const shine = (c) => [0.2126, 0.7152, 0.0722].reduce((s, w, i) => s + w * linear(c[i] / 255), 0);
  const behind = (node) => {
    const layers = [];
    for (let n = node; n; n = n.parentElement) {
      layers.push(parse(getComputedStyle(n).backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const faint = new Map(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim(), node = walk.currentNode.parentElement;
    if (!text || node.matches("script, style, option")) continue;
    const box = node.getBoundingClientRect();
    if (!box.width || !box.height || !node.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(node), drawn = node.namespaceURI.endsWith("svg");
    const back = behind(node), ink = over(parse(drawn ? style.fill : style.color), back);
    const [a, b] = [shine(ink), shine(back)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    if (ratio < (size >= 24 || (bold && size >= 18.66) ? 3 : 4.5))
      faint.set(node.className + ": " + text.slice(0, 40), ratio.toFixed(2));
  }
  return Array.from(faint, ([what, ratio]) => what + " " + ratio);
}"""
