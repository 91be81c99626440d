"""score: what is new is held against the baselines; anomalies become incidents, growth becomes
leaks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from features.changes import CHANGE_METRICS, change_events
from features.frames import INCIDENTS, LEAKS, SCORES, SKIPS, Contract
from features.panel import Panel
from models.incidents import group_incidents
from pipelines.accounting import silent_series
from pipelines.clock import now
from pipelines.continuity import continued
from pipelines.errors import ConfigError, HistoryError
from pipelines.learning import Learned, learn
from pipelines.moments import parse_time
from pipelines.outcome import Outcome, counted, merge_reasons, panel_counts, reasons, told
from pipelines.registry import load_live
from pipelines.run import Run, RunRef, part_name
from pipelines.scoring import (
    NOTHING_TO_SCORE,
    context,
    scorable,
    score_window,
)
from pipelines.staging import commit_tables, keep, staged, tables_aside
from pipelines.tasks import call, publish, run_shards, threads

__all__ = ["score"]


@dataclass(frozen=True, slots=True)
class _Window:
    """What one task scores: ``[start, as_of)``; ``train_until`` where it learns first."""

    run: RunRef
    start: str
    train_until: str | None


@dataclass(frozen=True, slots=True)
class _Done:
    """What one shard reports; ``rows`` of scores and leaks, reasons and counts of the rest."""

    series: int = 0
    rows: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])
    no_leaks: Mapping[str, int] = field(default_factory=dict[str, int])
    counts: Counter[str] = field(default_factory=Counter[str])


@flow(name="score", task_runner=threads())
def score(
    config: str | None = None,
    inputs: list[str] | None = None,
    out: str | None = None,
    as_of: str | None = None,
    train_until: str | None = None,
    start: str | None = None,
) -> dict[str, Any]:
    """Score ``[start, as_of)`` and group what is anomalous.

    With ``train_until`` the baselines are learned in this run from what is before it; without, the
    registered champions are used. ``start`` defaults to ``train_until``, else to where the scores
    end.

    Raises
    ------
    ConfigError, HistoryError, ModelError
        Nothing was written.
    """
    ref = RunRef.resolve(config, inputs, out, as_of, now())
    run = ref.open()
    begin, until = _span(run, train_until, start)
    history = (until or run.as_of) - pd.Timedelta(days=run.settings.history.days)
    windows = [
        _Window(r, begin.isoformat(), until.isoformat() if until else None)
        for r in run.shards(min(history, begin - context(run.settings)))
    ]
    with staged(run, "score"):
        shards = run_shards(
            score_shard,
            windows,
            workers=run.settings.shards.workers,
            max_failed_share=run.settings.shards.max_failed_share,
        )
        silent = silent_series(run, begin - context(run.settings), NOTHING_TO_SCORE)
        keep(run, "score", SKIPS, silent.assign(step="score", **_stamp(run)), beside=True)
        skipped = merge_reasons([*(d.skipped for d in shards.results), reasons(silent)])
        if not any(d.rows for d in shards.results):
            raise HistoryError(
                f"nothing could be scored from {begin:%Y-%m-%d %H:%M} to "
                f"{run.as_of:%Y-%m-%d %H:%M} UTC: {told(skipped) or 'no series'}"
            )
        figures = call(group, ref, begin.isoformat())
        outputs = commit_tables(run, "score")
    outcome = Outcome(
        verb="score",
        run_id=run.run_id,
        as_of=ref.as_of,
        unit="series",
        done=sum(d.series for d in shards.results),
        skipped=skipped,
        failed=shards.failed,
        outputs=outputs,
        figures=figures,
        notes=(
            *counted(sum((d.counts for d in shards.results), Counter())),
            *_leak_notes(merge_reasons(d.no_leaks for d in shards.results)),
        ),
    )
    return publish(outcome.to_dict())


@task(cache_policy=NO_CACHE)
def score_shard(window: _Window) -> _Done:
    """Score one shard and keep its scores and leaks aside."""
    run = window.run.open()
    start = parse_time(window.start, "start")
    until = parse_time(window.train_until, "--train-until") if window.train_until else None
    panel = run.panel(start - context(run.settings), run.as_of)
    if not panel.n_series:
        return _Done()
    baselines, version, refused = _baselines(run, panel, until)
    scored = score_window(baselines, panel, start, run.catalog, run.settings, refused)
    stamp = {"model_version": version, "run_id": run.run_id}
    valid_until = run.as_of + pd.Timedelta(run.settings.detect.valid_for_h, "h")
    scores = scored.scores.assign(**stamp, valid_until=valid_until)
    keep(run, "score", SCORES, scores.reindex(columns=SCORES.schema.names))
    keep(run, "score", LEAKS, scored.leaks.assign(**stamp))
    keep(run, "score", SKIPS, scored.skipped.assign(**_stamp(run)))
    unscored = scored.skipped[scored.skipped["step"] == "score"]
    return _Done(
        series=len(scorable(panel, run.catalog)) - len(unscored),
        rows=len(scores) + len(scored.leaks),
        skipped=reasons(unscored),
        no_leaks=reasons(scored.skipped[scored.skipped["step"] == "leaks"]),
        counts=panel_counts(panel.counts),
    )


@task(cache_policy=NO_CACHE)
def group(ref: RunRef, start: str) -> dict[str, float]:
    """Incidents over all shards: those that touch ``[start, as_of)``, older scores included."""
    run = ref.open()
    begin = parse_time(start, "start")
    memory = pd.Timedelta(hours=run.settings.detect.regroup_h)
    scores, leaks = _since(run, SCORES, begin - memory), _since(run, LEAKS, begin - memory)
    found = group_incidents(scores, leaks, run.settings.detect.incidents, _events(run, begin))
    before = _told(run, begin - memory)
    known = found if before is None else continued(found, before, begin)
    recent = known[known["ended_at"].isna() | (known["ended_at"] >= begin)]
    keep(run, "score", INCIDENTS, recent.assign(run_id=run.run_id))
    return {
        "incidents": float(len(recent)),
        "points_over_alert_line": float((scores["score"] >= 1).sum()),
        "leaks": float(leaks.loc[leaks["score"] >= 1, "workload"].nunique()),
    }


def _span(
    run: Run, train_until: str | None, start: str | None
) -> tuple[pd.Timestamp, pd.Timestamp | None]:
    """Where scoring begins, and where learning ends."""
    if run.ref.inputs and not train_until:
        raise ConfigError(
            "scoring a file needs --train-until: what is before it teaches what is normal"
        )
    until = parse_time(train_until, "--train-until") if train_until else None
    begin = parse_time(start, "--start") if start else until or _resume(run)
    if until is not None and begin < until:
        raise ConfigError(
            f"--start {begin:%Y-%m-%d %H:%M} is before --train-until {until:%Y-%m-%d %H:%M}: "
            "what was learned from cannot be scored"
        )
    if begin >= run.as_of:
        raise ConfigError(
            f"nothing to score: it would start at {begin:%Y-%m-%d %H:%M}, and the clock "
            f"(--as-of) is {run.as_of:%Y-%m-%d %H:%M} UTC"
        )
    return begin, until


def _stamp(run: Run) -> dict[str, Any]:
    return {"issued_at": run.as_of, "run_id": run.run_id}


def _leak_notes(no_leaks: Mapping[str, int]) -> tuple[str, ...]:
    return (f"  not judged for leaks: {told(no_leaks)}",) if no_leaks else ()


def _baselines(
    run: Run, panel: Panel, until: pd.Timestamp | None
) -> tuple[Sequence[Learned], str, pd.DataFrame | None]:
    """What is known of the panel's workloads, the version's name, and who was refused and why."""
    if until is not None:
        history = run.panel(until - pd.Timedelta(days=run.settings.history.days), until)
        lesson = learn(history, run.catalog, run.settings)
        return lesson.groups, run.run_id, pd.concat([lesson.skipped, lesson.young])
    live = load_live(run, sorted(panel.keys["workload"].unique()), detectors=True)
    newest = live.forecaster if live.detector is None else live.detector
    return live.shards, newest.label, None


def _events(run: Run, begin: pd.Timestamp) -> pd.DataFrame:
    """Deploys and restarts near the window, which incidents may name as causes."""
    start = begin - pd.Timedelta(hours=run.settings.detect.regroup_h)
    try:
        return change_events(run.panel(start, run.as_of, metrics=CHANGE_METRICS))
    except HistoryError:
        return pd.DataFrame(columns=["workload", "ts", "event"])


def _since(run: Run, contract: Contract, since: pd.Timestamp) -> pd.DataFrame:
    """Rows of this run and, from the store, of the last ones; where runs overlap the newest counts.

    Files stand for themselves: what others were scored to is no past of theirs.
    """
    before = [] if run.ref.inputs else run.parts(contract, since)
    tables = [
        run.store.read(contract, part=p) for p in before if not p.startswith(part_name(run.as_of))
    ]
    mine = tables_aside(run, "score", contract)
    tables += [] if mine is None else [mine]
    table: pd.DataFrame = pa.concat_tables(tables).unify_dictionaries().to_pandas()
    return table.drop_duplicates(list(contract.key), keep="last")


def _told(run: Run, since: pd.Timestamp) -> pd.DataFrame | None:
    """What earlier runs told of; nothing for files, which stand for themselves."""
    parts = [] if run.ref.inputs else run.parts(INCIDENTS, since)
    tables = [run.store.read(INCIDENTS, part=p) for p in parts if p[:16] < part_name(run.as_of)]
    return pa.concat_tables(tables).unify_dictionaries().to_pandas() if tables else None


def _resume(run: Run) -> pd.Timestamp:
    """Just after the last step that has a score, wherever the clock of its run stood: a run sees
    only steps that are over. Samples may come late, so as much is scored again as ingest reads
    again. The last day where there is none, or none
    that is recent.
    """
    day = run.as_of - pd.Timedelta(days=1)
    before = [p for p in run.store.parts(SCORES) if part_name(day) < p[:16] < part_name(run.as_of)]
    for part in reversed(before):
        ts_ms = run.store.read(SCORES, part=part)["ts"].cast(pa.int64()).to_numpy()
        if len(ts_ms):
            last = pd.Timestamp(int(ts_ms.max()) + 1, unit="ms", tz="UTC")
            return max(day, last - pd.Timedelta(run.settings.source.reread_s, "s"))
    return day
