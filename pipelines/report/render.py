"""The report: one HTML file that says what a run found and opens without a network.

``render_report`` is pure: the same tables give the same bytes, no file is written and no clock is
asked. Label values are data throughout: the template escapes them, the data beside it is base64,
the page's script writes text nodes only, and its content security policy forbids every load and
every script but the two that the file holds.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.report import assets
from pipelines.report.charts import chart, points_per_trace
from pipelines.report.data import ReportData, ReportParams
from pipelines.report.facts import facts
from pipelines.report.index import Index
from pipelines.report.scored import score_lines
from pipelines.report.view import view

__all__ = ["ReportData", "ReportParams", "render_report"]

_INDENTED = re.compile(r"(?<=>)\n\s*(?=</?(?:td|th|tr|tbody|thead)\b)")
"""Lines between a table's parts: a node each for the browser, and no meaning. Data has no ``<``."""


def render_report(data: ReportData, params: ReportParams | None = None) -> str:
    """The report as one HTML document.

    Anything in ``data`` but ``as_of`` may be empty; what is not finite is left out.
    """
    params = params or ReportParams()
    with np.errstate(over="ignore", invalid="ignore"):
        index = Index.of(data, params)
        shown = view(index)
        said = facts(index, shown)
        most, scores = points_per_trace(index), score_lines(index)
        charts = [
            assets.packed(
                chart(index, w, most, scores.get(w)) | {"full": w, "facts": said.get(w, [])}
            )
            for w in index.workloads
        ]
    html = (
        _environment()
        .get_template("report.html.j2")
        .render(
            **shown,
            charts=charts,
            css=assets.style(),
            script=assets.script(),
            plotly=assets.library(),
            policy=assets.policy(),
        )
    )
    return _INDENTED.sub("", html)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(assets.TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
