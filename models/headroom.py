"""What a cluster cannot hold of a plan, said hours before it is needed.

Every bound is held against all floors together, at each moment where one begins: NodePool limits
and static NodePools (the pods bin-packed into nodes), quotas, maxReplicas, and disruption budgets
that would keep the nodes after the peak. What is not known bounds nothing: this says less rather
than wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from models.actions import Floor, Shortfall
from models.cluster_facts import ClusterFacts
from models.headroom_board import Board, make_board, when
from models.headroom_nodes import node_shortfalls
from models.headroom_rules import pdb_shortfalls, quota_shortfalls

__all__ = ["shortfalls"]


def shortfalls(
    floors: Sequence[Floor],
    pods: pd.DataFrame | None,
    facts: ClusterFacts,
    as_of: pd.Timestamp,
) -> list[Shortfall]:
    """What of the floors of ``facts.cluster`` cannot be held, the earliest first.

    Parameters
    ----------
    floors
        Of a plan; those of other clusters, and those that have ended, are not looked at.
    pods : frame, one row a workload, or None
        As ``models.state.workload_state`` gives: ``workload, replicas, request_cores,
        request_bytes, hpa_max``; used where ``facts`` do not know the workload's pods. Where there
        are columns ``asked`` (replicas that the forecast asks for, maxReplicas not yet applied) and
        ``asked_at``, they are held against ``hpa_max``.

    ``wanted`` and ``held`` count pods.
    """
    board = make_board(floors, pods, facts, as_of)
    if board is None:
        return []
    found = [
        *_above_max(board),
        *node_shortfalls(board, facts),
        *quota_shortfalls(board, facts),
        *pdb_shortfalls(board, facts),
    ]
    return sorted(found, key=lambda s: (s.at, s.what, s.reason))


def _above_max(board: Board) -> list[Shortfall]:
    top = board.wanted.max(axis=1).astype(np.float64)
    asked = np.fmax(board.number("asked"), top)
    first = board.times[board.wanted.argmax(axis=1)]
    at = board.rows["asked_at"].where(board.number("asked") > top, pd.Series(first))
    at = at.fillna(pd.Series(first))
    limit = board.number("hpa_max")
    return [
        Shortfall(
            what=str(row["workload"]),
            at=when_at,
            wanted=int(want),
            held=int(most),
            reason=f"maxReplicas of {row['hpa']} is {int(most)}, the forecast asks for {int(want)} "
            f"pods at {when(when_at, board.as_of)}; raise maxReplicas to {int(want)}",
        )
        for row, when_at, want, most in zip(
            board.rows.to_dict("records"), at, asked.tolist(), limit.tolist(), strict=True
        )
        if want > most
    ]
