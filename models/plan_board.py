"""What a plan is made on: the workloads that can be planned, their settings, and how many pods each
must have ready at every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats
from features.workloads import split_workload
from models.actions import Note
from models.hpa import Ints
from models.modes import Mode
from models.windows import Cells, cover

__all__ = ["Board", "Span", "lay_out", "live_rows", "plannable"]

_STEP_MS = 300_000
"""Step of a forecast of one step, which shows none."""
_FINEST_MS = 15_000
"""An HPA looks every 15 s: a finer grid says no more, and a day of it does not fit in memory."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a plan begins, and how long it may last."""

    as_of: pd.Timestamp
    until: pd.Timestamp


@dataclass(frozen=True, slots=True)
class Board:
    """n workloads over m steps that begin before the plan does.

    Attributes
    ----------
    now : settings, one row a workload, by name: ``hpa, gate, gate_reason, mode, cluster, nodepool``
    first_ms, step_ms : the steps' grid, Unix time
    low, high : int64, (n,)
        The user's minReplicas and maxReplicas.
    there : float64, (n,)
        Replicas now; NaN where they are not known.
    lead_ms : int64, (n,)
        How long before pods must be ready their floor has to stand.
    lead_s : float64, (n,)
        The lead time that the capacity forecast was made with.
    as_of_ms : int
    until_ms : int64, (n,)
        Where the plan, or a workload's forecast, ends.
    ready, reactive : int64, (n, m)
        Pods that floors must have ready, in few stretches and within the bounds; pods that the HPA
        alone would have.
    asked : int64, (n,)
        The most that the forecast asked for, whatever maxReplicas says.
    milli_cores, bytes : float64, (n,)
        Requests of one pod, whole; 0 where they are not known.
    """

    now: pd.DataFrame
    first_ms: int
    step_ms: int
    low: Ints
    high: Ints
    there: Floats
    lead_ms: Ints
    lead_s: Floats
    as_of_ms: int
    until_ms: Ints
    ready: Ints
    reactive: Ints
    asked: Ints
    milli_cores: Floats
    bytes: Floats

    @property
    def names(self) -> list[str]:
        """The workloads, in order."""
        return [str(name) for name in self.now.index]

    def cells(self, *more_ms: int) -> Cells:
        """Cells of the leads, and of leads that are so much longer."""
        leads = [self.lead_ms, *(self.lead_ms + more for more in more_ms)]
        return Cells.cut(self.first_ms, self.step_ms, leads)

    def clip_ms(self, row: NDArray[np.intp], at_ms: Ints) -> Ints:
        """Moments that lie in the plan, and in the forecast of their row."""
        return np.clip(at_ms, self.as_of_ms, self.until_ms[row])


def live_rows(capacity: pd.DataFrame, span: Span) -> pd.DataFrame:
    """Rows of the newest issue that are valid and matter in the plan's time.

    Gives ``workload, ts_ms, step_ms, valid_ms, lead_ms, ready, reactive_replicas, lead_time_s,
    gate, gate_reason``. ``ready`` is what must be ready at ts and ``lead_ms`` how much earlier the
    floor must stand; a table that does not say what must be ready gives floors that already stand a
    lead time early: 0.
    """
    code, names = pd.factorize(capacity["workload"])  # text is slow to sort and to compare
    rows = capacity.assign(code=code)
    rows = rows[rows["issued_at"] <= span.as_of]
    rows = rows[rows["issued_at"] == rows.groupby("code")["issued_at"].transform("max")]
    rows = rows.sort_values(["code", "ts"], ignore_index=True)
    as_of, until = _ms(span.as_of), _ms(span.until)
    rows = rows.assign(ts_ms=_column_ms(rows["ts"]), valid_ms=_column_ms(rows["valid_until"]))
    rows = _with_steps(rows)
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
    live = (rows["valid_ms"] > as_of) & (rows["ts_ms"] < rows["valid_ms"])
    rows = rows[live & begun & (rows["ts_ms"] < until + rows["lead_ms"])]
    return rows.assign(workload=names.astype("str").take(rows["code"]))


def _ready(rows: pd.DataFrame) -> pd.Series:
    if "ready_replicas" not in rows:
        return pd.Series(np.nan, index=rows.index)
    return pd.to_numeric(rows["ready_replicas"], errors="coerce").astype("float64")


def _with_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """The length of each workload's steps: the shortest between two of its rows."""
    gap = rows["ts_ms"].diff().where(rows["code"] == rows["code"].shift())
    own = gap.where(gap > 0).groupby(rows["code"]).transform("min")
    smallest = own.min()
    usual = smallest if np.isfinite(smallest) else _STEP_MS
    return rows.assign(step_ms=own.fillna(usual).astype("int64"))


