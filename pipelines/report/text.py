"""Numbers as people read them: durations, quantities with their unit, stamps."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from pipelines.report.data import utc, workload_parts

__all__ = [
    "decimal",
    "duration",
    "metric_title",
    "named",
    "quantity",
    "shorten",
    "span",
    "stamp",
    "unit_of",
    "until",
]

_TITLES = {
    "requests_per_second": "Requests",
    "cpu_usage_cores": "CPU",
    "memory_rss_bytes": "Memory (RSS)",
    "memory_working_set_bytes": "Memory (working set)",
    "memory_limit_bytes": "Memory limit",
    "error_ratio": "Errors",
    "latency_p50_seconds": "Latency p50",
    "latency_p99_seconds": "Latency p99",
    "restarts_total": "Restarts",
    "replicas": "Replicas",
    "disk_used_bytes": "Disk used",
}
_BYTES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
_DURATIONS = (
    (90.0, 1.0, "s"), (90 * 60.0, 60.0, "min"), (72 * 3600.0, 3600.0, "h"),
    (365 * 86400.0, 86400.0, "days"),
)  # fmt: skip


def duration(seconds: Any) -> str:
    """``31 h``, ``4.2 days``; words where there is no number."""
    if seconds is None or math.isnan(seconds):
        return "unknown"
    if seconds <= 0:
        return "now"
    for below, size, unit in _DURATIONS:
        if seconds < below:
            count = seconds / size
            digits = 1 if unit in ("h", "days") and count < 10 else 0
            return f"{count:.{digits}f}".removesuffix(".0") + f" {unit}"
    return "more than a year" if math.isfinite(seconds) else "not in sight"


def decimal(value: Any, digits: int = 3) -> str:
    """About ``digits`` significant digits, e.g. ``1,240``, ``3.07``; a dash for no number."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size > 14 or size < -6:
        return f"{value:.{digits - 1}e}"
    text = f"{value:,.{max(digits - 1 - size, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def unit_of(metric: str, peak: float) -> tuple[float, str]:
    """Factor and unit in which values of a metric up to ``peak`` read well."""
    peak = abs(peak) if math.isfinite(peak) else 0.0
    per_second = "/s" if metric.endswith("_per_second") else ""
    stem = metric.removesuffix("_per_second")
    if stem.endswith("_bytes"):
        size, unit = next((b for b in _BYTES if peak >= b[0]), _BYTES[-1])
        return 1 / size, unit + per_second
    if stem.endswith("_cores"):
        return (1000.0, "millicores") if 0 < peak < 0.5 else (1.0, "cores")
    if stem.endswith("_seconds"):
        return (1000.0, "ms") if 0 < peak < 1 else (1.0, "s")
    if stem.endswith("_ratio"):
        return 100.0, "%"
    return 1.0, per_second


def quantity(value: Any, metric: str, per: str = "") -> str:
    """A value of a metric with its unit, e.g. ``512 MiB``; a dash for no number."""
    if value is None or not math.isfinite(value):
        return "–"
    factor, unit = unit_of(metric, value)
    gap = "" if unit.startswith(("%", "/")) else " "
    return f"{decimal(value * factor)}{gap}{unit}{per}".strip()


def span(low: float, high: float, metric: str) -> str:
    """``269 – 960 MiB``: two values of a metric in one unit; empty where either is not known."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    factor, unit = unit_of(metric, max(abs(low), abs(high)))
    gap = "" if unit.startswith(("%", "/")) else " "
    return f"{decimal(low * factor)} – {decimal(high * factor)}{gap}{unit}".strip()


def metric_title(metric: str) -> str:
    """A metric's name for people."""
    return _TITLES.get(metric) or shorten(metric.replace("_", " "), 60)


def shorten(text: str, most: int = 90) -> str:
    """The beginning and the end of a text that is too long to show."""
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 1]}…{text[-tail:]}"


def stamp(at: Any) -> dict[str, Any] | None:
    """A stamp for people (UTC), for machines, and for sorting."""
    when = utc(at)
    if when is None:
        return None
    return {
        "text": f"{when:%a} {when.day} {when:%b %H:%M}",
        "iso": f"{when:%Y-%m-%dT%H:%M:%S}Z",
        "day": f"{when:%Y-%m-%d}",
        "clock": f"{when:%H:%M}",
        "sort": int(pd.Timestamp(when).timestamp()),
    }


def until(start: dict[str, Any], end: dict[str, Any]) -> str:
    """The end of a window as read after its start: without the date if it is the same."""
    return end["clock"] if end["day"] == start["day"] else end["text"]


def named(workload: str, numbers: dict[str, int]) -> dict[str, Any]:
    """A workload as tables name it; ``index`` is its number on the page, if it has one."""
    cluster, namespace, kind, name = workload_parts(workload)
    return {
        "index": numbers.get(workload),
        "name": shorten(name),
        "place": " / ".join(shorten(p, 40) for p in (cluster, namespace, kind) if p),
        "full": workload,
        "cluster": cluster,
        "namespace": namespace,
    }
