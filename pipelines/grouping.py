"""Which scores belong to one incident: what a run and the ones before it have flagged, grouped.

Most workloads are calm most of the time, so of the last day's scores only those of workloads that
were anomalous in it are read in full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from features.changes import CHANGE_METRICS, change_events
from features.frames import INCIDENTS, LEAKS, SCORES, Contract
from features.silences import silenced_rows
from models.alert_noise import noise
from models.incidents import group_incidents
from pipelines.adapters.store import Store
from pipelines.continuity import continued
from pipelines.errors import HistoryError
from pipelines.run import Run, part_name
from pipelines.score_rows import SILENCED
from pipelines.staging import aside, keep
from pipelines.topology import edges_of

__all__ = ["told_incidents"]

_NEEDED = tuple(c for c in SCORES.schema.names if c not in {"model_version", "run_id"})
_OVER = 1.0


def told_incidents(run: Run, begin: pd.Timestamp) -> dict[str, float]:
    """Group what touches ``[begin, as_of)``, older scores included; keep it aside; gives figures.

    A file stands for itself: all that was scored of it is grouped.
    """
    memory = pd.Timedelta(hours=run.settings.detect.regroup_h)
    scores, n_over = _scores(run, begin - memory)
    leaks = _aloud(_since(run, LEAKS, begin - memory), run)
    events = _events(run, begin - memory)
    knobs, calendars = run.settings.detect.incidents, run.settings.calendars
    found = group_incidents(scores, leaks, knobs, events, edges_of(run), calendars=calendars)
    before = _told(run, begin - memory)
    known = found if before is None else continued(found, before, begin)
    recent = known[_news(known, before, begin)]
    keep(run, "score", INCIDENTS, recent.assign(run_id=run.run_id))
    figures = noise(scores, leaks, found)
    return {name: value for name, value in figures.items() if np.isfinite(value)} | {
        "incidents": float(len(recent)),
        "points_over_alert_line": float(n_over),
        "leaks": float(leaks.loc[leaks["score"] >= _OVER, "workload"].nunique()),
    }


def _news(
    known: pd.DataFrame, before: pd.DataFrame | None, begin: pd.Timestamp
) -> NDArray[np.bool_]:
    """Which incidents go on, end since ``begin``, or were open when they were last told of: that
    one is over shows only after some calm, in a run that may begin after its end."""
    fresh = known["ended_at"].isna() | (known["ended_at"] >= begin)
    if before is not None:
        last = before.drop_duplicates("incident_id", keep="last")
        fresh |= known["incident_id"].isin(last.loc[last["ended_at"].isna(), "incident_id"])
    return fresh.to_numpy(dtype=bool)


def _scores(run: Run, since: pd.Timestamp) -> tuple[pd.DataFrame, int]:
    """The scores since then of the workloads that were anomalous, and how many were over 1."""
    parts = _earlier(run, SCORES, since)
    hot: set[str] = set()

    for table in _tables(run, SCORES, parts, ("workload", "score")):
        over = table["score"].to_numpy() >= _OVER
        hot.update(table.filter(pa.array(over))["workload"].unique().to_pylist())

    def theirs(table: pa.Table) -> pa.Table:
        words = table["workload"].combine_chunks()
        wanted = np.isin(words.dictionary.to_numpy(zero_copy_only=False), list(hot))
        return table.filter(pa.array(wanted[words.indices.to_numpy()]))

    frame = _frame(run, SCORES, parts, _NEEDED, theirs)
    n_over = int((frame["score"] >= _OVER).sum())
    quiet = (frame["severity"] == SILENCED).to_numpy(dtype=bool)
    return frame.assign(score=frame["score"].mask(quiet)), n_over


def _aloud(leaks: pd.DataFrame, run: Run) -> pd.DataFrame:
    """The leaks that nobody has silenced."""
    inside = silenced_rows(leaks, run.settings.silences, ts="issued_at", detector="memory_slope")
    return leaks[inside < 0]


def _since(run: Run, contract: Contract, since: pd.Timestamp) -> pd.DataFrame:
    """Rows of this run and, from the store, of the last ones; where runs overlap the newest counts.

    Files stand for themselves: what others were scored to is no past of theirs.
    """
    parts = _earlier(run, contract, since)
    return _frame(run, contract, parts, contract.schema.names, lambda table: table)


def _frame(
    run: Run,
    contract: Contract,
    parts: Sequence[str],
    columns: Sequence[str],
    chosen: Callable[[pa.Table], pa.Table],
) -> pd.DataFrame:
    schema = pa.schema([contract.schema.field(c) for c in columns])
    tables = [chosen(table) for table in _tables(run, contract, parts, columns)]
    whole = pa.concat_tables([schema.empty_table(), *tables], promote_options="default")
    frame: pd.DataFrame = whole.unify_dictionaries().to_pandas()
    return frame.drop_duplicates(list(contract.key), keep="last")


def _tables(
    run: Run, contract: Contract, parts: Sequence[str], columns: Sequence[str]
) -> Iterator[pa.Table]:
    """Some columns of earlier parts, one after the other, and of what this run has written."""
    for part in parts:
        yield run.store.read(contract, part=part, columns=columns)
    own = Store(aside(run, "score"))
    for part in own.parts(contract):
        yield own.read(contract, part=part, columns=columns)


def _earlier(run: Run, contract: Contract, since: pd.Timestamp) -> list[str]:
    parts = [] if run.ref.inputs else run.parts(contract, since)
    return [p for p in parts if not p.startswith(part_name(run.as_of))]


def _events(run: Run, since: pd.Timestamp) -> pd.DataFrame:
    """Deploys and restarts near the window, which incidents may name as causes."""
    try:
        return change_events(run.panel(since, run.as_of, metrics=CHANGE_METRICS))
    except HistoryError:
        return pd.DataFrame(columns=["workload", "ts", "event"])


def _told(run: Run, since: pd.Timestamp) -> pd.DataFrame | None:
    """What earlier runs told of; nothing for files, which stand for themselves."""
    parts = _earlier(run, INCIDENTS, since)
    tables = [run.store.read(INCIDENTS, part=p) for p in parts if p[:16] < part_name(run.as_of)]
    return pa.concat_tables(tables).unify_dictionaries().to_pandas() if tables else None
