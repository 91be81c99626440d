"""score: what is new is held against the baselines; anomalies become incidents, growth becomes
leaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from features.changes import CHANGE_METRICS, change_events
from features.frames import INCIDENTS, LEAKS, SCORES, SKIPS, Contract
from features.panel import Panel
from models.incidents import group_incidents
from pipelines.clock import now
from pipelines.errors import ConfigError, HistoryError
from pipelines.learning import Learned, learn
from pipelines.outcome import Outcome, merge_counts, reasons
from pipelines.registry import load_live
from pipelines.run import Run, RunRef, parse_time, part_name
from pipelines.scoring import context, score_window
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
    series: int
    skipped: Mapping[str, int]
    outputs: Mapping[str, str]


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
    if inputs and not train_until:
        raise ConfigError(
            "scoring a file needs --train-until: what is before it teaches what is normal"
        )
    until = parse_time(train_until, "--train-until") if train_until else None
    begin = parse_time(start, "--start") if start else until or _resume(run)
    if begin >= run.as_of:
        raise ConfigError(
            f"nothing to score: it would start at {begin}, and the clock is {run.as_of}"
        )
    windows = [
        _Window(r, begin.isoformat(), until.isoformat() if until else None)
        for r in run.shards((until or run.as_of) - pd.Timedelta(days=run.settings.history.days))
    ]
    shards = run_shards(
        score_shard,
        windows,
        workers=run.settings.shards.workers,
        max_failed_share=run.settings.shards.max_failed_share,
    )
    incidents = call(group, ref, begin.isoformat())
    skipped = merge_counts(d.skipped for d in shards.results)
    outcome = Outcome(
        verb="score",
        run_id=run.run_id,
        as_of=ref.as_of,
        unit="series",
        done=sum(d.series for d in shards.results),
        skipped=skipped,
        failed=shards.failed,
        outputs={k: v for d in shards.results for k, v in d.outputs.items()} | incidents["outputs"],
        figures=incidents["figures"],
    )
    return publish(outcome.to_dict())


@task(cache_policy=NO_CACHE)
def score_shard(window: _Window) -> _Done:
    """Score one shard and write its scores and leaks."""
    run = window.run.open()
    start = parse_time(window.start, "start")
    until = parse_time(window.train_until, "--train-until") if window.train_until else None
    panel = run.panel(start - context(run.settings), run.as_of)
    baselines, version = _baselines(run, panel, until)
    scored = score_window(baselines, panel, start, run.catalog, run.settings)
    skips = scored.skipped.drop_duplicates(["workload", "metric"])
    skips = skips.assign(step="score", issued_at=run.as_of, run_id=run.run_id)
    stamp = {"model_version": version, "run_id": run.run_id}
    valid_until = run.as_of + pd.Timedelta(run.settings.detect.valid_for_h, "h")
    scores = scored.scores.assign(**stamp, valid_until=valid_until)
    outputs = {
        "scores": run.store.write(SCORES, scores.reindex(columns=SCORES.schema.names), run.part),
        "leaks": run.store.write(LEAKS, scored.leaks.assign(**stamp), run.part),
        "skips": run.store.write(SKIPS, skips, run.part),
    }
    done = panel.n_series - len(skips)
    return _Done(done, reasons(skips), outputs)


@task(cache_policy=NO_CACHE)
def group(ref: RunRef, start: str) -> dict[str, Any]:
    """Incidents over all shards: those that touch ``[start, as_of)``, older scores included."""
    run = ref.open()
    begin = parse_time(start, "start")
    memory = pd.Timedelta(hours=run.settings.detect.regroup_h)
    scores, leaks = _since(run, SCORES, begin - memory), _since(run, LEAKS, begin - memory)
    found = group_incidents(scores, leaks, run.settings.detect.incidents, _events(run, begin))
    recent = found[found["ended_at"].isna() | (found["ended_at"] > begin)]
    path = run.store.write(INCIDENTS, recent.assign(run_id=run.run_id), run.part)
    return {
        "outputs": {"incidents": path},
        "figures": {
            "incidents": float(len(recent)),
            "points_over_alert_line": float((scores["score"] >= 1).sum()),
            "leaks": float(leaks.loc[leaks["score"] >= 1, "workload"].nunique()),
        },
    }


def _baselines(run: Run, panel: Panel, until: pd.Timestamp | None) -> tuple[Sequence[Learned], str]:
    """What is known of the panel's workloads, and the version's name."""
    if until is not None:
        history = run.panel(until - pd.Timedelta(days=run.settings.history.days), until)
        return [learn(history, run.catalog, run.settings)], run.run_id
    live = load_live(run, sorted(panel.keys["workload"].unique()), detectors=True)
    return live.shards, live.forecaster.label if live.detector is None else live.detector.label


def _events(run: Run, begin: pd.Timestamp) -> pd.DataFrame:
    """Deploys and restarts near the window, which incidents may name as causes."""
    start = begin - pd.Timedelta(hours=run.settings.detect.regroup_h)
    try:
        return change_events(run.panel(start, run.as_of, metrics=CHANGE_METRICS))
    except HistoryError:
        return pd.DataFrame(columns=["workload", "ts", "event"])


def _since(run: Run, contract: Contract, since: pd.Timestamp) -> pd.DataFrame:
    """Rows of the last runs; where runs overlap the newest one counts."""
    table: pd.DataFrame = run.read(contract, since).to_pandas()
    return table.drop_duplicates(list(contract.key), keep="last")


def _resume(run: Run) -> pd.Timestamp:
    """Just after the last step that has a score, wherever the clock of its run stood: a run sees
    only steps that are over, and samples may be late. The last day where there is none, or none
    that is recent.
    """
    day = run.as_of - pd.Timedelta(days=1)
    before = [p for p in run.store.parts(SCORES) if part_name(day) < p[:16] < part_name(run.as_of)]
    for part in reversed(before):
        ts_ms = run.store.read(SCORES, part=part)["ts"].cast(pa.int64()).to_numpy()
        if len(ts_ms):
            return max(day, pd.Timestamp(int(ts_ms.max()) + 1, unit="ms", tz="UTC"))
    return day
