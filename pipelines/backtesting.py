"""backtest: every configured forecaster, and the product as it would have run, held against what
came.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from features.frames import BACKTEST
from models.choice import BARS
from pipelines.artifacts import publish
from pipelines.backtest_rows import backtest_start, comparable, model_rows
from pipelines.clock import now
from pipelines.errors import HistoryError
from pipelines.judging import PRODUCT, Judged, judge_forecasters
from pipelines.outcome import Outcome, merge_reasons, reasons
from pipelines.run import Run, RunRef
from pipelines.spreading import where
from pipelines.tasks import run_shards, threads

__all__ = ["backtest", "model_rows"]

_SERIES = ["workload", "metric"]


@flow(name="backtest", task_runner=threads())
def backtest(
    config: str | None = None,
    inputs: list[str] | None = None,
    out: str | None = None,
    as_of: str | None = None,
    step: str | None = None,
    aggregate: str | None = None,
) -> dict[str, Any]:
    """Rolling-origin scores of every configured forecaster, the seasonal-naive bar first.

    From files the BACKTEST table is written under ``out``; a store's own table is what its training
    decided by, and stays. ``step`` and ``aggregate`` are for files only.

    Raises
    ------
    ConfigError, HistoryError
        Nothing was written.
    """
    ref = RunRef.resolve(config, inputs, out, as_of, now()).on_files(step, aggregate)
    run = ref.open()
    shards = run_shards(
        backtest_shard,
        run.shards(backtest_start(run)),
        workers=run.settings.shards.workers,
        max_failed_share=run.settings.shards.max_failed_share,
        where=where(run),
    )
    table = pd.concat([done.table for done in shards.results], ignore_index=True)
    skipped = merge_reasons(reasons(done.skipped) for done in shards.results)
    if not (table["points"] > 0).any():
        raise HistoryError(
            f"nothing can be backtested at {run.as_of:%Y-%m-%d %H:%M} UTC: "
            + (
                "; ".join(f"{n} × {why}" for why, n in skipped.items())
                or "the history is too short for one day ahead of "
                f"{run.settings.forecast.champion.backtest.minimum_train_days:g} days"
            )
        )
    seconds: dict[str, float] = {}
    for done in shards.results:
        for model, took in done.seconds.items():
            seconds[model] = seconds.get(model, 0.0) + took
    rows = model_rows(table, seconds)
    outcome = Outcome(
        verb="backtest",
        run_id=run.run_id,
        as_of=ref.as_of,
        unit="series",
        done=len(table[table["points"] > 0].drop_duplicates(_SERIES)),
        skipped=skipped,
        failed=shards.failed,
        outputs={"backtest": run.store.write(BACKTEST, table, run.part)} if inputs else {},
        figures=_figures(rows),
        notes=_notes(table, run),
        rows=tuple(rows),
    )
    return publish(outcome.to_dict())


@task(cache_policy=NO_CACHE)
def backtest_shard(ref: RunRef) -> Judged:
    """Backtest one shard."""
    run = ref.open()
    return judge_forecasters(run.panel(backtest_start(run), run.as_of), run.catalog, run.settings)


def _figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The product beside the better of the bars, where it was judged."""
    wape = {r["model"]: r["wape_mean"] for r in rows if r["wape_mean"] is not None}
    bars = [wape[b] for b in BARS if b in wape]
    product = next((r for r in rows if r["model"] == PRODUCT), None)
    if product is None or PRODUCT not in wape or not bars:
        return {}
    found = {
        "forecast_wape_vs_best_naive": wape[PRODUCT] / min(bars) if min(bars) > 0 else None,
        "forecast_q90_coverage": product["coverage_q90"],
        "forecast_q90_peak_coverage": product["peak_coverage_q90"],
    }
    return {name: value for name, value in found.items() if value is not None}


def _notes(table: pd.DataFrame, run: Run) -> tuple[str, ...]:
    origins = sorted(table.loc[table["points"] > 0, "origin"].unique())
    days = float(table["horizon_s"].iloc[0]) / 86400
    at = ", ".join(f"{o:%Y-%m-%d %H:%M}" for o in origins)
    notes = [
        f"  {len(origins)} origins ({at} UTC), {days:g} days ahead of each, "
        f"at most {run.settings.history.days:g} days of history before it",
    ]
    answered = comparable(table)
    if PRODUCT in set(answered["model"]):
        notes.append(
            f"  {PRODUCT}: the product, chosen, fitted and calibrated anew before each origin"
        )
    else:
        notes.append(f"  no row for {PRODUCT}: too little history before every origin to choose")
    asked = len(table[table["points"] > 0].drop_duplicates([*_SERIES, "origin"]))
    left = asked - len(answered.drop_duplicates([*_SERIES, "origin"]))
    if left:
        notes.append(f"  {left} of {asked} windows left out: not every model had an answer there")
    return tuple(notes)
