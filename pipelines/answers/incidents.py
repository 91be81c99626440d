"""What is going wrong: incidents with ranked causes, as they are told to channels."""

from __future__ import annotations

from typing import Literal

import pandas as pd
import pyarrow as pa

from features.frames import INCIDENTS, LEAKS, Contract
from pipelines.adapters.notify import Cause, Trouble
from pipelines.answers.known import known_workload
from pipelines.answers.shared import Answer, Data, Part, age, clock_of, data, iso, number
from pipelines.notices_troubles import of_incidents
from pipelines.run import Run
from pipelines.series.reaching import newest_parts

__all__ = [
    "CauseTold",
    "Incident",
    "Incidents",
    "State",
    "found_troubles",
    "incidents",
    "open_incidents",
]

State = Literal["open", "over"]
_LEAK_ISSUES = pd.Timedelta(6, "h")
_WORKLOADS, _CAUSES = 5, 3
_CLUSTER_TEXT = 240


class CauseTold(Part):
    """One of an incident's causes; the first explains most."""

    workload: Data
    metric: Data
    evidence: Data
    score: float | None
    confidence_share: float | None


class Incident(Part):
    """Anomalies that belong together."""

    incident_id: str
    what: Literal["incident", "leak", "shortfall"]
    title: Data
    severity: Literal["warning", "critical"]
    state: State
    started_at: str | None
    detected_at: str | None
    ended_at: str | None
    score: float | None
    """1 is the alert line; larger is odder."""
    hours_to_limit: float | None
    """Of a leak, the median; null where there is none."""
    workloads: tuple[Data, ...]
    workloads_count: int
    causes: tuple[CauseTold, ...]
    causes_count: int


class Incidents(Answer):
    """The incidents that were asked for: open ones first, then the strongest."""

    open_count: int
    matching_count: int
    """All that match; at most ``limit`` of them are here."""
    incidents: tuple[Incident, ...]


def incidents(
    run: Run,
    *,
    state: Literal["open", "all"] = "open",
    workload: str | None = None,
    severity: Literal["warning", "critical"] | None = None,
    since_h: float = 24.0,
    limit: int = 10,
) -> Incidents:
    """Incidents of the last ``since_h`` hours of the newest scoring; of one workload, or of all.

    Raises
    ------
    NoSuchName
        The workload is not known.
    StoreError
        A table is damaged.
    """
    wanted = None if workload is None else known_workload(run, workload)
    found, open_ids, clock = found_troubles(run, since_h)
    found = [t for t in found if wanted is None or wanted in t.workloads]
    found = [t for t in found if severity is None or t.severity == severity]
    n_open = sum(t.trouble_id in open_ids for t in found)
    if state == "open":
        found = [t for t in found if t.trouble_id in open_ids]
    ranked = sorted(found, key=lambda t: (t.trouble_id not in open_ids, -(number(t.score) or 0)))
    lasts = pd.Timedelta(run.settings.detect.valid_for_h, "h")
    told = age(
        run,
        clock,
        None if clock is None else clock + lasts,
        *(() if clock is None else (f"table incidents, newest run {iso(clock)}",)),
        nothing="nothing was scored yet: run `foretide score`",
    )
    return Incidents(
        **told,
        open_count=n_open,
        matching_count=len(ranked),
        incidents=tuple(_incident(t, t.trouble_id in open_ids) for t in ranked[:limit]),
    )


def found_troubles(run: Run, since_h: float) -> tuple[list[Trouble], set[str], pd.Timestamp | None]:
    """Incidents of the ``since_h`` hours before the newest scoring's end, the ids of those that are
    open, and the clock of that scoring; nothing where nothing was scored."""
    newest = newest_parts(run, INCIDENTS)
    if not newest:
        return [], set(), None
    clock = clock_of(newest[-1])
    since = clock - pd.Timedelta(since_h, "h")
    frame = _frame(run, INCIDENTS, run.parts(INCIDENTS, since))
    open_ids = open_incidents(run)
    leaks = _frame(run, LEAKS, run.parts(LEAKS, clock - _LEAK_ISSUES))
    troubles = of_incidents(frame, leaks)
    recent = [
        t for t in troubles
        if t.trouble_id in open_ids or (t.ended_at or t.started_at) >= since
    ]  # fmt: skip
    return recent, open_ids, clock


def open_incidents(run: Run) -> set[str]:
    """Ids of those that the newest scoring saw going on."""
    newest = newest_parts(run, INCIDENTS)
    if not newest:
        return set()
    last = _frame(run, INCIDENTS, newest)
    # what later runs looked for and did not find is over
    is_open = last["ended_at"].isna() | (last["ended_at"] > clock_of(newest[-1]))
    return {str(i) for i in last.loc[is_open, "incident_id"]}


def _frame(run: Run, contract: Contract, parts: list[str]) -> pd.DataFrame:
    tables = [run.store.read(contract, part=part) for part in parts]
    whole = pa.concat_tables([contract.schema.empty_table(), *tables], promote_options="default")
    frame: pd.DataFrame = whole.unify_dictionaries().to_pandas()
    return frame


def _incident(trouble: Trouble, is_open: bool) -> Incident:
    return Incident(
        incident_id=trouble.trouble_id[:64],
        what=trouble.what,
        title=data(trouble.title, _CLUSTER_TEXT),
        severity="critical" if trouble.severity == "critical" else "warning",
        state="open" if is_open else "over",
        started_at=iso(trouble.started_at),
        detected_at=iso(trouble.detected_at),
        ended_at=None if is_open else iso(trouble.ended_at),
        score=number(trouble.score),
        hours_to_limit=number(trouble.left_h),
        workloads=tuple(data(w) for w in trouble.workloads[:_WORKLOADS]),
        workloads_count=len(trouble.workloads),
        causes=tuple(_cause(c) for c in trouble.causes[:_CAUSES]),
        causes_count=len(trouble.causes),
    )


def _cause(cause: Cause) -> CauseTold:
    return CauseTold(
        workload=data(cause.workload),
        metric=data(cause.metric),
        evidence=data(cause.evidence, _CLUSTER_TEXT),
        score=number(cause.score),
        confidence_share=number(cause.confidence),
    )
