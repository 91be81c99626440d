"""What the page says of pre-scaling: who should have it, what is ahead, what is held, what cannot
be."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from models.advice import DO_NOT, ENABLE, UNKNOWN
from pipelines.report.data import Row, number, records, text, utc
from pipelines.report.index import Index
from pipelines.report.text import decimal, duration, named, shorten, stamp, until

__all__ = ["found_prescaling"]

_ADVICE = (
    "workload", "evaluated_at", "verdict", "reason", "weeks", "short_pod_min_reactive",
    "short_pod_min_foretide", "extra_replica_hours", "extra_cost_usd_per_week",
)  # fmt: skip
_CAPACITY = ("workload", "lead_time_s", "lead_time_source", "quantile", "gate", "gate_reason")
_BADGES = {ENABLE: "act", DO_NOT: "warn", UNKNOWN: "shadow"}
_RANKS = {ENABLE: 0, DO_NOT: 1, UNKNOWN: 2}
_NO_HPA = "no HPA"
_HELD = ("done", "kept")
_CALM = ("intended", "shown", "waiting", "given_back")
_WINDOWS = 3


def found_prescaling(index: Index, numbers: dict[str, int]) -> Row:
    """Shortfalls, what is held, a row a workload, and room and nodes that are held for floors."""
    rows = _workloads(index, numbers)
    counts = Counter(r["verdict"] for r in rows if r["verdict"])
    judged = [at for r in records(index.data.advice, "evaluated_at") if (at := utc(r.popitem()[1]))]
    return {
        "problem": shorten(index.data.plan_problem, 300),
        "shortfalls": _shortfalls(index, numbers),
        "held": _held(index, numbers),
        "rows": rows,
        "counts": [(v, counts[v], _BADGES[v]) for v in _BADGES if counts[v]],
        "judged_at": stamp(max(judged)) if judged else None,
        "room": [_room(r) for r in index.data.room],
    }


def _shortfalls(index: Index, numbers: dict[str, int]) -> list[Row]:
    rows: list[Row] = []
    for short in index.data.shortfalls:
        wanted, held = number(short.get("wanted")), number(short.get("held"))
        at = stamp(short.get("at"))
        rows.append(
            {
                "who": named(text(short.get("what")), numbers),
                "at": at,
                "ahead": _ahead(index, short.get("at")),
                "wanted": decimal(wanted),
                "held": decimal(held),
                "reason": shorten(text(short.get("reason")), 240),
            }
        )
    return sorted(rows, key=lambda r: math.inf if r["at"] is None else r["at"]["sort"])


def _ahead(index: Index, at: Any) -> str:
    when, now = utc(at), utc(index.data.as_of)
    if when is None or now is None:
        return ""
    return f"in {duration((when - now).total_seconds())}" if when > now else "now"


def _held(index: Index, numbers: dict[str, int]) -> list[Row]:
    """The last row of every target and field; what stands now first."""
    now = utc(index.data.as_of)
    last: dict[tuple[str, str, str], Row] = {}
    for row in sorted(index.data.ledger, key=lambda r: (r["applied_at"], r["action_id"])):
        last[text(row["cluster"]), text(row["target"]), text(row["field"])] = dict(row)
    rows = [_ledger_row(r, now, numbers) for r in last.values()]
    return sorted(rows, key=lambda r: (not r["stands"], not r["wrong"], -r["sort"]))


def _ledger_row(row: Row, now: pd.Timestamp | None, numbers: dict[str, int]) -> Row:
    status, at, ends = text(row["status"]), stamp(row["applied_at"]), utc(row["expires_at"])
    stands = status in _HELD and now is not None and ends is not None and ends > now
    expired = status in _HELD and not stands
    wrong = status not in (*_HELD, *_CALM)
    why = "; ".join(filter(None, (text(row["reason"]), text(row["detail"]))))
    return {
        "who": named(text(row["target"]), numbers),
        "field": shorten(text(row["field"]), 60),
        "before": shorten(text(row["before"]), 30),
        "after": shorten(text(row["after"]), 30),
        "status": "expired" if expired else status.replace("_", " "),
        "badge": "act" if stands else "bad" if wrong else "shadow",
        "stands": stands,
        "wrong": wrong,
        "at": at,
        "until": stamp(ends),
        "sort": at["sort"] if at else 0,
        "why": shorten(why, 240),
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


def _room(row: Any) -> Row:
    begins, ends = stamp(row.get("ts_from")) or {}, stamp(row.get("ts_to")) or {}
    return {
        "what": text(row.get("what")),
        "where": shorten(text(row.get("where")), 90),
        "size": shorten(text(row.get("size")), 90),
        "from": begins,
        "to": ends | {"read": until(begins, ends)} if begins and ends else ends,
        "mode": text(row.get("mode")) or "shadow",
        "reason": shorten(text(row.get("reason")), 240),
    }


def _newest(frame: pd.DataFrame, by: str, columns: tuple[str, ...]) -> dict[str, Row]:
    """The newest row of every workload."""
    if frame.empty or not {by, "workload"} <= set(frame.columns):
        return {}
    rows = frame.assign(workload=frame["workload"].astype("str")).sort_values(by, kind="stable")
    last = records(rows.drop_duplicates("workload", keep="last"), *columns)
    return {str(r["workload"]): r for r in last}
