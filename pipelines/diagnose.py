"""diagnose: which workloads explain an incident, from samples before and after its onset.

It needs no store, no model and no server: the samples of the normal time are all that it learns
from. Nothing heavy is imported for it, so that a person gets an answer in a second.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from features.changes import CHANGE_METRICS, CLUSTER_NAMESPACE, change_events
from features.frames import FrameError
from features.panel import Panel
from models.causes import rank_causes
from pipelines.diagnose_inputs import Parted, name_of, read_calls, read_parted, resolve_target
from pipelines.errors import ConfigError, HistoryError
from pipelines.moments import parse_time

__all__ = ["TOP", "diagnose"]

TOP = 5
_EVENTS_FROM = pd.Timedelta(2, "h")
_NAMED = 5


def diagnose(
    inputs: Sequence[str],
    at: str,
    *,
    target: str | None = None,
    graph: str | None = None,
    top: int = TOP,
    out: str | None = None,
    as_of: str | None = None,
) -> dict[str, Any]:
    """Ranked causes of what began at ``at``; see ``models.causes.rank_causes``.

    Parameters
    ----------
    inputs : files of samples, those of the normal time first
    at : the onset; samples before it are normal, from it on they are the incident
    target : the workload, or its name, where trouble was seen
    graph : CSV file of calls, see ``read_calls``
    top : how many causes, at most; no two have the same name
    out : folder for ``causes.json`` and ``causes.html``, the picture that shows why
    as_of : nothing from then on is seen

    Returns
    -------
    ``causes`` (``name, metric, score, confidence, evidence, workload``, best first), ``at``,
    ``target``, ``done`` and ``skipped`` (series), ``notes`` and ``outputs``.

    Raises
    ------
    ForetideError
        An option or a file is wrong, or one side of the onset has no samples.
    """
    if top < 1:
        raise ConfigError(f"--top: expected at least 1, got {top}")
    onset = parse_time(at, "--at")
    parted = read_parted(inputs, onset, parse_time(as_of, "--as-of") if as_of else None)
    workloads = parted.workloads
    seen_at = resolve_target(target, workloads) if target else None
    calls = read_calls(graph, workloads) if graph else None
    events = _events(parted, onset)
    try:
        ranked = rank_causes(parted.before, parted.after, calls, len(workloads), seen_at, events)
    except ValueError as error:  # more cells than can be held
        raise HistoryError(str(error)) from error
    ranked = ranked[ranked["score"] > 0]
    ranked.insert(0, "name", [name_of(w) for w in ranked["workload"]])
    ranked = ranked.head(top)
    done, skipped = _accounted(parted)
    if not done:
        raise HistoryError(
            f"nothing to compare: no series was measured both before and after {onset.isoformat()}"
            f" ({', '.join(f'{n} × {reason}' for reason, n in skipped.items())})"
        )
    result: dict[str, Any] = {
        "causes": ranked[["name", "metric", "score", "confidence", "evidence", "workload"]].to_dict(
            "records"
        ),
        "at": onset.isoformat(),
        "target": seen_at,
        "done": done,
        "skipped": skipped,
        "notes": [*parted.notes, *_of_cluster(events, onset), *_silent(parted)],
        "outputs": {},
    }
    if out is not None:
        result["outputs"] = _written(result, parted, onset, Path(out))
    return result


def _events(parted: Parted, onset: pd.Timestamp) -> pd.DataFrame:
    """Changes that the samples themselves show, around the onset."""
    both = pd.concat([parted.before, parted.after], ignore_index=True)
    told = both[both["metric"].isin(CHANGE_METRICS) & (both["ts"] >= onset - _EVENTS_FROM)]
    told = told.astype({"workload": "str", "metric": "str"})
    last = {str(metric): "last" for metric in CHANGE_METRICS}
    try:
        return change_events(Panel.from_frame(told, aggregates=last))
    except FrameError:  # nothing there
        return pd.DataFrame(columns=["workload", "ts", "event"])


def _of_cluster(events: pd.DataFrame, onset: pd.Timestamp) -> list[str]:
    """Changes of a whole cluster in the hour before: they speak for all workloads alike."""
    near = events[(events["ts"] <= onset) & (events["ts"] > onset - _EVENTS_FROM / 2)]
    return [
        f"{event} at {ts:%H:%M} in {str(workload).split('/', 1)[0]}"
        for workload, ts, event in zip(near["workload"], near["ts"], near["event"], strict=True)
        if f"/{CLUSTER_NAMESPACE}/" in str(workload)
    ]


def _accounted(parted: Parted) -> tuple[int, dict[str, int]]:
    """Series that were held against their past, and those that could not be."""
    sides = [
        set(part.groupby(["workload", "metric"], observed=True).size().index)
        for part in (parted.before, parted.after)
    ]
    alone = {
        "not measured before the onset": len(sides[1] - sides[0]),
        "not measured from the onset on": len(sides[0] - sides[1]),
    }
    return len(sides[0] & sides[1]), {reason: n for reason, n in alone.items() if n}


def _silent(parted: Parted) -> list[str]:
    sides = [{str(w) for w in part["workload"].unique()} for part in (parted.before, parted.after)]
    gone = sorted(name_of(w) for w in sides[0] - sides[1])
    if not gone:
        return []
    more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
    return [f"no sample from the onset on: {', '.join(gone[:_NAMED])}{more}"]


def _written(
    result: dict[str, Any], parted: Parted, onset: pd.Timestamp, folder: Path
) -> dict[str, str]:
    from pipelines.diagnose_picture import picture

    folder.mkdir(parents=True, exist_ok=True)
    outputs = {"causes": str(folder / "causes.json"), "picture": str(folder / "causes.html")}
    Path(outputs["causes"]).write_text(json.dumps(result | {"outputs": outputs}, indent=1) + "\n")
    page = picture(result["causes"], parted.before, parted.after, onset, result["target"])
    Path(outputs["picture"]).write_text(page, encoding="utf-8")
    return outputs
