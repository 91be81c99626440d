"""train: a baseline for every workload, one registered model a family, every skip with its
reason.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from features.frames import BACKTEST, SKIPS
from models.base import Baselines
from models.bundle import save
from pipelines.adapters.tracking import ModelVersion
from pipelines.clock import now
from pipelines.errors import HistoryError
from pipelines.learning import learn
from pipelines.outcome import (
    Outcome,
    counted,
    merge_counts,
    merge_reasons,
    panel_counts,
    reasons,
    told,
)
from pipelines.registry import DETECTOR, FORECASTER, check_round_trip
from pipelines.run import Run, RunRef
from pipelines.staging import aside, commit_tables, keep, staged, tables_aside
from pipelines.tasks import call, publish, run_shards, threads

__all__ = ["train"]


@dataclass(frozen=True, slots=True)
class _Trained:
    """What one shard reports; its baselines lie in a folder aside."""

    series: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])
    data_hash: str = ""
    champions: Mapping[str, int] = field(default_factory=dict[str, int])
    counts: Counter[str] = field(default_factory=Counter[str])


@flow(name="train", task_runner=threads())
def train(
    config: str | None = None,
    inputs: list[str] | None = None,
    out: str | None = None,
    as_of: str | None = None,
) -> dict[str, Any]:
    """Learn from the history before ``as_of``, log to MLflow, make the new versions champion.

    Raises
    ------
    HistoryError
        No series had enough history: nothing is logged and the old champion stays.
    """
    ref = RunRef.resolve(config, inputs, out, as_of, now())
    run = ref.open()
    shards = run.shards()
    with staged(run, "train"):
        trained = run_shards(
            train_shard,
            shards,
            workers=run.settings.shards.workers,
            max_failed_share=run.settings.shards.max_failed_share,
        )
        return publish(call(register, ref, trained.results, trained.failed))


@task(cache_policy=NO_CACHE)
def train_shard(ref: RunRef) -> _Trained:
    """Learn one shard's baselines and leave them in a folder aside."""
    run = ref.open()
    panel = run.panel(run.history_start, run.as_of)
    if not panel.n_series:
        return _Trained()
    learned = learn(panel, run.catalog, run.settings)
    skips = learned.skipped.assign(step="train", issued_at=run.as_of, run_id=run.run_id)
    keep(run, "train", SKIPS, skips)
    champions: dict[str, int] = {}
    if learned.champions is not None:
        name = f"{ref.shard:04d}"
        meta = {"as_of": ref.as_of, "run_id": run.run_id}
        _save(aside(run, "train") / FORECASTER / name, learned.champions.to_baselines(), meta)
        _save(aside(run, "train") / DETECTOR / name, learned.detectors, meta)
        keep(run, "train", BACKTEST, learned.champions.table)
        counts = learned.champions.chosen["model"].value_counts()
        champions = {str(k): int(v) for k, v in counts.items()}
    digest = hashlib.sha256(np.ascontiguousarray(panel.values).tobytes()).hexdigest()
    return _Trained(
        sum(champions.values()),
        reasons(learned.skipped),
        digest,
        champions,
        panel_counts(panel.counts),
    )


@task(cache_policy=NO_CACHE)
def register(ref: RunRef, shards: tuple[_Trained, ...], failed: tuple[str, ...]) -> dict[str, Any]:
    """Log the families' new versions; each goes live only if it loads back and scores."""
    run = ref.open()
    skipped = merge_reasons(s.skipped for s in shards)
    series = sum(s.series for s in shards)
    if not series:
        raise HistoryError(
            f"no series has enough history before {run.as_of:%Y-%m-%d %H:%M} UTC to learn from: "
            + (told(skipped) or "there is none to learn from at all")
        )
    digest = hashlib.sha256("".join(s.data_hash for s in shards).encode()).hexdigest()
    versions = [_log(run, family, digest, series) for family in (FORECASTER, DETECTOR)]
    commit_tables(run, "train")
    for version in versions:  # both families were logged and loaded back: now they go live together
        run.tracking().promote(version.family, version.version)
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
            v.family: f"models:/{run.settings.tracking.model_prefix}-{v.label}" for v in versions
        },
        figures={f"champion_{model}": float(n) for model, n in champions.items()},
        notes=(f"  live: {live}", *counted(sum((s.counts for s in shards), Counter()))),
    ).to_dict()


def _log(run: Run, family: str, digest: str, series: int) -> ModelVersion:
    settings = run.settings
    return run.tracking().log_bundle(
        family,
        aside(run, "train") / family,
        params={
            "as_of": run.ref.as_of,
            "history_days": str(settings.history.days),
            "models": ",".join(settings.forecast.models),
        },
        metrics={"series": float(series), **_backtest_metrics(run)},
        tags={"run_id": run.run_id, "as_of": run.ref.as_of, "data_sha256": digest},
        loader_module="pipelines.registry",
        check=lambda model: check_round_trip(model, settings),
    )


def _backtest_metrics(run: Run) -> dict[str, float]:
    written = tables_aside(run, "train", BACKTEST)
    if written is None:
        return {}
    table: pd.DataFrame = written.to_pandas()
    live = table[table["champion"]]
    columns = ("wape", "coverage_q90", "peak_coverage_q90")
    found = {f"backtest_{c}_median": float(live[c].median()) for c in columns}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _save(folder: Path, baselines: Mapping[str, Baselines], meta: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save(folder, baselines, meta)
