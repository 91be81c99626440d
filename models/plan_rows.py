"""The rows of the capacity table that a plan is made of, where issues of two lengths follow each
other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["Span", "live_rows", "unix_ms"]

_STEP_MS = 300_000
"""Step of a forecast of one step, which shows none."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a plan begins, and how long it may last."""

    as_of: pd.Timestamp
    until: pd.Timestamp


def live_rows(capacity: pd.DataFrame, span: Span) -> pd.DataFrame:
    """Rows that are valid and matter in the plan's time, of every issue that may still say
    something.

    Issues come in two lengths: a newer one that reaches a few hours leaves the hours after them to
    the one before. Whether its workload may act, why, and the lead time are those of the newest
    issue in all of a workload's rows.

    Gives ``workload, issue_ms, spoken_ms, ts_ms, step_ms, valid_ms, lead_ms, ready,
    reactive_replicas, lead_time_s, gate, gate_reason, said``. ``ready`` is what must be ready at ts
    and ``lead_ms`` how much earlier the floor must stand; a table that does not say what must be
    ready gives floors that already stand a lead time early: 0. Before ``spoken_ms`` no older issue
    counts; ``said`` is the reason that the row's own issue gave.
    """
    code, names = pd.factorize(capacity["workload"])  # text is slow to sort and to compare
    stamps = {"issue_ms": "issued_at", "ts_ms": "ts", "valid_ms": "valid_until"}
    rows = capacity.assign(code=code, **{k: _column_ms(capacity[v]) for k, v in stamps.items()})
    as_of, until = unix_ms(span.as_of), unix_ms(span.until)
    rows = rows[(rows["issue_ms"] <= as_of) & (rows["valid_ms"] > as_of)]
    rows = rows.sort_values(["code", "issue_ms", "ts_ms"], ignore_index=True)
    rows = _spoken(_with_steps(rows))
    rows = _as_the_newest(rows.assign(said=rows["gate_reason"]))
    known = _ready(rows)
    by_name = known.notna().groupby(rows["code"]).transform("all")
    lead_s = rows["lead_time_s"].astype("float64")
    # earlier than now is cut, so a lead that is longer than the plan says no more than that
    lead_ms = -(-lead_s.where(lead_s > 0, 0.0).clip(upper=(until - as_of) / 1000) // 1) * 1000
    rows = rows.assign(
        ready=known.where(by_name, rows["replicas"]).astype("int64"),
        lead_ms=lead_ms.where(by_name, 0.0).astype("int64"),
    )
    begun = rows["ts_ms"] + rows["step_ms"] > as_of
    rows = rows[(rows["ts_ms"] < rows["valid_ms"]) & begun]
    rows = rows[rows["ts_ms"] < until + rows["lead_ms"]]
    return rows.assign(workload=names.astype("str").take(rows["code"]))


def _ready(rows: pd.DataFrame) -> pd.Series:
    if "ready_replicas" not in rows:
        return pd.Series(np.nan, index=rows.index)
    return pd.to_numeric(rows["ready_replicas"], errors="coerce").astype("float64")


def _with_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """The length of each issue's steps: the shortest between two rows of a workload's; else that of
    its other issues."""
    issue = rows.groupby(["code", "issue_ms"], sort=False).ngroup()
    gap = rows["ts_ms"].diff().where(issue == issue.shift())
    gap = gap.where(gap > 0)
    own = gap.groupby(issue).transform("min").fillna(gap.groupby(rows["code"]).transform("min"))
    smallest = own.min()
    usual = smallest if np.isfinite(smallest) else _STEP_MS
    return rows.assign(issue=issue, step_ms=own.fillna(usual).astype("int64"))


def _spoken(rows: pd.DataFrame) -> pd.DataFrame:
    """Until when each issue alone counts.

    The demand that an issue knows may end within its last step: where an older one goes on, that
    step is worth the more of both.
    """
    last = rows.groupby("issue", sort=True)[["code", "ts_ms", "step_ms"]].last()
    end = last["ts_ms"] + last["step_ms"]
    older = end.groupby(last["code"]).cummax().groupby(last["code"]).shift()
    spoken = last["ts_ms"].where(older > end, end).astype("int64")
    return rows.assign(spoken_ms=spoken.to_numpy()[rows["issue"].to_numpy()])


def _as_the_newest(rows: pd.DataFrame) -> pd.DataFrame:
    """With the gate, its reason and the lead time of each workload's newest issue in all rows."""
    code = rows["code"].to_numpy()
    of = np.searchsorted(code, code, side="right") - 1  # rows are in order
    columns = ("gate", "gate_reason", "lead_time_s")
    return rows.assign(**{c: rows[c].to_numpy()[of] for c in columns})


def unix_ms(at: pd.Timestamp) -> int:
    """A moment as Unix time in milliseconds."""
    return int(at.as_unit("ms").value // 1_000_000)


def _column_ms(column: pd.Series) -> pd.Series:
    return column.dt.as_unit("ms").astype("int64")
