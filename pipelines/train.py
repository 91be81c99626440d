"""train: a baseline for every workload, one registered model a family, every skip with its
reason.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from features.frames import BACKTEST, SKIPS
from models.base import Baselines
from models.bundle import save
from models.left_out import noting
from pipelines.artifacts import publish
from pipelines.clock import now
from pipelines.errors import ConfigError, HistoryError
from pipelines.flow_runs import TRAINING, as_run
from pipelines.learning import learn
from pipelines.left_out import leave_out, left_out_of
from pipelines.outcome import (
    Outcome,
    counted,
    merge_counts,
    merge_reasons,
    panel_counts,
    reasons,
    told,
)
from pipelines.parameters import Moment
from pipelines.registering import go_live, log_versions
from pipelines.registry import DETECTOR, FORECASTER
from pipelines.retraining import Kept, TrainAsk, asks_for, drifted_workloads, keep_others
from pipelines.run import Run, RunRef
from pipelines.spreading import where
from pipelines.staging import aside, commit_tables, keep, staged
from pipelines.stretches import compact
from pipelines.tasks import call, run_shards, threads
from pipelines.telemetry import traced
from pipelines.watching import watched

__all__ = ["train"]


@dataclass(frozen=True, slots=True)
class _Trained:
    """What one shard reports; its baselines lie in a folder aside."""

    series: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])
    data_hash: str = ""
    champions: Mapping[str, int] = field(default_factory=dict[str, int])
    counts: Counter[str] = field(default_factory=Counter[str])


@flow(name="train", task_runner=threads(), timeout_seconds=12 * 3600)
@as_run(TRAINING, wait_max_s=6 * 3600)
@watched("train", {"drifted": "retrain"})
def train(
    config: str | None = None,
    inputs: list[str] | None = None,
    out: str | None = None,
    as_of: Moment | None = None,
    drifted: bool = False,
) -> dict[str, Any]:
    """Learn from the history before ``as_of``, log to MLflow, make the new versions champion.

    With ``drifted`` only the workloads whose newest verdict is that they drifted or were demoted
    are learned; all else is as in the live version. Where nothing has drifted, or nothing can be
    learned anew, there is no new version.

    Raises
    ------
    ConfigError
        ``drifted`` was asked for on files: only a store has a live model and verdicts on it.
    HistoryError
        No series had enough history: nothing is logged and the old champion stays.
    ModelError
        ``drifted`` was asked for, and the live versions are missing or do not belong together.
    """
    if drifted and inputs:
        raise ConfigError("--drifted is for the store; with --input everything is trained")
    ref = RunRef.resolve(config, inputs, out, as_of, now())
    run = ref.open()
    workloads = drifted_workloads(run) if drifted else None
    if workloads is not None and not workloads:
        return publish(_unchanged(run, {}, "nothing has drifted"))
    shards = run.shards()
    asks = [TrainAsk(s) for s in shards] if workloads is None else asks_for(shards, workloads)
    with staged(run, "train"):
        leave_out(run)
        trained = run_shards(
            train_shard,
            asks,
            workers=run.settings.shards.workers,
            max_failed_share=run.settings.shards.max_failed_share,
            where=where(run, "train"),
        )
        return publish(call(register, ref, trained.results, trained.failed, drifted))


@task(cache_policy=NO_CACHE)
@traced
def train_shard(ask: TrainAsk) -> _Trained:
    """Learn one shard's baselines, or some of them, and leave them in a folder aside."""
    run = ask.run.open()
    panel = compact(run.panel(run.history_start, run.as_of))
    if ask.workloads is not None:
        panel = panel.select(panel.keys["workload"].isin(ask.workloads).to_numpy(dtype=bool))
    if not panel.n_series:
        return _Trained()
    left_out = left_out_of(run, panel)
    lesson = learn(left_out.applied(panel), run.catalog, run.settings)
    skips = lesson.skipped.assign(step="train", issued_at=run.as_of, run_id=run.run_id)
    keep(run, "train", SKIPS, skips)
    meta = {"as_of": ask.run.as_of, "run_id": run.run_id, "step_s": panel.step.total_seconds()}
    every = pd.MultiIndex.from_frame(panel.keys)
    for i, learned in enumerate(lesson.groups):
        bundle, folder = f"{ask.folder}-{i}", aside(run, "train")
        rows = every.get_indexer(pd.MultiIndex.from_frame(learned.champions.keys))
        noted = noting(learned.champions.calibration, left_out.mask[rows], panel.start)
        champions = replace(learned.champions, calibration=noted)
        _save(folder / FORECASTER / bundle, champions.to_baselines(), meta)
        _save(folder / DETECTOR / bundle, learned.detectors, meta)
    live: dict[str, int] = {}
    if lesson.groups:
        keep(run, "train", BACKTEST, pd.concat([g.champions.table for g in lesson.groups]))
        models = pd.concat([g.champions.chosen["model"] for g in lesson.groups])
        live = {str(k): int(v) for k, v in models.value_counts().items()}
    digest = hashlib.sha256(np.ascontiguousarray(panel.values).tobytes()).hexdigest()
    return _Trained(
        sum(live.values()),
        reasons(lesson.skipped),
        digest,
        live,
        panel_counts(panel.counts) + Counter(left_out.counts()),
    )


@task(cache_policy=NO_CACHE)
@traced
def register(
    ref: RunRef, shards: tuple[_Trained, ...], failed: tuple[str, ...], drifted: bool
) -> dict[str, Any]:
    """Log the families' new versions; they go live together, if they load back and score."""
    run = ref.open()
    skipped = merge_reasons(s.skipped for s in shards)
    series = sum(s.series for s in shards)
    if not series and drifted:
        return _unchanged(run, skipped, "what has drifted cannot be learned anew", failed)
    if not series:
        raise HistoryError(
            f"no series has enough history before {run.as_of:%Y-%m-%d %H:%M} UTC to learn from: "
            + (told(skipped) or "there is none to learn from at all")
        )
    digest = hashlib.sha256("".join(s.data_hash for s in shards).encode()).hexdigest()
    kept = keep_others(run, aside(run, "train")) if drifted else Kept()
    made = log_versions(run, digest, series, kept)
    # Tables first: verdicts pass over a backtest whose version is not live, so dying in between
    # leaves the old model and what is held against it. A live version without its backtest would
    # be judged, and trusted, by that of the training before.
    commit_tables(run, "train")
    go_live(run, made)
    champions = merge_counts(s.champions for s in shards)
    live = ", ".join(f"{model} {n}" for model, n in champions.items())
    return Outcome(
        verb="train",
        run_id=run.run_id,
        as_of=ref.as_of,
        unit="series",
        done=series,
        skipped=skipped,
        failed=failed,
        outputs={
            v.family: f"models:/{run.settings.tracking.model_prefix}-{v.label}" for v in made.pair
        },
        figures={f"champion_{model}": float(n) for model, n in champions.items()} | kept.figures,
        notes=(
            f"  {'live' if made.held_back is None else 'learned'}: {live}",
            *made.notes,
            *kept.notes,
            *counted(sum((s.counts for s in shards), Counter())),
        ),
    ).to_dict()


def _unchanged(
    run: Run, skipped: Mapping[str, int], why: str, failed: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The outcome of a training that made no version."""
    note = f"  {why}: there is no new version"
    return Outcome(
        "train", run.run_id, run.ref.as_of, "series", 0, skipped, failed, notes=(note,)
    ).to_dict()


def _save(folder: Path, baselines: Mapping[str, Baselines], meta: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save(folder, baselines, meta)
