"""What the page says of what is arranged: what cannot be held, what waits for a person, what stands
now, and the room and nodes that are held for floors."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import unquote

import pandas as pd

from pipelines.report.data import Row, number, text, utc
from pipelines.report.index import Index
from pipelines.report.text import decimal, duration, named, shorten, stamp, until

__all__ = ["found_prescaling"]

_HELD = ("done", "kept")
_CALM = ("intended", "shown", "waiting", "given_back")


def found_prescaling(index: Index, numbers: dict[str, int]) -> Row:
    """Shortfalls, floors that wait for an approval and those that have one, what is held, and room
    and nodes that are held for floors."""
    held = _held(index, numbers)
    return {
        "problem": shorten(index.data.plan_problem, 300),
        "plan_id": index.data.plan_id,
        "shortfalls": _shortfalls(index, numbers),
        "waiting": [r for r in held if r["waits"]],
        "wrong": [r for r in held if r["wrong"]],
        "held": [r for r in held if not r["waits"]],
        "approvals": [_approval(a) for a in index.data.approvals],
        "room": [_room(r) for r in index.data.room],
    }


def _who(what: str, numbers: dict[str, int]) -> Row:
    """A workload, or a NodePool: it has a cluster and no namespace."""
    who = named(what, numbers)
    pool = "" if who["cluster"] else unquote(what.partition("/")[0])
    return who | {"cluster": pool} if pool != what and pool else who


def _approval(approval: Any) -> Row:
    """A yes that holds: to which plan, how many workloads, until when."""
    floors = approval.get("floors") or {}
    return {
        "plan_id": shorten(text(approval.get("plan_id")), 40),
        "n": len(floors),
        "highest": decimal(float(max(floors.values(), default=0))),
        "at": stamp(approval.get("approved_at")),
        "until": stamp(approval.get("expires_at")),
    }


def _shortfalls(index: Index, numbers: dict[str, int]) -> list[Row]:
    rows: list[Row] = []
    for short in index.data.shortfalls:
        wanted, held = number(short.get("wanted")), number(short.get("held"))
        at = stamp(short.get("at"))
        rows.append(
            {
                "who": _who(text(short.get("what")), numbers),
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
    """The last row of every target and field; what stands now first.

    What waits is left out where no floor of the newest plan wants it any more.
    """
    now = utc(index.data.as_of)
    wanted = {w for w, rows in index.plan.items() if any(_is_ahead(r, now) for r in rows)}
    last: dict[tuple[str, str, str], Row] = {}
    for row in sorted(index.data.ledger, key=lambda r: (r["applied_at"], r["action_id"])):
        last[text(row["cluster"]), text(row["target"]), text(row["field"])] = dict(row)
    last = {k: r for k, r in last.items() if r["status"] != "waiting" or r["target"] in wanted}
    rows = [_ledger_row(r, now, numbers) for r in last.values()]
    return sorted(rows, key=lambda r: (not r["stands"], not r["wrong"], -r["sort"]))


def _is_ahead(row: Row, now: pd.Timestamp | None) -> bool:
    ends = utc(row["ts_to"])
    return now is not None and ends is not None and ends > now


def _ledger_row(row: Row, now: pd.Timestamp | None, numbers: dict[str, int]) -> Row:
    status, at, ends = text(row["status"]), stamp(row["applied_at"]), utc(row["expires_at"])
    stands = status in _HELD and now is not None and ends is not None and ends > now
    expired = status in _HELD and not stands
    wrong = status not in (*_HELD, *_CALM)
    why = "; ".join(filter(None, (text(row["reason"]), text(row["detail"]))))
    return {
        "who": _who(text(row["target"]), numbers),
        "field": shorten(text(row["field"]), 60),
        "before": shorten(text(row["before"]), 30),
        "after": shorten(text(row["after"]), 30),
        "status": "expired" if expired else status.replace("_", " "),
        "badge": "act" if stands else "bad" if wrong else "shadow",
        "stands": stands,
        "wrong": wrong,
        "waits": status == "waiting",
        "plan_id": shorten(text(row["plan_id"]), 40),
        "at": at,
        "until": stamp(ends),
        "sort": at["sort"] if at else 0,
        "why": shorten(why, 240),
    }


def _room(row: Any) -> Row:
    begins, ends = stamp(row.get("ts_from")) or {}, stamp(row.get("ts_to")) or {}
    return {
        "what": text(row.get("what")),
        "where": shorten(text(row.get("where")), 90),
        "cluster": unquote(text(row.get("where")).partition("/")[0]),
        "size": shorten(text(row.get("size")), 90),
        "from": begins,
        "to": ends | {"read": until(begins, ends)} if begins and ends else ends,
        "mode": text(row.get("mode")) or "shadow",
        "reason": shorten(text(row.get("reason")), 240),
    }
