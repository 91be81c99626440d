"""forecast: quantiles of demand over the coming days, and the replicas that they ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from features.frames import CAPACITY, FORECASTS, SKIPS
from features.panel import Panel
from features.quality import LARGEST, judge
from models.champion import Champions
from models.champion_fit import only, refitted
from pipelines.accounting import silent_series
from pipelines.artifacts import publish
from pipelines.capacity_facts import facts_aside, gather_facts
from pipelines.catching_up import caught_up
from pipelines.clock import now
from pipelines.errors import ConfigError, HistoryError, ModelError
from pipelines.floors import CPU, capacity_levels, capacity_table
from pipelines.flow_runs import as_run
from pipelines.forecast_rows import forecast_rows, is_published
from pipelines.hygiene import AnomalousPoints
from pipelines.learning import forecasters, learn, learn_newcomers, without_maintenance
from pipelines.moments import parse_duration
from pipelines.outcome import Outcome, counted, merge_reasons, panel_counts, reasons, told
from pipelines.parameters import Length, Moment
from pipelines.registry import load_live
from pipelines.run import Run, RunRef
from pipelines.spreading import where
from pipelines.staging import commit_tables, keep, staged
from pipelines.tasks import run_shards, threads
from pipelines.telemetry import traced
from pipelines.unusual import unusual
from pipelines.verdicts import demoted, newest_verdicts
from pipelines.watching import watched

__all__ = ["forecast"]


@dataclass(frozen=True, slots=True)
class _Ask:
    """What one task forecasts."""

    run: RunRef
    horizon_s: float
    quantiles: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Done:
    series: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])
    floors: int = 0
    counts: Counter[str] = field(default_factory=Counter[str])


@flow(name="forecast", task_runner=threads(), timeout_seconds=1800)
@as_run()
@watched("forecast", {"horizon": "forecast-next"})
def forecast(
    config: str | None = None,
    inputs: list[str] | None = None,
    out: str | None = None,
    as_of: Moment | None = None,
    horizon: Length | None = None,
    step: Length | None = None,
    quantiles: str | None = None,
    aggregate: str | None = None,
    catch_up: bool = False,
) -> dict[str, Any]:
    """Publish forecasts and the capacity they ask for.

    From the store the registered champions are used; from files the champions are chosen and fitted
    in this run, on what is before ``as_of``. ``step`` and ``aggregate`` are for files only.
    With ``catch_up`` only where nothing was forecast in this round yet.

    Raises
    ------
    ConfigError, HistoryError, ModelError
        Nothing was written.
    """
    ref = RunRef.resolve(config, inputs, out, as_of, now()).on_files(step, aggregate)
    run = ref.open()
    if catch_up and (standing := caught_up(run, "forecast", FORECASTS)):
        return publish(standing)
    hours = run.settings.forecast.horizon_h
    length = parse_duration(horizon, "--horizon") if horizon else pd.Timedelta(hours, "h")
    asked = _quantiles(quantiles)
    asks = [_Ask(r, length.total_seconds(), asked) for r in run.shards()]
    with staged(run, "forecast"):
        notes = gather_facts(run)
        shards = run_shards(
            forecast_shard,
            asks,
            workers=run.settings.shards.workers,
            max_failed_share=run.settings.shards.max_failed_share,
            where=where(run, "forecast"),
        )
        done = shards.results
        silent = silent_series(run, run.history_start, "no sample in the history that is read")
        silent = silent.assign(step="forecast", issued_at=run.as_of, run_id=run.run_id)
        keep(run, "forecast", SKIPS, silent, beside=True)
        skipped = merge_reasons([*(d.skipped for d in done), reasons(silent)])
        series = sum(d.series for d in done)
        if not series:
            raise HistoryError(
                f"nothing could be forecast at {run.as_of:%Y-%m-%d %H:%M} UTC: "
                + (told(skipped) or "no series with a champion")
            )
        outputs = commit_tables(run, "forecast")
    outcome = Outcome(
        verb="forecast",
        run_id=run.run_id,
        as_of=ref.as_of,
        unit="series",
        done=series,
        skipped=skipped,
        failed=shards.failed,
        outputs=outputs,
        figures={"workloads_with_floors": float(sum(d.floors for d in done))},
        notes=(*notes, *counted(sum((d.counts for d in done), Counter())), *_no_floors(done)),
    )
    return publish(outcome.to_dict())


def _no_floors(done: Sequence[_Done]) -> tuple[str, ...]:
    """What a person should know when floors will not follow."""
    if any(d.floors for d in done):
        return ()
    return (f"  no capacity: no workload's {CPU} is forecast, so there will be no floors",)


@task(cache_policy=NO_CACHE)
@traced
def forecast_shard(ask: _Ask) -> _Done:
    """Forecast one shard and keep its forecasts and capacity aside."""
    run = ask.run.open()
    panel = run.panel(run.history_start, run.as_of)
    if not panel.n_series:
        return _Done()
    facts = facts_aside(run)
    pieces, skips = _champions(run, panel, facts.metrics(run))
    levels = capacity_levels(run, sorted(panel.keys["workload"].unique()))
    tables = [
        forecast_rows(
            run,
            panel,
            champions,
            version,
            horizon_s=ask.horizon_s,
            quantiles=ask.quantiles,
            capacity_levels=levels,
            capacity_metrics=facts.metrics(run),
        )
        for champions, version in pieces
    ]
    skips = pd.concat([skips, _unanswered(run, pieces, [t for t, _ in tables])])
    keep(run, "forecast", SKIPS, skips)
    if tables:
        keep(run, "forecast", FORECASTS, pd.concat([t for t, _ in tables]))
    grids = [grid for _, grid in tables if grid is not None]
    capacity = capacity_table(run, panel, grids, facts) if grids else pd.DataFrame()
    if not capacity.empty:
        keep(run, "forecast", CAPACITY, capacity)
    return _Done(
        sum(len(t[["workload", "metric"]].drop_duplicates()) for t, _ in tables),
        reasons(skips),
        0 if capacity.empty else int(capacity["workload"].nunique()),
        panel_counts(panel.counts),
    )


def _champions(
    run: Run, panel: Panel, asked: Collection[str]
) -> tuple[list[tuple[Champions, str]], pd.DataFrame]:
    """Who forecasts, and which demand has nobody: registered ones, or fitted here for a file.

    ``asked`` are metrics that capacity needs beside the published ones.
    """
    stamp = {"step": "forecast", "issued_at": run.as_of, "run_id": run.run_id}
    if run.ref.inputs:
        usual = unusual(panel, AnomalousPoints.of([]), run.settings).applied(panel)
        lesson = learn(usual, run.catalog, run.settings, detectors=False)
        pieces = [(group.champions, run.run_id) for group in lesson.groups]
        return pieces, lesson.skipped.assign(**stamp)
    live = load_live(run, sorted(panel.keys["workload"].unique()), detectors=False)
    version = live.forecaster.label
    metrics = panel.keys["metric"]
    demand = panel.select(is_published(metrics, run) | metrics.isin(asked).to_numpy())
    silent, verdicts = _silent(demand, run), newest_verdicts(run)
    pieces: list[tuple[Champions, str]] = []
    for champions in (s.champions for s in live.shards):
        wanted = _among(champions.keys, demand.keys) & ~_among(champions.keys, silent)
        mine = only(champions, wanted)
        mine = _up_to_date(mine, panel, run) if run.settings.forecast.refit else mine
        pieces.append((mine.demoted(demoted(run, mine.keys, verdicts)), version))
    known = pd.concat([silent[["workload", "metric"]], *(s.champions.keys for s in live.shards)])
    fresh, skipped = learn_newcomers(demand, known, run.catalog, run.settings)
    told = [*pieces, *((c, version) for c in fresh)]
    return [t for t in told if len(t[0].chosen)], pd.concat([silent, skipped]).assign(**stamp)


def _silent(demand: Panel, run: Run) -> pd.DataFrame:
    """The series that ceased to be measured: ``workload, metric, reason``."""
    lenient = {"minimum_history_days": 0.0, "minimum_coverage": 0.0}
    verdict = judge(demand, replace(run.settings.quality, **lenient))
    return verdict.loc[~verdict["ok"], ["workload", "metric", "reason"]]


def _among(keys: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """Which of the series are among the others."""
    columns = ["workload", "metric"]
    return pd.MultiIndex.from_frame(keys[columns]).isin(pd.MultiIndex.from_frame(others[columns]))


def _up_to_date(champions: Champions, panel: Panel, run: Run) -> Champions:
    """The live models, fitted on what came since; as they are where the grid is another one."""
    if not len(champions.chosen) or panel.step != champions.step or panel.end <= champions.end:
        return champions
    gone = sorted(champions.members.keys() - {f.name for f in forecasters(run.settings)})
    if gone:
        raise ModelError(
            f"the live model needs {gone[0]!r}, which forecast.models no longer names; name it "
            "again, or run `foretide train`"
        )
    usual = without_maintenance(panel, run.settings)
    sane = usual.with_values(np.where(np.abs(usual.values) > LARGEST, np.nan, usual.values))
    return refitted(champions, sane, forecasters(run.settings))


def _unanswered(
    run: Run, pieces: list[tuple[Champions, str]], tables: list[pd.DataFrame]
) -> pd.DataFrame:
    """Series whose champion has nothing finite to say: they too are accounted for."""
    parts: list[pd.DataFrame] = []
    for (champions, _), table in zip(pieces, tables, strict=True):
        keys = champions.chosen[["workload", "metric"]]
        keys = keys[is_published(keys["metric"], run)]
        told = pd.MultiIndex.from_frame(table[["workload", "metric"]].drop_duplicates())
        parts.append(keys[~pd.MultiIndex.from_frame(keys).isin(told)])
    silent = pd.concat(parts) if parts else pd.DataFrame(columns=["workload", "metric"])
    stamp = {"step": "forecast", "issued_at": run.as_of, "run_id": run.run_id}
    return silent.assign(reason="the champion has no answer", **stamp)


def _quantiles(text: str | None) -> tuple[float, ...]:
    if text is None:
        return ()
    try:
        levels = tuple(float(part) for part in text.split(","))
    except ValueError:
        levels = (np.nan,)
    if not all(0 < q < 1 and round(q, 4) == q for q in levels):
        raise ConfigError(
            "--quantiles: expected numbers between 0 and 1 of at most four decimals, like 0.5,0.9, "
            f"got {text!r}"
        )
    return levels