def plannable(
    rows: pd.DataFrame, current: pd.DataFrame, seen: list[str], modes: Mapping[str, Mode]
) -> tuple[pd.DataFrame, list[Note]]:
    """Settings of the workloads that a floor can be planned for, by name; a note for each other."""
    first = rows.drop_duplicates("workload").set_index("workload")
    known = current.assign(workload=current["workload"].astype("str"))
    known = known.drop_duplicates("workload", keep="last").set_index("workload")
    now = known.reindex(pd.Index(seen, name="workload"))
    now = now.assign(
        hpa_min=now["hpa_min"].fillna(1),
        mode=[modes[w] for w in seen],
        gate=first["gate"].astype("str").reindex(now.index),
        gate_reason=first["gate_reason"].reindex(now.index).fillna(""),
    )
    against = {
        "its mode is off": now["mode"] == "off",
        "no valid capacity forecast for the plan's time": now["gate"].isna(),
        "its settings are not known": ~now.index.isin(known.index),
        "no HPA: there is no floor to raise": ~np.isfinite(now["hpa_max"].astype("float64")),
        "minReplicas is 0: an HPA at zero replicas does not follow its floor": now["hpa_min"] < 1,
        "the HPA's minReplicas is above its maxReplicas": now["hpa_min"] > now["hpa_max"],
    }
    why = np.select([np.asarray(v) for v in against.values()], list(against), default="")
    notes = [Note(w, r) for w, r in zip(now.index, why.tolist(), strict=True) if r]
    return _named(now[why == ""]), notes


def _named(now: pd.DataFrame) -> pd.DataFrame:
    """With the object's name, the cluster and the NodePool of each workload."""
    parts = [split_workload(str(w)) for w in now.index]

    def given(column: str, instead: list[str]) -> list[str]:
        values: list[object] = now[column].tolist() if column in now else [None] * len(now)
        return [
            v if isinstance(v, str) and v else other
            for v, other in zip(values, instead, strict=True)
        ]

    return now.assign(
        hpa=given("hpa", [name for _, _, _, name in parts]),
        nodepool=given("nodepool", [""] * len(now)),
        cluster=[cluster for cluster, _, _, _ in parts],
    )


def lay_out(rows: pd.DataFrame, now: pd.DataFrame, span: Span, windows_max: int) -> Board:
    """The board of live rows, all of workloads that are in ``now``."""
    low, high = (now[c].to_numpy(np.float64).astype(np.int64) for c in ("hpa_min", "hpa_max"))
    own = rows.drop_duplicates("workload").set_index("workload").reindex(now.index)
    step_ms = max(int(rows["step_ms"].min()), _FINEST_MS)
    lead_ms = own["lead_ms"].to_numpy(np.int64)
    as_of_ms, until_ms = _ms(span.as_of), _ms(span.until)
    code, names = pd.factorize(rows["workload"])
    row = now.index.get_indexer(pd.Index(names))[code]
    # the plan may begin before the forecast, and a lead time before the plan something was due
    first_ms = int(rows["ts_ms"].min())
    before = max(-(-(first_ms - as_of_ms) // step_ms), 0)
    asked = _steps(rows, row, first_ms - before * step_ms, step_ms, len(now))
    ready = np.clip(asked["ready"], low[:, None], high[:, None])
    ready = cover(ready, windows_max)
    due = -(-int(lead_ms.max()) // step_ms)
    requests = {c: _request(now, c) for c in ("request_cores", "request_bytes")}
    return Board(
        now=now,
        first_ms=first_ms - (before + due) * step_ms,
        step_ms=step_ms,
        low=low,
        high=high,
        there=_numbers(now, "replicas"),
        lead_ms=lead_ms,
        lead_s=own["lead_time_s"].to_numpy(np.float64),
        as_of_ms=as_of_ms,
        until_ms=np.minimum(own["valid_ms"].to_numpy(np.int64), until_ms),
        ready=np.hstack([np.repeat(low[:, None], due, axis=1), ready]),
        reactive=np.hstack(
            [
                np.zeros((len(now), due), np.int64),
                np.clip(asked["reactive_replicas"], low[:, None], high[:, None]),
            ]
        ),
        asked=asked["ready"].max(axis=1),
        # what the API server can say: whole milli-cores, whole bytes
        milli_cores=np.ceil(requests["request_cores"] * 1000 * (1 - 1e-12)),
        bytes=np.ceil(requests["request_bytes"]),
    )


def _steps(
    rows: pd.DataFrame, row: NDArray[np.intp], first_ms: int, step_ms: int, n: int
) -> dict[str, Ints]:
    """Columns of rows on the grid, (n, m); 0 where there is none.

    Issues may lie between the grid's steps, or have longer ones: a step is worth the most of what
    it meets.
    """
    begin = ((rows["ts_ms"] - first_ms) // step_ms).to_numpy(np.intp)
    end = -(-(rows["ts_ms"] + rows["step_ms"] - first_ms) // step_ms)
    end = np.minimum(end, -(-(rows["valid_ms"] - first_ms) // step_ms)).to_numpy(np.intp)
    found: dict[str, Ints] = {}
    for column in ("ready", "reactive_replicas"):
        values = rows[column].to_numpy(np.int64)
        out = np.zeros((n, int(end.max())), dtype=np.int64)
        for k in range(int((end - begin).max())):
            inside = begin + k < end
            np.maximum.at(out, (row[inside], begin[inside] + k), values[inside])
        found[column] = out
    return found


def _request(now: pd.DataFrame, column: str) -> Floats:
    values = _numbers(now, column)
    return np.where(np.isfinite(values) & (values > 0), values, 0.0)


def _numbers(now: pd.DataFrame, column: str) -> Floats:
    if column not in now:
        return np.full(len(now), np.nan)
    return now[column].to_numpy(np.float64)


def _ms(at: pd.Timestamp) -> int:
    return int(at.as_unit("ms").value // 1_000_000)


def _column_ms(column: pd.Series) -> pd.Series:
    return column.dt.as_unit("ms").astype("int64")
