"""The report: one HTML file that says what a run found and opens without a network.

``render_report`` is pure: the same tables give the same bytes, no file is written and no clock is
asked. Label values are data throughout: the template escapes them, the JSON beside it holds no
markup characters, the page's script writes text nodes only, and its content security policy forbids
every load and every script but the two that are inlined.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from pipelines.report.charts import chart, points_per_trace
from pipelines.report.data import ReportData, ReportParams
from pipelines.report.facts import facts
from pipelines.report.index import Index
from pipelines.report.view import view

__all__ = ["ReportData", "ReportParams", "render_report"]

_TEMPLATES = Path(__file__).parent / "templates"
_ESCAPES = (
    (b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"), ("\u2029".encode(), b"\\u2029"),
)  # fmt: skip


def render_report(data: ReportData, params: ReportParams | None = None) -> str:
    """The report as one HTML document.

    Anything in ``data`` but ``as_of`` may be empty; what is not finite is left out.
    """
    params = params or ReportParams()
    with np.errstate(over="ignore", invalid="ignore"):
        index = Index.of(data, params)
        shown = view(index)
        said = facts(index, shown)
        most = points_per_trace(index)
        charts = [
            _json(chart(index, w, most) | {"full": w, "facts": said.get(w, [])})
            for w in index.workloads
        ]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            **shown,
            charts=charts,
            css=_asset("report.css"),
            script=_asset("report.js"),
            plotly=_plotly(),
            policy=_policy(),
        )
    )


def _json(value: Any) -> Markup:
    """JSON that can stand inside a script element: no character of it can end or open markup."""
    raw = msgspec.json.encode(value)
    for character, escape in _ESCAPES:
        raw = raw.replace(character, escape)
    return Markup(raw.decode())  # noqa: S704 - escaped for script elements just above


def _digest(script: str) -> str:
    """The script's name in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@cache
def _policy() -> str:
    return f"{_digest(_asset('report.js'))} {_digest(_plotly())}"


@cache
def _plotly() -> Markup:
    return Markup(get_plotlyjs())  # noqa: S704 - a script of Plotly's package


@cache
def _asset(name: str) -> Markup:
    text = (_TEMPLATES / name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - our own file


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
