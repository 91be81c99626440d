"""score: what is new is held against the baselines; anomalies become incidents, growth becomes
leaks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from features.frames import SCORES, SKIPS
from features.panel import Panel
from pipelines.accounting import silent_series
from pipelines.artifacts import publish
from pipelines.catching_up import caught_up
from pipelines.clock import now
from pipelines.errors import ConfigError, HistoryError
from pipelines.flow_runs import as_run
from pipelines.gathered import gather, gathered
from pipelines.grouping import told_incidents
from pipelines.learning import Learned
from pipelines.moments import parse_time
from pipelines.outcome import Outcome, counted, merge_reasons, reasons, told
from pipelines.parameters import Moment
from pipelines.registry import DETECTOR, load_live
from pipelines.replayed import replayed
from pipelines.run import Run, RunRef, part_name
from pipelines.score_shards import (
    ScoredShard,
    check_window,
    keep_scored,
    run_stamp,
    scored_from,
)
from pipelines.scoring import NOTHING_TO_SCORE, score_window
from pipelines.spreading import where
from pipelines.staging import commit_tables, keep, staged
from pipelines.tasks import call, run_shards, threads
from pipelines.telemetry import traced
from pipelines.watching import watched

__all__ = ["score"]


@dataclass(frozen=True, slots=True)
class _Window:
    """What one task scores: ``[start, as_of)``; ``train_until`` where it learns first."""

    run: RunRef
    start: str
    train_until: str | None


@flow(name="score", task_runner=threads(), timeout_seconds=1800)
@as_run()
@watched("score")
def score(
    config: str | None = None,
    inputs: list[str] | None = None,
    out: str | None = None,
    as_of: Moment | None = None,
    train_until: Moment | None = None,
    start: Moment | None = None,
    catch_up: bool = False,
) -> dict[str, Any]:
    """Score ``[start, as_of)`` and group what is anomalous.

    With ``train_until`` the baselines are learned in this run from what is before it; without, the
    registered champions are used. ``start`` defaults to ``train_until``, else to where the scores
    end. With ``catch_up`` only where nothing was scored in this round yet.

    Raises
    ------
    ConfigError, HistoryError, ModelError
        Nothing was written.
    """
    ref = RunRef.resolve(config, inputs, out, as_of, now())
    run = ref.open()
    if catch_up and (standing := caught_up(run, "score", SCORES)):
        return publish(standing)
    begin, until = _span(run, train_until, start)
    since = scored_from(run.settings, begin, until)
    windows = [
        _Window(r, begin.isoformat(), until.isoformat() if until else None)
        for r in run.shards(since)
    ]
    with staged(run, "score"):
        gather(run, [w.run for w in windows], since, "score")
        shards = run_shards(
            score_shard,
            windows,
            workers=run.settings.shards.workers,
            max_failed_share=run.settings.shards.max_failed_share,
            where=where(run, "score"),
        )
        silent = silent_series(run, since, NOTHING_TO_SCORE)
        keep(run, "score", SKIPS, silent.assign(step="score", **run_stamp(run)), beside=True)
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
            _told_note(figures),
            *counted(sum((d.counts for d in shards.results), Counter())),
            *_leak_notes(merge_reasons(d.no_leaks for d in shards.results)),
        ),
    )
    return publish(outcome.to_dict())


@task(cache_policy=NO_CACHE)
@traced
def score_shard(window: _Window) -> ScoredShard:
    """Score one shard and keep its scores and leaks aside."""
    run = window.run.open()
    start = parse_time(window.start, "start")
    until = parse_time(window.train_until, "--train-until") if window.train_until else None
    panel = gathered(run, scored_from(run.settings, start, until), "score")
    if not panel.n_series:
        return ScoredShard()
    if until is not None:
        scored, version = replayed(panel, until, run.catalog, run.settings), run.run_id
        scored = scored.since(start)
    else:
        live, version = _live(run, panel)
        scored = score_window(live, panel, start, run.catalog, run.settings)
    return keep_scored(run, scored, panel, start, version)


@task(cache_policy=NO_CACHE)
@traced
def group(ref: RunRef, start: str) -> dict[str, float]:
    """Incidents over all shards: those that touch ``[start, as_of)``, older scores included."""
    return told_incidents(ref.open(), parse_time(start, "start"))


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
    check_window(begin, until, run.as_of)
    return begin, until


def _told_note(figures: Mapping[str, float]) -> str:
    """``31 alerts → 7 incidents, told 10 min after they began (median), leaks in 2 workloads``."""
    delay = figures.get("detection_delay_median_s", float("nan"))
    when = "" if pd.isna(delay) else f", told {delay / 60:.0f} min after they began (median)"
    return (
        f"  {figures.get('raw_alerts', 0):.0f} alerts → {figures['incidents']:.0f} incidents"
        f"{when}, leaks in {figures['leaks']:.0f} workloads"
    )


def _leak_notes(no_leaks: Mapping[str, int]) -> tuple[str, ...]:
    return (f"  not judged for leaks: {told(no_leaks)}",) if no_leaks else ()


def _live(run: Run, panel: Panel) -> tuple[Sequence[Learned], str]:
    """What the live version knows of the panel's workloads, and the version's name."""
    live = load_live(run, sorted(panel.keys["workload"].unique()), detectors=True)
    newest = live.forecaster if live.detector is None else live.detector
    return live.shards, newest.label


def _resume(run: Run) -> pd.Timestamp:
    """Just after the last step that has a score, wherever the clock of its run stood: a run sees
    only steps that are over. Samples may come late, so as much is scored again as ingest reads
    again, but what the live version has learned from stays as it was scored before. The last day
    where there is no score, or none that is recent.
    """
    day = run.as_of - pd.Timedelta(days=1)
    before = [p for p in run.store.parts(SCORES) if part_name(day) < p[:16] < part_name(run.as_of)]
    for part in reversed(before):
        ts_ms = run.store.read(SCORES, part=part, columns=("ts",))["ts"].cast(pa.int64()).to_numpy()
        if len(ts_ms):
            last = pd.Timestamp(int(ts_ms.max()) + 1, unit="ms", tz="UTC")
            again = last - pd.Timedelta(run.settings.source.reread_s, "s")
            return max(day, again, min(last, _trained_until(run, day)))
    return day


def _trained_until(run: Run, otherwise: pd.Timestamp) -> pd.Timestamp:
    """Until when the live version had learned, as far as it says."""
    version = run.tracking().champion(DETECTOR)
    told = None if version is None else version.tags.get("as_of")
    return pd.Timestamp(told).tz_convert("UTC") if told else otherwise
