"""What a plan is made on: the workloads that can be planned, their settings, and how many pods each
must have ready at every step."""

from __future__ import annotations

import re
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
from models.plan_rows import Span, unix_ms
from models.windows import Cells, cover

__all__ = ["Board", "lay_out", "plannable"]

_CLAMPED = re.compile(r"asks for (\d+) replicas")
"""The capacity table clamps at maxReplicas, and says in words alone by how much."""
_HOUR_MS = 3_600_000
_FINEST_MS = 15_000
"""An HPA looks every 15 s: a finer grid says no more, and a day of it does not fit in memory."""


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


def lay_out(
    rows: pd.DataFrame, now: pd.DataFrame, span: Span, windows_max: int, exact_h: float = 0.0
) -> Board:
    """The board of live rows, all of workloads that are in ``now``."""
    low, high = (now[c].to_numpy(np.float64).astype(np.int64) for c in ("hpa_min", "hpa_max"))
    own = rows.drop_duplicates("workload").set_index("workload").reindex(now.index)
    step_ms = max(int(rows["step_ms"].min()), _FINEST_MS)
    lead_ms = own["lead_ms"].to_numpy(np.int64)
    as_of_ms, until_ms = unix_ms(span.as_of), unix_ms(span.until)
    code, names = pd.factorize(rows["workload"])
    row = now.index.get_indexer(pd.Index(names))[code]
    # the plan may begin before the forecast, and a lead time before the plan something was due
    first_ms = int(rows["ts_ms"].min())
    before = max(-(-(first_ms - as_of_ms) // step_ms), 0)
    asked = _steps(rows, row, first_ms - before * step_ms, step_ms, len(now))
    ready = np.clip(asked["ready"], low[:, None], high[:, None])
    near = -(-(as_of_ms + round(exact_h * _HOUR_MS) - first_ms + before * step_ms) // step_ms)
    near = min(max(near, 0), ready.shape[1]) if exact_h > 0 else 0
    ready = np.concatenate([ready[:, :near], cover(ready[:, near:], windows_max)], axis=1)
    due = -(-int(lead_ms.max()) // step_ms)
    requests = {c: _request(now, c) for c in ("request_cores", "request_bytes")}
    end_ms = np.zeros(len(now), dtype=np.int64)
    np.maximum.at(end_ms, row, np.minimum(rows["ts_ms"] + rows["step_ms"], rows["valid_ms"]))
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
        until_ms=np.minimum(end_ms, until_ms),
        ready=np.hstack([np.repeat(low[:, None], due, axis=1), ready]),
        reactive=np.hstack(
            [
                np.zeros((len(now), due), np.int64),
                np.clip(asked["reactive_replicas"], low[:, None], high[:, None]),
            ]
        ),
        asked=np.maximum(asked["ready"].max(axis=1), _said(rows, row, high)),
        # what the API server can say: whole milli-cores, whole bytes
        milli_cores=np.ceil(requests["request_cores"] * 1000 * (1 - 1e-12)),
        bytes=np.ceil(requests["request_bytes"]),
    )


def _steps(
    rows: pd.DataFrame, row: NDArray[np.intp], first_ms: int, step_ms: int, n: int
) -> dict[str, Ints]:
    """Columns of rows on the grid, (n, m); 0 where there is none.

    Issues may lie between the grid's steps, or have longer ones: a step is worth the most of what
    it meets, of issues that are not older than one that speaks for all of it.
    """
    begin = ((rows["ts_ms"] - first_ms) // step_ms).to_numpy(np.intp)
    end = -(-(rows["ts_ms"] + rows["step_ms"] - first_ms) // step_ms)
    end = np.minimum(end, -(-(rows["valid_ms"] - first_ms) // step_ms)).to_numpy(np.intp)
    issue = rows["issue_ms"].to_numpy(np.int64)
    columns = ("ready", "reactive_replicas")
    values = [rows[c].to_numpy(np.int64) for c in columns]
    out = [np.zeros((n, int(end.max())), dtype=np.int64) for _ in columns]
    speaks = _speaks(rows, row, first_ms, step_ms, out[0].shape)
    for k in range(int((end - begin).max())):
        inside = begin + k < end
        inside[inside] = issue[inside] >= speaks[row[inside], begin[inside] + k]
        at = row[inside], begin[inside] + k
        for into, value in zip(out, values, strict=True):
            np.maximum.at(into, at, value[inside])
    return dict(zip(columns, out, strict=True))


def _speaks(
    rows: pd.DataFrame, row: NDArray[np.intp], first_ms: int, step_ms: int, shape: tuple[int, ...]
) -> Ints:
    """The newest issue that speaks for all of a step, (n, m), as its Unix time; 0 where none
    does."""
    out = np.zeros(shape, dtype=np.int64)
    if rows["issue"].nunique() == rows["code"].nunique():
        return out
    issue, ts = rows["issue"].to_numpy(), rows["ts_ms"].to_numpy(np.int64)
    end = ts + rows["step_ms"].to_numpy(np.int64)
    # steps that follow each other are one stretch: it may be whole where each of them is not
    first = np.flatnonzero(np.r_[True, (issue[1:] != issue[:-1]) | (ts[1:] > end[:-1])])
    last = np.r_[first[1:], len(ts)] - 1
    limit = rows[["spoken_ms", "valid_ms"]].min(axis=1).to_numpy(np.int64)
    until = np.minimum(end, limit)[last]
    begin = -(-(ts[first] - first_ms) // step_ms)
    n_steps = (until - first_ms) // step_ms - begin
    said = rows["issue_ms"].to_numpy(np.int64)[first]
    for k in range(int(n_steps.max(initial=0))):
        inside = k < n_steps
        np.maximum.at(out, (row[first[inside]], begin[inside] + k), said[inside])
    return out


def _said(rows: pd.DataFrame, row: NDArray[np.intp], high: Ints) -> Ints:
    """What forecasts at the users' maximum asked for beyond it, by their reasons, (n,)."""
    full = rows["ready"].to_numpy(np.int64) >= high[row]
    told = rows[full].assign(row=row[full]).drop_duplicates("issue")
    number = told["said"].astype("str").str.extract(_CLAMPED, expand=False).astype("float64")
    out = np.zeros(len(high), dtype=np.int64)
    np.maximum.at(out, told["row"].to_numpy(np.intp), number.fillna(0).to_numpy(np.int64))
    return out


def _request(now: pd.DataFrame, column: str) -> Floats:
    values = _numbers(now, column)
    return np.where(np.isfinite(values) & (values > 0), values, 0.0)


def _numbers(now: pd.DataFrame, column: str) -> Floats:
    if column not in now:
        return np.full(len(now), np.nan)
    return now[column].to_numpy(np.float64)
