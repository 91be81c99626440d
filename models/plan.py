"""The plan: the few actions that bring a cluster to its capacity forecast, with reasons and an
expiry.

A plan only raises. **Floors** are raised where the capacity forecast lies above the user's
minReplicas. **Placeholders** (only with ``nodes_first``) stand before a floor lands, so that nodes
are there when it does. No pod is planned twice: at every moment the placeholders are the pods that
floors will add in the next ``placeholder_lead_s`` and that neither a floor nor the reactive HPA
holds yet, so they shrink by what lands, in the step in which it lands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats
from features.workloads import split_workload
from models.actions import Action, Floor, Gate, Note, Placeholder, Plan, describe
from models.hpa import Ints, rolling_max
from models.windows import cover, runs

__all__ = ["Floor", "Note", "Placeholder", "Plan", "PlanParams", "describe", "make_plan"]

_STEP = pd.Timedelta(300, "s")
"""Step of a forecast of one step, which shows none."""


@dataclass(frozen=True, slots=True)
class PlanParams:
    """What a plan may contain."""

    mode: Gate = "shadow"
    """``shadow`` shows what would be done; ``act`` lets the actions whose gate is open be done."""
    horizon_h: float = 24.0
    windows_max: int = 6
    """Most stretches of one floor in a plan, those at the user's own value included."""
    nodes_first: bool = False
    """Start nodes with placeholder pods before the floors land."""
    placeholder_lead_s: float = 300.0
    """How long before a floor lands its placeholders stand."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        if self.mode not in ("shadow", "act"):
            raise ValueError(f"plan: mode must be shadow or act, got {self.mode!r}")
        for key in ("horizon_h", "placeholder_lead_s"):
            value = getattr(self, key)
            if not 0 < value < np.inf:
                raise ValueError(f"plan: {key} must be more than 0, got {value!r}")
        if self.windows_max < 3:
            raise ValueError(f"plan: windows_max must be 3 or more, got {self.windows_max!r}")


@dataclass(frozen=True, slots=True)
class _Board:
    """The workloads that can be planned, on one grid: names, settings (n,), matrices (n, m)."""

    now: pd.DataFrame
    times: pd.DatetimeIndex
    floor: Ints
    reactive: Ints


def make_plan(
    capacity: pd.DataFrame,
    current: pd.DataFrame,
    *,
    as_of: pd.Timestamp,
    params: PlanParams | None = None,
) -> Plan:
    """The plan for ``[as_of, as_of + horizon)``.

    Parameters
    ----------
    capacity : frame
        The capacity table; of several issues the newest counts. Its ``replicas`` already stand a
        lead time early. Rows past their ``valid_until`` are not used.
    current : frame, one row a workload
        ``workload, hpa_min, hpa_max, request_cores, request_bytes`` (of one pod), as of
        ``models.state.workload_state``; ``hpa``, the object's name, is the workload's where absent.

    Every workload of ``capacity`` has an action or a note.
    """
    params = params or PlanParams()
    end = as_of + pd.Timedelta(params.horizon_h, "h")
    seen = sorted(set(capacity["workload"].astype("str").tolist()))
    rows, step = _live(capacity, as_of, end)
    now, notes = _plannable(rows, current, seen)
    rows = rows[rows["workload"].isin(now.index)]
    if rows.empty:
        return Plan(as_of, end, params.mode, (), tuple(notes))
    expires = min(end, rows["valid_until"].max())
    board = _board(rows, now, step, as_of, expires, params)
    floors = _floors(board)
    planned = {a.workload for a in floors}
    idle = [
        Note(w, "nothing to raise: the forecast stays within the user's minReplicas")
        for w in now.index
        if w not in planned
    ]
    actions: list[Action] = [*floors, *(_placeholders(board, params) if params.nodes_first else [])]
    actions.sort(key=lambda a: (a.starts_at, isinstance(a, Placeholder), _target(a)))
    everything = sorted([*notes, *idle], key=lambda n: n.workload)
    return Plan(as_of, expires, params.mode, tuple(actions), tuple(everything))


def _live(
    capacity: pd.DataFrame, as_of: pd.Timestamp, end: pd.Timestamp
) -> tuple[pd.DataFrame, pd.Timedelta]:
    """Rows of the newest issue that are valid and fall into the plan, and the grid's step."""
    rows = capacity.assign(workload=capacity["workload"].astype("str"))
    rows = rows[rows["issued_at"] <= as_of]
    rows = rows[rows["issued_at"] == rows.groupby("workload")["issued_at"].transform("max")]
    gaps = np.diff(np.unique(rows["ts"].dt.as_unit("ms").astype("int64").to_numpy()))
    step = pd.Timedelta(int(gaps.min()), "ms") if len(gaps) else _STEP
    live = (rows["valid_until"] > as_of) & (rows["ts"] < rows["valid_until"])
    return rows[live & (rows["ts"] > as_of - step) & (rows["ts"] < end)], step


