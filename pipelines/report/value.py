"""What the page says of the value: the figures of the newest week that was judged, in the words of
``pipelines.value_text``."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pipelines.report.data import ReportData, Row, utc
from pipelines.report.text import shorten, stamp

__all__ = ["found_value"]

_WEEK = pd.Timedelta(7, "D")


def found_value(data: ReportData) -> Row:
    """``told`` (what matters most), ``rows`` (every figure of all clusters), ``clusters`` (what
    matters most of each, where there are several), the window, and whether it is
    ``old``: over for more than a week."""
    scopes: dict[str, list[Row]] = {}
    for row in data.value:
        scopes.setdefault(str(row["scope"]), []).append(_line(row))
    first, *others = scopes.items() or [("", [])]
    window, now = data.value_window, utc(data.as_of)
    return {
        "old": bool(window and now is not None and now - window[1] > _WEEK),
        "told": [r for r in first[1] if r["told"]],
        "rows": first[1],
        "clusters": [
            {"cluster": scope, "told": [r for r in rows if r["told"]]} for scope, rows in others
        ],
        "from": stamp(window[0]) if window else None,
        "to": stamp(window[1]) if window else None,
    }


def _line(row: Any) -> Row:
    return {
        "what": shorten(str(row["what"]), 160),
        "told": shorten(str(row["told"]), 160),
        "figure": shorten(str(row["figure"]), 60),
        "interval": shorten(str(row["interval"]), 60),
        "reason": shorten(str(row["reason"]), 240),
    }
