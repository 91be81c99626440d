"""What explains an incident, from the store's samples around its onset: `foretide diagnose` on
them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from features.changes import CLUSTER_NAMESPACE
from features.frames import SAMPLES, WORKLOAD_PARTS, conform
from features.topology import resolve_edges
from features.workloads import split_workload
from pipelines.adapters.notify import Trouble
from pipelines.answers.incidents import CauseTold, found_troubles
from pipelines.answers.known import known_workload, known_workloads
from pipelines.answers.shared import Answer, Data, NoSuchName, age, data, number, told
from pipelines.answers.stretch import panel_of
from pipelines.diagnose import diagnose
from pipelines.errors import ConfigError
from pipelines.run import Run
from pipelines.topology import edges_of

__all__ = ["Diagnosed", "diagnosed"]

_NAMES_MAX = 300
"""Workloads that are held against their past: the nearest to the target come first."""
_LOOKED_BACK_H = 14 * 24.0
_AFTER = pd.Timedelta(2, "h")
_HOURS = (1.0, 24.0)


class Diagnosed(Answer):
    """Ranked causes of what began at ``onset_at``; none is a value: nothing changed more than it
    usually does."""

    target: Data
    onset_at: str
    causes: tuple[CauseTold, ...]
    workloads_compared_count: int
    series_compared_count: int
    notes: tuple[Data, ...]


def diagnosed(
    run: Run,
    *,
    incident_id: str | None = None,
    workload: str | None = None,
    at: pd.Timestamp | None = None,
    before_h: float = 6.0,
    top: int = 5,
) -> Diagnosed:
    """The causes of an incident, or of what was seen at a workload at a moment.

    The ``before_h`` hours before the onset are normal; the two hours from it on are the incident.

    Raises
    ------
    NoSuchName
        The incident or the workload is not known.
    ConfigError
        Neither is named, or the moment is not.
    HistoryError
        One side of the onset has no samples.
    """
    if not _HOURS[0] <= before_h <= _HOURS[1]:
        raise ConfigError(f"before_h: expected {_HOURS[0]:g} to {_HOURS[1]:g}, got {before_h:g}")
    target, onset = _asked(run, incident_id, workload, at)
    end = min(onset + _AFTER, run.as_of)
    names = _near(run, target)
    panel = panel_of(run, names, onset - pd.Timedelta(before_h, "h"), end)
    found = _ranked(run, panel.to_frame(), names, target, (onset, end), min(max(top, 1), 10))
    newest = run.store.newest(run.as_of)
    lasts = pd.Timedelta(run.settings.quality.maximum_staleness_h, "h")
    return Diagnosed(
        **age(
            run,
            end,
            None if newest is None else newest + lasts,
            f"samples of {len(names)} workloads, {before_h:g} h before the onset to {told(end)}",
            nothing="there are no samples",
        ),
        target=data(target),
        onset_at=told(onset),
        causes=tuple(_cause(c) for c in found["causes"]),
        workloads_compared_count=len(names),
        series_compared_count=int(found["done"]),
        notes=tuple(data(n) for n in found["notes"][:5]),
    )


def _asked(
    run: Run, incident_id: str | None, workload: str | None, at: pd.Timestamp | None
) -> tuple[str, pd.Timestamp]:
    """Where trouble was seen, and since when."""
    if incident_id is not None:
        found = {t.trouble_id: t for t in found_troubles(run, _LOOKED_BACK_H)[0]}
        if incident_id not in found:
            raise NoSuchName("incident_id: no incident of the last 14 days has it")
        one: Trouble = found[incident_id]
        place = one.workloads[0] if workload is None else known_workload(run, workload)
        return place, one.started_at if at is None else at
    if workload is None or at is None:
        raise ConfigError("give incident_id, or workload and at (the onset)")
    if at >= run.as_of:
        raise ConfigError(f"at: expected a moment before {told(run.as_of)}, got {told(at)}")
    return known_workload(run, workload), at


def _near(run: Run, target: str) -> list[str]:
    """The target, what is of its namespace, of its cluster; not more than can be compared soon."""
    cluster, namespace, _, _ = split_workload(target)

    def rank(name: str) -> tuple[bool, bool, str]:
        own = split_workload(name)
        near = own[1] in (namespace, CLUSTER_NAMESPACE)
        return name != target, not near, name

    mine = [n for n in {*known_workloads(run), target} if split_workload(n)[0] == cluster]
    return sorted(mine, key=rank)[:_NAMES_MAX]


def _ranked(
    run: Run,
    samples: pd.DataFrame,
    names: Sequence[str],
    target: str,
    incident: tuple[pd.Timestamp, pd.Timestamp],
    top: int,
) -> dict[str, Any]:
    """What the verb says of these samples."""
    with TemporaryDirectory(prefix="foretide-diagnose-") as folder:
        return diagnose(
            [_file(samples, Path(folder))],
            told(incident[0]),
            target=target,
            graph=_graph(run, names, Path(folder)),
            top=top,
            as_of=told(incident[1]),
        )


def _file(frame: pd.DataFrame, folder: Path) -> str:
    """The samples as the verb takes them."""
    names = frame["workload"].cat.categories
    parts = pd.DataFrame([split_workload(str(n)) for n in names], columns=list(WORKLOAD_PARTS))
    mine = parts.iloc[frame["workload"].cat.codes].astype("str").reset_index(drop=True)
    rest = frame[["metric", "ts", "value"]].astype({"metric": "str"}).reset_index(drop=True)
    path = folder / "samples.parquet"
    pq.write_table(conform(pd.concat([mine, rest], axis=1), SAMPLES), path)
    return str(path)


def _graph(run: Run, names: Sequence[str], folder: Path) -> str | None:
    """Calls between them, where they are known."""
    edges = edges_of(run)
    calls = None if edges is None else resolve_edges(edges, names)
    if calls is None or calls.empty:
        return None
    path = folder / "calls.csv"
    calls.to_csv(path, index=False)
    return str(path)


def _cause(cause: dict[str, Any]) -> CauseTold:
    return CauseTold(
        workload=data(str(cause["workload"])),
        metric=data(str(cause["metric"])),
        evidence=data(str(cause["evidence"])),
        score=number(cause["score"]),
        confidence_share=number(cause["confidence"]),
    )