def _plannable(
    rows: pd.DataFrame, current: pd.DataFrame, seen: list[str]
) -> tuple[pd.DataFrame, list[Note]]:
    """Settings of the workloads that a floor can be planned for, by name; a note for each other."""
    first = rows.drop_duplicates("workload").set_index("workload")
    known = current.assign(workload=current["workload"].astype("str"))
    known = known.drop_duplicates("workload", keep="last").set_index("workload")
    now = known.reindex(pd.Index(seen, name="workload"))
    now = now.assign(
        hpa_min=now["hpa_min"].fillna(1),
        gate=first["gate"].astype("str").reindex(now.index),
        gate_reason=first["gate_reason"].reindex(now.index).fillna(""),
        lead_time_s=first["lead_time_s"].reindex(now.index),
    )
    against = {
        "no valid capacity forecast for the plan's time": now["gate"].isna(),
        "its settings are not known": ~now.index.isin(known.index),
        "no HPA: there is no floor to raise": ~np.isfinite(now["hpa_max"].astype("float64")),
        "minReplicas is 0: an HPA at zero replicas does not follow its floor": now["hpa_min"] < 1,
        "the HPA's minReplicas is above its maxReplicas": now["hpa_min"] > now["hpa_max"],
    }
    why = np.select([np.asarray(v) for v in against.values()], list(against), default="")
    notes = [Note(w, r) for w, r in zip(now.index, why.tolist(), strict=True) if r]
    return now[why == ""], notes


