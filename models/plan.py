"""The plan: the few actions that bring a cluster to its capacity forecast, with reasons and an
expiry.

A plan only raises. **Floors** are raised where the capacity forecast lies above the user's own, as
much earlier as the workload's lead time. **Placeholders** (only with ``nodes_first``) stand before
a floor lands, so that nodes are there when it does (``models.room``). **Holds** keep nodes that
were started early (``models.node_holds``). What cannot be held is a **shortfall**, said before it
is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.actions import Action, Floor, Gate, Hold, Note, Placeholder, Plan, Shortfall
from models.hpa import Ints
from models.modes import Mode
from models.node_holds import node_holds
from models.plan_board import Board, lay_out, plannable
from models.plan_rows import Span, live_rows
from models.plan_text import describe
from models.room import room
from models.windows import Cells, runs

__all__ = [
    "Finder",
    "Floor",
    "Hold",
    "Note",
    "Placeholder",
    "Plan",
    "PlanParams",
    "Shortfall",
    "describe",
    "make_plan",
]

Finder = Callable[[Sequence[Floor], pd.DataFrame], Sequence[Shortfall]]
"""What cannot be held of floors; the frame says of each workload ``workload, replicas,
request_cores, request_bytes, nodepool``."""


@dataclass(frozen=True, slots=True)
class PlanParams:
    """What a plan may contain."""

    mode: Mode = "shadow"
    """Of a workload that no rule names: ``off``, ``shadow``, ``recommend`` or ``act``."""
    horizon_h: float = 24.0
    windows_max: int = 6
    """Most stretches of one floor in a plan, those at the user's own value included."""
    exact_h: float = 3.0
    """The next hours are as they were forecast; further away windows are joined."""
    nodes_first: bool = False
    """Start nodes with placeholder pods before the floors land."""
    placeholder_lead_s: float = 300.0
    """How long before a floor lands its placeholders stand."""
    hold_nodes: bool = True
    """Keep Karpenter from removing nodes that were started early, until the peak is over."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        if self.mode not in get_args(Mode):
            raise ValueError(f"plan: mode must be off, shadow, recommend or act, got {self.mode!r}")
        for key in ("horizon_h", "placeholder_lead_s"):
            value = getattr(self, key)
            if not 0 < value < np.inf:
                raise ValueError(f"plan: {key} must be more than 0, got {value!r}")
        if not 0 <= self.exact_h < np.inf:
            raise ValueError(f"plan: exact_h must be 0 or more, got {self.exact_h!r}")
        if self.windows_max < 3:
            raise ValueError(f"plan: windows_max must be 3 or more, got {self.windows_max!r}")


def make_plan(
    capacity: pd.DataFrame,
    current: pd.DataFrame,
    *,
    as_of: pd.Timestamp,
    params: PlanParams | None = None,
    modes: Mapping[str, Mode] | None = None,
    limits: Finder | None = None,
) -> Plan:
    """The plan for ``[as_of, as_of + horizon)``.

    Parameters
    ----------
    capacity : frame
        The capacity table; of several issues the newest that says anything of a moment counts, and
        of each workload the gate, reason and lead time of its newest. Its ``ready_replicas`` have
        to stand ``lead_time_s`` earlier, rounded up to a second; where they are missing, its
        ``replicas`` stand as they are. Rows past their ``valid_until`` are not used.
    current : frame, one row a workload
        ``workload, hpa_min, hpa_max, request_cores, request_bytes`` (of one pod), as of
        ``models.state.workload_state``, and where it is known ``replicas``, ``nodepool`` and
        ``hpa``, the object's name, which is else the workload's.
    modes : workload → mode
        What people want; ``params.mode`` for every other workload.
    limits
        Finds what cannot be held of the floors.

    Every workload of ``capacity`` has an action or a note.
    """
    params = params or PlanParams()
    span = Span(as_of, as_of + pd.Timedelta(params.horizon_h, "h"))
    seen = sorted(set(capacity["workload"].astype("str").tolist()))
    given: dict[str, Mode] = {w: (modes or {}).get(w, params.mode) for w in seen}
    rows = live_rows(capacity, span)
    now, notes = plannable(rows, current, seen, given)
    rows = rows[rows["workload"].isin(now.index)]
    if rows.empty:
        return Plan(as_of, span.until, params.mode, (), tuple(notes))
    expires = min(span.until, rows["valid_until"].max())
    board = lay_out(rows, now, Span(as_of, expires), params.windows_max, params.exact_h)
    lead_ms = round(params.placeholder_lead_s * 1000)
    cells = board.cells(*([lead_ms] if params.nodes_first else []))
    floors = _floors(board, cells)
    placeholders = room(board, cells, lead_ms) if params.nodes_first else []
    holds = node_holds(floors, placeholders) if params.hold_nodes else []
    actions: list[Action] = [*floors, *placeholders, *holds]
    actions.sort(key=_order)
    return Plan(
        as_of,
        expires,
        params.mode,
        tuple(actions),
        tuple(sorted([*notes, *_idle(board, floors)], key=lambda n: n.workload)),
        tuple(_shortfalls(board, floors, limits, as_of)),
        params.placeholder_lead_s if params.nodes_first else 0.0,
    )


def _floors(board: Board, cells: Cells) -> list[Floor]:
    held = cells.ahead(board.ready, board.lead_ms)
    found = runs(held)
    due = cells.begin_ms(found.row, found.begin)
    begin = board.clip_ms(found.row, due)
    end = board.clip_ms(found.row, cells.begin_ms(found.row, found.end))
    in_plan = begin < end
    # nothing stood before the plan but the user's own, whatever the table says of then
    first = np.r_[True, found.row[1:] != found.row[:-1]] | ~np.r_[False, in_plan[:-1]]
    before = np.where(first, board.low[found.row], found.before)
    keep = np.flatnonzero(in_plan & (found.value > board.low[found.row]))
    reason = _reasons(
        board, found.row[keep], (due[keep], begin[keep], end[keep]), found.value[keep]
    )
    names, now = board.names, board.now
    label: dict[str, list[str]] = {c: now[c].tolist() for c in ("hpa", "nodepool", "gate")}
    mode: list[Mode] = now["mode"].tolist()
    at = [v[keep].tolist() for v in (found.row, before, found.value)]
    stamps = [_stamps(v[keep]) for v in (begin, end)]
    return [
        Floor(
            workload=names[i],
            hpa=label["hpa"][i],
            original=int(board.low[i]),
            before=was,
            after=value,
            starts_at=starts_at,
            ends_at=ends_at,
            gate=_gate(label["gate"][i]),
            reason=why,
            mode=mode[i],
            nodepool=label["nodepool"][i],
            cpu_cores=float(board.milli_cores[i] / 1000),
            memory_bytes=float(board.bytes[i]),
        )
        for i, was, value, starts_at, ends_at, why in zip(*at, *stamps, reason, strict=True)
    ]


def _gate(text: str) -> Gate:
    return "act" if text == "act" else "shadow"


def _reasons(
    board: Board, row: NDArray[np.intp], times: tuple[Ints, Ints, Ints], value: Ints
) -> list[str]:
    """Why each floor stands; how late it is where its pods are not there yet."""
    due, begin, end = times
    col = [(v - board.first_ms) // board.step_ms for v in (begin, end - 1)]
    # pods that are there already, for whatever reason, are not late
    late_s = np.where(board.there[row] >= value, 0, (begin - due) // 1000)
    reasons: list[str] = board.now["gate_reason"].astype("str").tolist()
    return [
        f"{reasons[i]}; {board.lead_s[i]:.0f} s of lead time{f', {late} s late' if late else ''}; "
        f"the HPA alone would have {_span(board.reactive[i, a : b + 1])} replicas"
        for i, a, b, late in zip(row, *col, late_s.tolist(), strict=True)
    ]


def _span(values: Ints) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"


def _stamps(at_ms: Ints) -> list[pd.Timestamp]:
    return list(pd.to_datetime(at_ms, unit="ms", utc=True).as_unit("ms"))


def _idle(board: Board, floors: list[Floor]) -> list[Note]:
    """A note for each workload that is never raised."""
    planned = {floor.workload for floor in floors}
    why = np.where(
        board.ready.max(axis=1) > board.low,
        "nothing to raise before the forecast expires",
        "nothing to raise: the forecast stays within the user's minReplicas",
    )
    return [Note(w, r) for w, r in zip(board.names, why.tolist(), strict=True) if w not in planned]


def _shortfalls(
    board: Board, floors: list[Floor], limits: Finder | None, as_of: pd.Timestamp
) -> list[Shortfall]:
    """What maxReplicas, and whatever else is known, does not allow; the earliest first."""
    found = _clamped(board, floors, as_of)
    if limits is not None and floors:
        now = board.now.reset_index()
        columns = ["workload", "replicas", "request_cores", "request_bytes", "nodepool"]
        found.extend(limits(floors, now.reindex(columns=columns)))
    return sorted(found, key=lambda s: (s.at, s.what, s.reason))


def _clamped(board: Board, floors: list[Floor], as_of: pd.Timestamp) -> list[Shortfall]:
    full = {f.workload: f.starts_at for f in reversed(floors) if f.after > f.original}
    full |= {f.workload: f.starts_at for f in reversed(floors) if f.after == _high(board, f)}
    return [
        Shortfall(
            what=name,
            at=full.get(name, as_of),
            wanted=int(wanted),
            held=int(high),
            reason=f"maxReplicas is {high}",
        )
        for name, wanted, high in zip(board.names, board.asked, board.high, strict=True)
        if wanted > high
    ]


def _high(board: Board, floor: Floor) -> int:
    return int(board.high[board.now.index.get_loc(floor.workload)])


def _order(action: Action) -> tuple[pd.Timestamp, int, str]:
    match action:
        case Floor():
            return action.starts_at, 0, action.workload
        case Placeholder():
            return action.starts_at, 1, f"{action.cluster}/{action.nodepool}"
        case Hold():
            return action.starts_at, 2, f"{action.cluster}/{action.nodepool}"
