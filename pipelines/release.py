"""release: give floors, room and NodePools back to their users. Needs the cluster and nothing else.

What each object's own value was, and until when it is held, is written on it. Imports are few: this
runs every five minutes in a small pod.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd

from pipelines.adapters.kube import Kube
from pipelines.plain import plain
from pipelines.rungs.held import ROOM_NAMESPACE, Held, held, release_everything
from pipelines.rungs.written import Written

__all__ = ["Released", "release"]


@dataclass(frozen=True, slots=True)
class Released:
    """What was given back, and what could not be.

    Attributes
    ----------
    written : one a thing that was due
    left : what is still held after that, and should not be; kinds that could not be listed
    """

    written: tuple[Written, ...]
    left: tuple[Held, ...]

    @property
    def failed(self) -> bool:
        """Whether anything is left."""
        return bool(self.left)

    def lines(self) -> list[str]:
        """For a person."""
        head = f"release: {len(self.written)} due, {len(self.left)} left"
        done = [
            f"{w.what}: {w.status} {w.before} -> {w.after}{': ' if w.detail else ''}{w.detail}"
            for w in self.written
        ]
        stuck = [f"LEFT {_name(h)}: {h.problem or 'still held'}" for h in self.left]
        return [plain(line) for line in (head, *done, *stuck)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "released": [
                {
                    "what": w.what,
                    "status": w.status,
                    "before": w.before,
                    "after": w.after,
                    "detail": w.detail,
                }
                for w in self.written
            ],
            "left": [{"what": _name(h), "problem": h.problem} for h in self.left],
        }


def release(
    kube: Kube,
    cluster: str,
    now: pd.Timestamp,
    *,
    match: str | None = None,
    namespace: str = ROOM_NAMESPACE,
) -> Released:
    """Give back what has expired; with ``match``, a glob over ``cluster/namespace/kind/name``,
    everything of these. ``namespace`` is where room is installed.

    What somebody else has changed meanwhile is left as it is, and only our annotations go. No
    exception for one object that fails: the others are given back all the same.
    """
    written = release_everything(
        kube,
        now=now,
        expired_only=match is None,
        match=match or "*",
        cluster=cluster,
        namespace=namespace,
    )
    left = [h for h in held(kube, cluster, namespace=namespace) if _is_due(h, now, match)]
    return Released(tuple(w for w in written if w.what), tuple(left))


def _is_due(one: Held, now: pd.Timestamp, match: str | None) -> bool:
    if not one.name:  # a kind that could not be listed: nobody knows
        return True
    if match is not None:
        return fnmatchcase(one.workload, match)
    return one.expired(now)


def _name(one: Held) -> str:
    return f"{one.kind} {'/'.join(filter(None, (one.namespace, one.name)))}".strip()