def _board(
    rows: pd.DataFrame,
    now: pd.DataFrame,
    step: pd.Timedelta,
    as_of: pd.Timestamp,
    expires: pd.Timestamp,
    params: PlanParams,
) -> _Board:
    first = rows["ts"].min()
    col = ((rows["ts"] - first) // step).to_numpy()
    row = now.index.get_indexer(pd.Index(rows["workload"]))
    low = now["hpa_min"].to_numpy(np.float64).astype(np.int64)[:, None]
    high = now["hpa_max"].to_numpy(np.float64).astype(np.int64)[:, None]

    def matrix(column: str) -> Ints:
        out = np.repeat(low, int(col.max()) + 1, axis=1)
        out[row, col] = rows[column].to_numpy(np.int64)
        return np.clip(out, low, high)

    # edges of the steps; the plan neither starts before it is made nor outlives its forecasts
    edges = pd.date_range(first, periods=int(col.max()) + 2, freq=step)
    edges = pd.DatetimeIndex([min(max(e, as_of), expires) for e in edges]).as_unit("ms")
    floor = cover(matrix("replicas"), params.windows_max)
    return _Board(now, edges, floor, matrix("reactive_replicas"))


def _floors(board: _Board) -> list[Floor]:
    found = runs(board.floor)
    now = board.now
    names = [str(w) for w in now.index]
    low = now["hpa_min"].to_numpy(np.float64).astype(np.int64)
    lead = now["lead_time_s"].to_numpy(np.float64)
    given: list[object] = now["hpa"].tolist() if "hpa" in now else [None] * len(names)
    hpas = [
        h if isinstance(h, str) and h else split_workload(w)[3]
        for w, h in zip(names, given, strict=True)
    ]
    gates, reasons = now["gate"].tolist(), now["gate_reason"].tolist()
    keep = (found.value > low[found.row]) & (board.times[found.begin] < board.times[found.end])
    at = [v[keep].tolist() for v in (found.row, found.begin, found.end, found.value, found.before)]
    return [
        Floor(
            workload=names[i],
            hpa=hpas[i],
            original=int(low[i]),
            before=int(low[i]) if before < 0 else before,
            after=value,
            starts_at=board.times[begin],
            ends_at=board.times[end],
            gate="act" if gates[i] == "act" else "shadow",
            reason=f"{reasons[i]}; {lead[i]:.0f} s of lead time; the HPA alone would have "
            f"{_span(board.reactive[i, begin:end])} replicas",
        )
        for i, begin, end, value, before in zip(*at, strict=True)
    ]


def _span(values: Ints) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"


def _placeholders(board: _Board, params: PlanParams) -> list[Placeholder]:
    now = board.now
    step_s = (board.times[-1] - board.times[0]) / pd.Timedelta(1, "s") / board.floor.shape[1]
    ahead = min(int(np.ceil(params.placeholder_lead_s / max(step_s, 1.0))), board.floor.shape[1])
    soon = rolling_max(board.floor.astype(np.float64), 0, ahead)
    pods = np.maximum(soon - np.maximum(board.floor, board.reactive), 0)
    cores, bytes_ = (_request(now, c) for c in ("request_cores", "request_bytes"))
    clusters = [split_workload(str(w))[0] for w in now.index]
    group, labels = pd.factorize(pd.MultiIndex.from_arrays([clusters, now["gate"].tolist()]))
    wanted = pods.max(axis=1) > 0
    size_cores = _by_group(np.where(wanted, cores, 0.0), group, len(labels), np.maximum)
    size_bytes = _by_group(np.where(wanted, bytes_, 0.0), group, len(labels), np.maximum)
    total_cores = _by_group(pods * cores[:, None], group, len(labels), np.add)
    total_bytes = _by_group(pods * bytes_[:, None], group, len(labels), np.add)
    # pods of the largest wanted size: the hole that one leaves fits any pod that lands
    count = np.maximum(_pods(total_cores, size_cores), _pods(total_bytes, size_bytes))
    found = runs(count)
    keep = (found.value > 0) & (board.times[found.begin] < board.times[found.end])
    at = [v[keep].tolist() for v in (found.row, found.begin, found.end, found.value, found.before)]
    return [
        Placeholder(
            cluster=str(labels[g][0]),
            before=max(before, 0),
            count=value,
            cpu_cores=float(size_cores[g]),
            memory_bytes=float(size_bytes[g]),
            starts_at=board.times[begin],
            ends_at=board.times[end],
            gate="act" if labels[g][1] == "act" else "shadow",
            reason=f"nodes for {total_cores[g, begin:end].max():.3g} cores of pods that floors add "
            f"in the next {params.placeholder_lead_s:.0f} s",
        )
        for g, begin, end, value, before in zip(*at, strict=True)
    ]


def _request(now: pd.DataFrame, column: str) -> Floats:
    values = now[column].to_numpy(np.float64)
    return np.where(np.isfinite(values) & (values > 0), values, 0.0)


def _by_group(values: Floats, group: NDArray[np.intp], n: int, how: np.ufunc) -> Floats:
    out = np.zeros((n, *values.shape[1:]))
    how.at(out, group, values)
    return out


def _pods(total: Floats, size: Floats) -> Ints:
    """Pods of a size that hold a total, (g, m); a size of 0 needs none."""
    pods = np.ceil(total / np.where(size > 0, size, np.inf)[:, None] * (1 - 1e-12))
    return pods.astype(np.int64)


def _target(action: Action) -> str:
    return action.workload if isinstance(action, Floor) else action.cluster
