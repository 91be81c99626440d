"""What a rendered report holds, read back: its charts, their lines, its sections."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any


def charts(html: str) -> list[dict[str, Any]]:
    found = re.findall(r'<script type="text/plain" id="w\d+">(.*?)</script>', html, re.S)
    return [json.loads(zlib.decompress(base64.b64decode(text, validate=True))) for text in found]


def values(trace: dict[str, Any]) -> list[float | None]:
    if "r" not in trace:
        return trace["v"]
    pairs = zip(trace["r"][::2], trace["r"][1::2], strict=True)
    return [value for value, count in pairs for _ in range(count)]


def chart_of(html: str, workload: str) -> dict[str, Any]:
    return next(c for c in charts(html) if c["full"] == workload)


def traces(chart: dict[str, Any], title: str, role: str) -> list[dict[str, Any]]:
    row = next(i for i, r in enumerate(chart["rows"]) if r["title"] == title)
    return [t for t in chart["traces"] if t["row"] == row and t["role"] == role]


def section(html: str, name: str) -> str:
    return first(rf'(<section id="{name}".*?</section>)', html)


def first(pattern: str, html: str) -> str:
    found = re.search(pattern, html, re.S)
    assert found, pattern
    return found[1]
