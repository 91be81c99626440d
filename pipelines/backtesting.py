"""backtest: every configured forecaster, and the product as it would have run, held against what
came.

At every origin a forecaster sees what a run at that moment would have seen, ``history.days`` and
nothing later. ``champion`` is the product itself: at every origin champions are chosen, fitted and
calibrated on what was before it, so that its row is out of sample like the others.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from features.frames import BACKTEST
from features.metrics import Catalog
from features.panel import Floats, Panel
from models.backtest import Backtest, rolling_origin
from models.base import Baselines, Forecaster
from models.choice import BARS, choose
from pipelines.clock import now
from pipelines.errors import ConfigError, HistoryError
from pipelines.learning import forecast_rows, forecasters, learn_forecasters, learnable
from pipelines.outcome import Outcome, merge_counts, reasons
from pipelines.run import Run, RunRef, parse_duration
from pipelines.settings import Settings
from pipelines.tasks import publish, run_shards, threads

__all__ = ["PRODUCT", "Judged", "backtest", "judge_forecasters", "model_rows"]

PRODUCT = "champion"
"""The name of the product's own row."""

_SERIES = ["workload", "metric"]
_SCORES = [
    "wape", "mase", "pinball_q50", "pinball_q90", "pinball_q99", "coverage_q90",
    "peak_coverage_q90",
]  # fmt: skip
_PINBALL = [c for c in _SCORES if c.startswith("pinball")]


@dataclass(frozen=True, slots=True)
class Judged:
    """What came out for some workloads.

    Attributes
    ----------
    table : frame
        BACKTEST contract; ``champion`` marks who would be live by all origins together. Rows of
        the model ``champion`` are the product, chosen anew at every origin.
    seconds : model → seconds of fitting and predicting, all series and origins
    skipped : frame ``workload, metric, reason``
    """

    table: pd.DataFrame
    seconds: Mapping[str, float]
    skipped: pd.DataFrame


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
    if (step or aggregate) and not inputs:
        raise ConfigError(
            "--step and --aggregate are for --input; the store's step is history.step_s"
        )
    ref = RunRef.resolve(config, inputs, out, as_of, now())
    step_s = None if step is None else parse_duration(step, "--step").total_seconds()
    ref = replace(ref, step_s=step_s, aggregate=aggregate)
    run = ref.open()
    shards = run_shards(
        backtest_shard,
        run.shards(_begin(run)),
        workers=run.settings.shards.workers,
        max_failed_share=run.settings.shards.max_failed_share,
    )
    table = pd.concat([done.table for done, _ in shards.results], ignore_index=True)
    skipped = merge_counts(reasons(done.skipped) for done, _ in shards.results)
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
    for done, _ in shards.results:
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
        outputs={f"backtest{n or ''}": p for n, (_, p) in enumerate(shards.results) if p},
        figures=_figures(rows),
        notes=_notes(table, run),
        rows=tuple(rows),
    )
    return publish(outcome.to_dict())


@task(cache_policy=NO_CACHE)
def backtest_shard(ref: RunRef) -> tuple[Judged, str]:
    """Backtest one shard; its table is written where the samples came from files."""
    run = ref.open()
    done = judge_forecasters(run.panel(_begin(run), run.as_of), run.catalog, run.settings)
    write = bool(ref.inputs) and len(done.table) > 0
    return done, run.store.write(BACKTEST, done.table, run.part) if write else ""


def judge_forecasters(panel: Panel, catalog: Catalog, settings: Settings) -> Judged:
    """Backtest the configured forecasters and the product on all series with enough history."""
    series, skipped = learnable(panel, catalog, settings)
    history = pd.Timedelta(settings.history.days, "D")
    plain = forecasters(settings)
    every = [_AsRun(f, history) for f in (*plain, _Product(catalog, settings))]
    params = settings.forecast.champion.backtest
    done = rolling_origin(series, every, params)
    chosen = choose(_without(done, PRODUCT), settings.forecast.champion.margin)
    per_series = len(done.table) // max(series.n_series, 1)
    table = done.table.assign(
        champion=done.table["model"].to_numpy() == np.repeat(chosen["model"], per_series)
    )
    return Judged(table, {f.name: sum(f.seconds) for f in every}, skipped)


def model_rows(table: pd.DataFrame, seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """One row a model: its scores over origins, then over series.

    Only series and origins at which every model had an answer count, so that rows can be compared.
    ``wape`` and ``mase`` are medians over series, ``wape_mean`` and the coverages means;
    ``pinball_*`` are means in the metric's unit, ``pinball_*_vs_bar`` medians of each series' loss
    beside the bar's. ``champion_for`` counts series; None is "n/a".
    """
    models = list(dict.fromkeys(table["model"]))
    live = table[table["champion"]].drop_duplicates(_SERIES)["model"].value_counts()
    table = _answered(table)
    means = table.groupby([*_SERIES, "model"], observed=True)[_SCORES].mean()
    origins = table.groupby("model", observed=True).size()
    bar = means.xs(BARS[0], level="model")[_PINBALL]
    rows: list[dict[str, Any]] = []
    for model in [m for m in models if m in origins.index]:
        mine = means.xs(model, level="model")
        beside = mine[_PINBALL] / bar.where(bar > 0)
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


def _without(done: Backtest, model: str) -> Backtest:
    """The same backtest as if one of its models had not been there."""
    left = tuple(name for name in done.models if name != model)
    table = done.table[done.table["model"] != model].reset_index(drop=True)
    return replace(done, models=left, table=table)


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


@dataclass(frozen=True, slots=True)
class _AsRun:
    """A forecaster that sees only as much history as a run would, and is timed."""

    forecaster: Forecaster
    history: pd.Timedelta
    seconds: list[float] = field(default_factory=list[float])

    @property
    def name(self) -> str:
        return self.forecaster.name

    def fit(self, panel: Panel) -> Baselines:
        began = time.perf_counter()
        fitted = self.forecaster.fit(panel.window(panel.end - self.history))
        self.seconds.append(time.perf_counter() - began)
        return fitted

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        began = time.perf_counter()
        told = self.forecaster.predict(baselines, start, n_steps, quantiles)
        self.seconds.append(time.perf_counter() - began)
        return told


@dataclass(frozen=True, slots=True)
class _Product:
    """What a run does, as one forecaster: champions chosen, fitted and calibrated on a panel."""

    catalog: Catalog
    settings: Settings

    @property
    def name(self) -> str:
        return PRODUCT

    def fit(self, panel: Panel) -> Baselines:
        champions, _ = learn_forecasters(panel, self.catalog, self.settings)
        return Baselines(self.name, panel.keys, {}, {"champions": champions})

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        out = np.full((len(quantiles), len(baselines.keys), n_steps), np.nan)
        champions = baselines.meta["champions"]
        if champions is not None:
            rows = forecast_rows(baselines.keys, champions)
            every = forecasters(self.settings)
            out[:, rows] = champions.predict(start, n_steps, quantiles, every)[0]
        return out
