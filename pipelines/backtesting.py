"""backtest: every configured forecaster, and the product as it would have run, held against what
came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from features.frames import BACKTEST
from models.choice import BARS
from pipelines.artifacts import publish
from pipelines.clock import now
from pipelines.errors import HistoryError
from pipelines.judging import PRODUCT, Judged, judge_forecasters
from pipelines.outcome import Outcome, merge_reasons, reasons
from pipelines.run import Run, RunRef
from pipelines.spreading import where
from pipelines.tasks import run_shards, threads

__all__ = ["backtest", "model_rows"]

_SERIES = ["workload", "metric"]
_SCORES = [
    "wape", "mase", "pinball_q50", "pinball_q90", "pinball_q99", "coverage_q90",
    "peak_coverage_q90",
]  # fmt: skip
_PINBALL = [c for c in _SCORES if c.startswith("pinball")]


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
        run.shards(_begin(run)),
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
    return judge_forecasters(run.panel(_begin(run), run.as_of), run.catalog, run.settings)


def model_rows(table: pd.DataFrame, seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """One row a model: its scores over origins, then over series.

    Only series and origins at which every model had an answer count, so that rows can be compared.
    ``wape`` and ``mase`` are medians over series, ``wape_mean`` and the coverages means;
    ``pinball_*`` are means in the metric's unit, ``pinball_*_vs_bar`` medians of each series' loss
    beside the bar's. ``champion_for`` counts series; None is "n/a".
    """
    models = sorted(dict.fromkeys(table["model"]), key=lambda model: model == PRODUCT)
    table = _answered(table)
    live = table[table["champion"]].drop_duplicates(_SERIES)["model"].value_counts()
    means = table.groupby([*_SERIES, "model"], observed=True)[_SCORES].mean()
    origins = table.groupby("model", observed=True).size()
    bar = means.xs(BARS[0], level="model")[_PINBALL].replace(0.0, np.nan)
    rows: list[dict[str, Any]] = []
    for model in [m for m in models if m in origins.index]:
        mine = means.xs(model, level="model")
        beside = mine[_PINBALL] / bar
        figures = {
            "wape": mine["wape"].median(),
            "wape_mean": mine["wape"].mean(),
            "mase": mine["mase"].median(),
            **{c: mine[c].mean() for c in _PINBALL},
            **{f"{c}_vs_bar": beside[c].median() for c in _PINBALL},
            "coverage_q90": mine["coverage_q90"].mean(),
            "peak_coverage_q90": mine["peak_coverage_q90"].mean(),
            "seconds": seconds.get(model, np.nan),
        }
        row: dict[str, Any] = {"model": model, "series": len(mine), "windows": int(origins[model])}
        row |= {k: float(v) if np.isfinite(v) else None for k, v in figures.items()}
        rows.append(row | {"champion_for": None if model == PRODUCT else int(live.get(model, 0))})
    return rows


def _begin(run: Run) -> pd.Timestamp:
    """So far back that the first origin sees all of ``history.days``."""
    params = run.settings.forecast.champion.backtest
    return run.history_start - params.origins * pd.Timedelta(params.horizon_h, "h")


def _answered(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of series and origins at which every model that ever answers had an answer."""
    ever = table.groupby("model", observed=True)["points"].transform("max") > 0
    fewest = table[ever].groupby([*_SERIES, "origin"], observed=True)["points"].transform("min")
    return table[ever][fewest > 0]


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
    answered = _answered(table)
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
