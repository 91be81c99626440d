"""How everything that may be told of stands at a run's clock: incidents, leaks, what a plan cannot
hold.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import pandas as pd
import pyarrow as pa

from features.frames import INCIDENTS, LEAKS, Contract
from models.plan import Plan
from pipelines.adapters.notify import Cause, Trouble
from pipelines.errors import StoreError
from pipelines.plans import newest_plan
from pipelines.run import Run

__all__ = ["missed", "of_incidents", "of_plan", "standing"]

_LEAK_ISSUES = pd.Timedelta(6, "h")
"""An older time to the limit is not told."""
_DAY = pd.Timedelta(1, "D")
_LOOKED_BACK = 14 * _DAY
"""What was told of before is looked for no further back."""
_DIGITS = re.compile(r"\d+")


def standing(run: Run, since: pd.Timestamp) -> tuple[list[Trouble], list[str]]:
    """Every trouble that runs since then told of, as it stands now; and lines on what is missing.

    Raises
    ------
    StoreError
        A table is damaged. A plan that is, is a line.
    """
    notes: list[str] = []
    parts = run.parts(INCIDENTS, since)
    if not parts:
        notes.append(f"  no incidents were looked for since {since:%Y-%m-%d %H:%M} UTC")
    leaks = _frame(run, LEAKS, run.parts(LEAKS, run.as_of - _LEAK_ISSUES))
    troubles = of_incidents(_frame(run, INCIDENTS, parts), leaks)
    try:
        plan = newest_plan(run)
    except StoreError as error:
        plan = None
        notes.append(f"  what the plan cannot hold is not told: {error}")
    return [*troubles, *of_plan(plan)], notes


def missed(run: Run, opened: Mapping[str, pd.Timestamp], since: pd.Timestamp) -> list[Trouble]:
    """Troubles that readers take for open, by the clock of which they were told, and that no run
    since then knows: nothing told anybody while they ended.

    Each is as the last run left it that knew of it; one that was open then was over with that run,
    since later ones looked and did not find it. Where nothing was looked for since then, none.

    Raises
    ------
    StoreError
        A table is damaged.
    """
    if not opened or not run.parts(INCIDENTS, since):
        return []
    first = max(min(opened.values()) - _DAY, run.as_of - _LOOKED_BACK)
    wanted, found = set(opened), list[Trouble]()
    late = set(run.parts(INCIDENTS, since))
    for part in reversed([p for p in run.parts(INCIDENTS, first) if p not in late]):
        if not wanted:
            break
        names = run.store.read(INCIDENTS, part=part, columns=("incident_id",))["incident_id"]
        if wanted.isdisjoint(names.to_pylist()):
            continue
        rows = _frame(run, INCIDENTS, [part])
        rows = rows[rows["incident_id"].isin(wanted)]
        wanted -= set(rows["incident_id"])
        clock = pd.Timestamp(part.split("-", 1)[0])
        found += of_incidents(rows.assign(ended_at=rows["ended_at"].fillna(clock)), _NO_LEAKS)
    return found


_NO_LEAKS: pd.DataFrame = LEAKS.schema.empty_table().to_pandas()


def of_incidents(incidents: pd.DataFrame, leaks: pd.DataFrame) -> list[Trouble]:
    """Rows of INCIDENTS, oldest run first: the last of an id counts; and LEAKS, for the time left.

    What is silenced has made no incident and is not here.
    """
    last = incidents.drop_duplicates("incident_id", keep="last")
    left_h = _left_h(leaks)
    rows = cast("list[dict[str, Any]]", last.to_dict("records"))
    return [_of_incident(row, left_h) for row in rows]


def of_plan(plan: Plan | None) -> list[Trouble]:
    """What a plan cannot hold. The same limit on the same UTC day is one trouble, however often it
    is planned anew and whatever the numbers become."""
    found: dict[str, Trouble] = {}
    for short in plan.shortfalls if plan is not None else ():
        kind = _DIGITS.sub("#", short.reason)
        name = hashlib.blake2b(
            f"shortfall|{short.what}|{kind}|{short.at:%Y-%m-%d}".encode(), digest_size=8
        ).hexdigest()
        title = (
            f"{short.what.rsplit('/', 1)[-1]}: {short.wanted:g} wanted, "
            f"{short.held:g} can be held: {short.reason}"
        )
        found.setdefault(
            name,
            Trouble(name, "shortfall", "warning", title, (short.what,), short.at),
        )
    return list(found.values())


def _of_incident(row: Mapping[str, Any], left_h: Mapping[tuple[str, str], float]) -> Trouble:
    causes = tuple(_cause(c) for c in _listed(row["causes"]))
    title = _text(row["title"])
    is_leak = " leak: " in title  # as pipelines.continuity tells them apart
    left = [left_h.get((c.workload, c.metric), math.nan) for c in causes] if is_leak else []
    return Trouble(
        trouble_id=str(row["incident_id"]),
        what="leak" if is_leak else "incident",
        severity="critical" if _text(row["severity"]) == "critical" else "warning",
        title=title,
        workloads=tuple(str(w) for w in _listed(row["workloads"])),
        started_at=row["started_at"],
        detected_at=_moment(row["detected_at"]),
        ended_at=_moment(row["ended_at"]),
        causes=causes,
        score=float(row["score"]),
        left_h=min((h for h in left if h == h), default=math.nan),
    )


def _cause(cause: Mapping[str, Any]) -> Cause:
    def number(key: str) -> float:
        return math.nan if cause[key] is None else float(cause[key])

    words = (_text(cause[key]) for key in ("workload", "metric", "evidence"))
    return Cause(*words, score=number("score"), confidence=number("confidence"))


def _left_h(leaks: pd.DataFrame) -> dict[tuple[str, str], float]:
    """(workload, metric) → hours left, of the newest issue."""
    newest = leaks.sort_values("issued_at", kind="stable").drop_duplicates(
        ["workload", "metric"], keep="last"
    )
    keys = zip(newest["workload"].astype("str"), newest["metric"].astype("str"), strict=True)
    return dict(zip(keys, (newest["time_to_limit_p50_s"] / 3600).tolist(), strict=True))


def _frame(run: Run, contract: Contract, parts: Iterable[str]) -> pd.DataFrame:
    tables = [run.store.read(contract, part=part) for part in parts]
    whole = pa.concat_tables([contract.schema.empty_table(), *tables], promote_options="default")
    frame: pd.DataFrame = whole.unify_dictionaries().to_pandas()
    return frame


def _listed(value: Any) -> Sequence[Any]:
    return [] if value is None else list(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _moment(value: Any) -> pd.Timestamp | None:
    return None if pd.isna(value) else value
