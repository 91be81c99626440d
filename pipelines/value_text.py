"""The weekly value report in words: lines for a terminal, a document for everybody else."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from models.value import ValueParams
from pipelines.plain import plain
from pipelines.run import Run
from pipelines.value import ALL

__all__ = ["told_value", "value_document", "value_file", "value_lines"]


def told_value(table: pd.DataFrame) -> tuple[str, ...]:
    """The lines that an evaluation prints: what is known of what matters most."""
    known = {str(row["name"]): row for row in _rows(table, ALL) if np.isfinite(row["value"])}
    return tuple(
        f"  {words}: {_figure(row)}{_span(row)}"
        for name, words in _TOLD.items()
        if (row := known.get(name)) is not None
    )


def value_document(table: pd.DataFrame, params: ValueParams) -> str:
    """The report as Markdown: every figure, its interval, or why it is not known."""
    first = table.iloc[0]
    head = (
        f"# Value of the {_length(first)} to {first['evaluated_at']:%Y-%m-%d %H:%M} UTC\n\n"
        f"From {first['started_at']:%Y-%m-%d %H:%M} on. Intervals: {params.confidence:.0%}, over "
        "the incidents, days, series or workloads of this time; of fewer than "
        f"{params.least_units} there is none. An incident begins where Foretide's own scores say "
        "that it did. Pre-scaling is replayed beside the HPA alone on what was measured; floors "
        "that were only shown count as if they had stood.\n\n"
        "| what | figure | interval | |\n|---|---|---|---|\n"
    )
    lines = [
        f"| {row['what']} | {row['figure']} | {row['interval']} | {row['reason']} |"
        for row in value_lines(table, ALL)
    ]
    return head + "\n".join(lines) + "\n" + _by_cluster(table)


def value_lines(table: pd.DataFrame, scope: str | None = None) -> list[dict[str, str]]:
    """Every figure in words, of one scope or of each: ``scope, name, what, figure, interval,
    reason``, and ``told``, the shorter words for what matters most (empty for all else)."""
    scopes = [scope] if scope is not None else list(table["scope"].astype("str").unique())
    return [
        {
            "scope": str(row["scope"]),
            "name": (name := str(row["name"])),
            "what": _WORDS.get(name, name),
            "told": _TOLD.get(name, ""),
            "figure": _figure(row),
            "interval": _span(row).strip(" ()"),
            "reason": row["reason"] or "",
        }
        for one in scopes
        for row in _rows(table, one)
    ]


def _by_cluster(table: pd.DataFrame) -> str:
    """What matters most, of each of several clusters; all else is in the table of figures."""
    scopes = [s for s in table["scope"].astype("str").unique() if s != ALL]
    if not scopes:
        return ""
    lines = [f"\n## By cluster\n\n| cluster | {' | '.join(_TOLD.values())} |"]
    lines.append("|---" * (1 + len(_TOLD)) + "|")
    for scope in scopes:
        known = {str(row["name"]): row for row in _rows(table, scope)}
        cells = (f"{_figure(r)}{_span(r)}" for r in map(known.get, _TOLD) if r)
        lines.append(f"| {_safe(scope)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _safe(name: str) -> str:
    """A cluster's name as it is, and never as markup."""
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", html.escape(plain(name)))


def _length(row: pd.Series) -> str:
    days = (row["evaluated_at"] - row["started_at"]) / pd.Timedelta(1, "D")
    return "week" if days == 7 else f"{days:g} days"


def value_file(run: Run) -> str:
    """Where in the store the document of this run is."""
    return f"evaluation/{run.part}-value.md"


def _rows(table: pd.DataFrame, scope: str) -> list[dict[str, Any]]:
    mine = table[table["scope"] == scope]
    return [{str(k): v for k, v in row.items()} for row in mine.to_dict("records")]


def _shown(value: float, unit: str) -> str:
    if not np.isfinite(value):
        return "–"
    if unit == "share":
        return f"{value:.1%}"
    return f"{value:,.0f} {unit}" if unit == "incidents" else f"{_rounded(value)} {unit}"


def _rounded(value: float) -> str:
    """Three digits and no more: an interval is never known better."""
    if value and abs(value) < 1:
        return f"{value:.2g}"
    digits = 1 if abs(value) < 100 else min(0, 2 - int(np.log10(abs(value))))
    return f"{round(value, digits):,.{max(digits, 0)}f}".removesuffix(".0")


def _figure(row: Mapping[str, Any]) -> str:
    """A figure in words; a lead that is negative is a lag."""
    value, unit = row["value"], row["unit"]
    if row["name"] not in _LEADS or not np.isfinite(value):
        return _shown(value, unit)
    return f"{_shown(abs(value), unit)}{_side(value)}"


def _span(row: Mapping[str, Any]) -> str:
    if not np.isfinite(row["lower"]):
        return ""
    low, high, unit = row["lower"], row["upper"], row["unit"]
    if row["name"] not in _LEADS:
        ends = (_shown(end, unit).removesuffix(f" {unit}") for end in (low, high))
        return " (" + " to ".join(ends) + ")"
    if low < 0 < high:
        return f" ({_shown(-low, unit)} later to {_shown(high, unit)} sooner)"
    near, far = sorted((abs(low), abs(high)))
    return f" ({_rounded(near)} to {_shown(far, unit)}{_side(low + high)})"


def _side(value: float) -> str:
    return "" if value == 0 else " sooner" if value > 0 else " later"


_LEADS = ("sooner_minutes", "sooner_minutes_mean")
_WORDS = {
    "incidents": "incidents told of",
    "detect_minutes": "from an incident's beginning until it was told of, median",
    "detect_minutes_mean": "the same, mean",
    "static_detect_minutes": "until static thresholds told of it, where they did, median",
    "static_detect_minutes_mean": "the same, mean",
    "sooner_minutes": "told, beside static thresholds, where both found it, median",
    "sooner_minutes_mean": "the same, mean",
    "static_missed_share": "of Foretide's incidents, missed by static thresholds",
    "incidents_per_day": "incidents",
    "alerts_per_day": "stretches over the alert line, before grouping",
    "static_alerts_per_day": "alerts of static thresholds",
    "static_only_share": "of them about nothing that Foretide told of: their noise, or our miss",
    "repeat_share": "incidents whose first cause had been told of shortly before",
    "forecast_wape": "error of issued forecasts (WAPE), median series",
    "forecast_q90_coverage": "steps under the 90 % forecast",
    "short_pod_minutes_hpa": "pod-minutes short with the HPA alone",
    "short_pod_minutes": "pod-minutes short with floors",
    "short_pod_minutes_avoided": "pod-minutes short avoided",
    "replica_hours": "pod-hours with floors",
    "replica_hours_extra": "pod-hours more than the HPA alone",
    "node_hours_extra": "node-hours more than the HPA alone, by requested cores",
    "usd_spent": "spent on them",
    "usd_saved": "worth of the avoided pod-minutes, at your under_cost : over_cost",
}
_TOLD = {
    "sooner_minutes": "told, beside static thresholds (median)",
    "incidents_per_day": "incidents",
    "static_alerts_per_day": "static thresholds would have told",
    "short_pod_minutes_avoided": "pod-minutes short avoided",
    "usd_spent": "spent",
    "usd_saved": "saved",
}
