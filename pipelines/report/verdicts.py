"""The verdicts of the weeks in the shadow: for whom floors are worth it, with the numbers."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pandas as pd

from models.advice import DO_NOT, ENABLE, UNKNOWN
from pipelines.report.data import Row, number, records, text, utc
from pipelines.report.index import Index
from pipelines.report.text import decimal, named, shorten, stamp, until

__all__ = ["found_verdicts"]

_ADVICE = (
    "workload", "evaluated_at", "verdict", "reason", "weeks", "short_pod_min_reactive",
    "short_pod_min_foretide", "extra_replica_hours", "extra_cost_usd_per_week",
)  # fmt: skip
_CAPACITY = ("workload", "lead_time_s", "lead_time_source", "quantile", "gate", "gate_reason")
_BADGES = {ENABLE: "act", DO_NOT: "warn", UNKNOWN: "shadow"}
_RANKS = {ENABLE: 0, DO_NOT: 1, UNKNOWN: 2}
_NO_HPA = "no HPA"
_WINDOWS = 3


def found_verdicts(index: Index, numbers: dict[str, int]) -> Row:
    """A row a workload that has floors or a verdict, how many have which, and ``gates``: whether
    the floors of each workload may be raised, and why."""
    rows = _workloads(index, numbers)
    counts = Counter(r["verdict"] for r in rows if r["verdict"])
    judged = [at for r in records(index.data.advice, "evaluated_at") if (at := utc(r.popitem()[1]))]
    return {
        "rows": rows,
        "counts": [(v, counts[v], _BADGES[v]) for v in _BADGES if counts[v]],
        "judged_at": stamp(max(judged)) if judged else None,
        "gates": _gates(index),
    }


def _gates(index: Index) -> dict[str, str]:
    newest = _newest(index.data.capacity, "issued_at", _CAPACITY)
    return {
        w: ": ".join(filter(None, (text(r["gate"]), shorten(text(r["gate_reason"]), 200))))
        for w, r in newest.items()
    }


def _workloads(index: Index, numbers: dict[str, int]) -> list[Row]:
    """Who has floors, or a verdict on them: those that are worth it first."""
    data = index.data
    capacity = _newest(data.capacity, "issued_at", _CAPACITY)
    advice = _newest(data.advice, "evaluated_at", _ADVICE)
    alone = {text(r.get("workload")): text(r.get("reason")) for r in data.left_alone}
    has = {w for w, r in capacity.items() if not text(r["gate_reason"]).startswith(_NO_HPA)}
    names = sorted(has | advice.keys() | index.plan.keys())
    nothing = dict.fromkeys((*_ADVICE, *_CAPACITY))
    rows = [
        _workload(
            index, w, numbers, nothing | capacity.get(w, {}), nothing | advice.get(w, {}), alone
        )
        for w in names
    ]
    return sorted(rows, key=lambda r: (r["rank"], -r["rise"], r["workload"]))


def _workload(
    index: Index,
    workload: str,
    numbers: dict[str, int],
    capacity: Row,
    advice: Row,
    alone: dict[str, str],
) -> Row:
    ahead, rise = _windows(index, workload)
    modes = [w["mode"] for w in ahead]
    lead_s, level = number(capacity["lead_time_s"]), number(capacity["quantile"])
    verdict = text(advice["verdict"])
    shut = text(capacity["gate"]) == "shadow"
    return {
        "who": named(workload, numbers),
        "workload": workload,
        "verdict": verdict,
        "weeks": _weeks(advice),
        "badge": _BADGES.get(verdict, "shadow"),
        "rank": _RANKS.get(verdict, 3),
        "reason": shorten(text(advice["reason"]), 240) if verdict else "",
        "mode": modes[0] if modes else "",
        "gate": shorten(text(capacity["gate_reason"]), 200) if shut else "",
        "lead": f"{math.ceil(lead_s):,} s" if math.isfinite(lead_s) else "–",
        "lead_sort": lead_s,
        "source": shorten(text(capacity["lead_time_source"]), 120),
        "level": _level(level),
        "level_sort": level,
        "ahead": ahead[:_WINDOWS],
        "more": max(len(ahead) - _WINDOWS, 0),
        "rise": rise,
        "alone": shorten(alone.get(workload, ""), 160),
    } | _a_week(advice)


def _a_week(advice: Row) -> Row:
    """What floors would have changed, per week."""
    before, after = (number(advice[f"short_pod_min_{p}"]) for p in ("reactive", "foretide"))
    hours, usd = number(advice["extra_replica_hours"]), number(advice["extra_cost_usd_per_week"])
    extra = f"{'+' if hours >= 0 else '−'}{decimal(abs(hours))} pod-hours"
    money = f", {'−' if usd < 0 else ''}${decimal(abs(usd))}"
    return {
        "short": f"{decimal(before)} → {decimal(after)}" if math.isfinite(before) else "–",
        "short_sort": before - after,
        "extra": f"{extra}{money if math.isfinite(usd) else ''}" if math.isfinite(hours) else "",
    }


def _weeks(advice: Row) -> str:
    weeks = number(advice["weeks"])
    return f"{weeks:.0f}" if math.isfinite(weeks) else "–"


def _level(level: float) -> str:
    if not math.isfinite(level):
        return "–"
    return "none pays" if level <= 0 else f"{100 * level:.4g} %"


def _windows(index: Index, workload: str) -> tuple[list[Row], float]:
    """A workload's floors that are not over, in the order of time, and the largest rise."""
    now = utc(index.data.as_of)
    out: list[Row] = []
    rise = 0.0
    for row in index.plan.get(workload, []):
        lo, hi = utc(row["ts_from"]), utc(row["ts_to"])
        if lo is None or hi is None or now is None or hi <= now:
            continue
        before, after = number(row["floor_from"]), number(row["floor_to"])
        rise = max(rise, float(np.nan_to_num(after - before)))
        begins, ends = stamp(lo) or {}, stamp(hi) or {}
        today = stamp(now) or {}
        out.append(
            {
                "from": begins | {"read": until(today, begins)},
                "to": ends | {"read": until(begins, ends)},
                "after": decimal(after),
                "mode": text(row["mode"]) or "shadow",
            }
        )
    return sorted(out, key=lambda w: w["from"]["sort"]), rise


def _newest(frame: pd.DataFrame, by: str, columns: tuple[str, ...]) -> dict[str, Row]:
    """The newest row of every workload."""
    if frame.empty or not {by, "workload"} <= set(frame.columns):
        return {}
    rows = frame.assign(workload=frame["workload"].astype("str")).sort_values(by, kind="stable")
    last = records(rows.drop_duplicates("workload", keep="last"), *columns)
    return {str(r["workload"]): r for r in last}
