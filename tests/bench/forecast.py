"""Forecasting at speed: the fit beside stock prophet and prophet-batch, and the weekly training.

``python tests/bench/forecast.py [--parts fit,end,predict,backtest,train] [--workloads 1000,5000]``
prints, in one run and on made-up load (daily and weekly shape, trend, noise, level shifts, gaps):

fit       4 weeks at 5 minutes by the three packages, in turns; medians; whose mode is the better
end       Parquet samples to Parquet forecasts: panel, fit, seven-day bands, beside stock
predict   seven days × 5 quantiles of 10,000 series, in blocks so that memory stays bounded
backtest  three origins of every configured model, and of the product, on hourly series
train     the weekly training from a store on disk to a registered champion
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# of this process and of those that it starts
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
sys.path.insert(0, str(Path(__file__).parents[1] / "kit"))

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace

import forecast_series as made
import numpy as np
import pandas as pd
import pyarrow as pa
from forecast_others import Clock, Stock, Took, batch_fits, environment, load
from forecast_training import train_all
from prophet_cases import with_parameters

from features.frames import FORECASTS, QUANTILES, quantile_column
from features.panel import Floats, Panel
from models.base import Baselines
from models.prophet import Prophet, objective
from pipelines.adapters.store import Store
from pipelines.catalogs import open_catalog
from pipelines.judging import judge_forecasters
from pipelines.learning import forecasters, learn
from pipelines.settings import load_settings

PARTS = ("fit", "end", "predict", "backtest", "train")
N_DAYS, AHEAD_DAYS = 28, 7


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--series", type=int, default=1000, help="that are fitted together")
    parser.add_argument("--stock-series", type=int, default=20)
    parser.add_argument("--batch-series", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--predict-series", type=int, default=10_000)
    parser.add_argument("--backtest-series", type=int, default=1000, help="hourly, of five weeks")
    parser.add_argument("--workloads", default="1000,5000,10000", help="that are trained, in turn")
    parser.add_argument("--workers", type=int, default=2, help="shards at once in a training")
    args = parser.parse_args()
    parts = args.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--parts: expected some of {','.join(PARTS)}, got {','.join(unknown)}")
    print(f"{environment()}\n{load()}\n", flush=True)
    ways: dict[str, Callable[[argparse.Namespace], None]] = {
        "predict": predict,
        "backtest": backtest,
        "train": train,
    }
    if {"fit", "end"} & set(parts):
        panel = made.panel(args.series, N_DAYS, made.FIVE_MINUTES)
        Prophet().fit(panel.select(np.arange(min(20, args.series))))  # compiles
        stock = fit(panel, args)
        if "end" in parts:
            end_to_end(panel, stock, args)
        del panel, stock
    for part in parts:
        if part in ways:
            ways[part](args)
            print(f"({part}: {load()})\n", flush=True)


def fit(panel: Panel, args: argparse.Namespace) -> Stock:
    """Ours, prophet-batch's and some of stock's series in every round."""
    few = panel.select(np.arange(args.batch_series))
    whose = np.array_split(
        np.linspace(0, args.series - 1, args.stock_series).astype(int), args.rounds
    )
    stock = Stock()
    taken: dict[str, list[Took]] = {
        "Foretide": [],
        "prophet-batch": [],
        "stock prophet": stock.fits,
    }
    for rows in whose:
        clock = Clock()
        fitted = Prophet().fit(panel)
        taken["Foretide"].append(clock.took().over(panel.n_series))
        took, models = batch_fits(few)
        taken["prophet-batch"].append(took.over(few.n_series))
        stock.add(panel.select(rows), AHEAD_DAYS)
    middle = {name: Took.median(each) for name, each in taken.items()}
    together = {"Foretide": panel.n_series, "prophet-batch": few.n_series, "stock prophet": 1}
    print(f"fit of {panel.n_steps:,} points, medians in turns; {load()}")
    print(f"{'':<16}{'ms a series':>12}{'of CPU':>11}{'from':>9}{'to':>11}")
    for name, took in middle.items():
        low, high = (f(t.seconds for t in taken[name]) * 1000 for f in (min, max))
        print(
            f"  {name:<14}{took.seconds * 1000:>12.3f}{took.cpu_seconds * 1000:>11.3f}"
            f"{low:>9.3f}{high:>11.3f}   {len(taken[name])} times, {together[name]} together"
        )
    print(f"  {np.isnan(panel.values).any(axis=1).mean():.1%} of the series have gaps")
    chosen = np.concatenate(whose)
    excess = {
        "stock": _excess(fitted.select(chosen), panel.select(chosen), stock.models),
        "prophet-batch": _excess(fitted.select(np.arange(len(models))), few, models),
    }
    for name, nats in excess.items():
        print(f"  objective above {name}'s, nats: {nats.min():.2g} to {nats.max():.2g}")
    ours, batch, alone = middle.values()
    print(
        f"  by CPU time: {alone.cpu_seconds / ours.cpu_seconds:.0f}× stock, "
        f"{batch.cpu_seconds / ours.cpu_seconds:.1f}× prophet-batch"
    )
    print(f"figure prophet_fit_speedup_vs_stock {alone.seconds / ours.seconds:.0f} ratio")
    print(f"figure prophet_fit_speedup_vs_prophet_batch {batch.seconds / ours.seconds:.1f} ratio")
    print(f"figure prophet_objective_excess_max {max(e.max() for e in excess.values()):.2g} nats")
    print(flush=True)
    return stock


def _excess(ours: Baselines, panel: Panel, models: list) -> Floats:
    return objective(ours, panel) - objective(with_parameters(ours, models), panel)


def end_to_end(panel: Panel, stock: Stock, args: argparse.Namespace) -> None:
    """A store's samples to a store's forecasts, at the panel's step and by the hour."""
    steps = {"5 minutes": made.FIVE_MINUTES, "1 hour": made.HOUR}
    with tempfile.TemporaryDirectory(prefix="foretide-bench-") as folder:
        made.store(Path(folder), panel.n_series, N_DAYS)
        taken: dict[str, list[tuple[float, ...]]] = {name: [] for name in steps}
        for _ in range(args.rounds):
            for name, step in steps.items():
                taken[name].append(_once(Store(folder), panel, step))
    print("end to end, Parquet samples to Parquet forecasts of seven days × 5 quantiles")
    for name, rounds in taken.items():
        middle = min(rounds, key=lambda r: abs(sum(r) - statistics.median(map(sum, rounds))))
        ours = sum(middle) / panel.n_series
        beside = stock.whole_s(steps[name])
        words = zip(("read", "fit", "predict", "write"), middle, strict=True)
        told = ", ".join(f"{word} {seconds:.3f}" for word, seconds in words)
        print(
            f"  forecast every {name}: {ours:.6f} s a series ({told} s of {panel.n_series}); stock "
            f"{beside:.3f} s (fit and predict): {beside / ours:,.0f}×"
        )
    print(f"({load()})\n", flush=True)


def _once(store: Store, panel: Panel, step: pd.Timedelta) -> tuple[float, ...]:
    """Seconds of reading, fitting, predicting, writing."""
    ticks = [time.perf_counter()]
    read = store.panel([made.METRIC], panel.start, panel.end, panel.step)
    assert read is not None
    assert read.values.shape == panel.values.shape
    ticks.append(time.perf_counter())
    model = Prophet()
    fitted = model.fit(read)
    ticks.append(time.perf_counter())
    fitted = replace(fitted, meta={**fitted.meta, "step_s": step.total_seconds()})
    n_steps = int(pd.Timedelta(AHEAD_DAYS, "D") / step)
    told = model.predict(fitted, read.end, n_steps, QUANTILES)
    ticks.append(time.perf_counter())
    store.write(FORECASTS, _table(read, told, step, model.name), "bench")
    ticks.append(time.perf_counter())
    return tuple(np.diff(ticks))


def _table(panel: Panel, told: Floats, step: pd.Timedelta, model: str) -> pa.Table:
    _, n_series, n_steps = told.shape
    n_rows, label = n_series * n_steps, pa.DictionaryArray.from_arrays
    zero = np.zeros(n_rows, np.int32)
    issued_ms, step_ms = panel.end.value // 10**6, int(step / pd.Timedelta(1, "ms"))
    stamp = pa.timestamp("ms", tz="UTC")
    series = np.repeat(np.arange(n_series, dtype=np.int32), n_steps)
    columns = {
        "workload": label(series, panel.keys["workload"].to_list()),
        "metric": label(zero, [made.METRIC]),
        "issued_at": pa.array(np.full(n_rows, issued_ms)).cast(stamp),
        "ts": pa.array(np.tile(issued_ms + step_ms * np.arange(n_steps), n_series)).cast(stamp),
        **{quantile_column(q): told[i].ravel() for i, q in enumerate(QUANTILES)},
        "model": label(zero, [model]),
        "confidence": label(zero, ["week"]),
        "model_version": label(zero, ["bench"]),
        "run_id": label(zero, ["bench"]),
        "valid_until": pa.array(np.full(n_rows, issued_ms + 86_400_000)).cast(stamp),
    }
    return pa.table(columns)


def predict(args: argparse.Namespace) -> None:
    """Prophet alone, and what a run predicts with: the champions of a shard, calibrated."""
    settings = load_settings()
    block = min(settings.shards.workloads, args.predict_series)
    times = args.predict_series // block
    print(f"predict seven days × 5 quantiles of {times * block:,} series, {block} at a time")
    for name, step in (("5 minutes", made.FIVE_MINUTES), ("1 hour", made.HOUR)):
        panel = made.panel(block, N_DAYS, step)
        n_steps = int(pd.Timedelta(AHEAD_DAYS, "D") / step)
        model, fitted = Prophet(), Prophet().fit(panel)
        catalog = open_catalog(settings.source.catalog_name)
        champions = learn(panel, catalog, settings, detectors=False).groups[0].champions
        every = forecasters(settings)

        def alone(model=model, fitted=fitted, panel=panel, n_steps=n_steps) -> Floats:
            return model.predict(fitted, panel.end, n_steps, QUANTILES)

        def champion(champions=champions, panel=panel, n_steps=n_steps, every=every) -> Floats:
            return champions.predict(panel.end, n_steps, QUANTILES, every)[0]

        who = champions.chosen["model"].value_counts()
        live = ", ".join(f"{model} {n / block:.0%}" for model, n in who.items())
        for way, said in {"prophet": alone, f"champions ({live})": champion}.items():
            said()
            clock = time.perf_counter()
            for _ in range(times):
                assert np.isfinite(said()).all()
            print(f"  every {name:<10}{time.perf_counter() - clock:7.2f} s  {way}", flush=True)


def backtest(args: argparse.Namespace) -> None:
    """Every configured model and the product itself, at three origins."""
    settings = load_settings()
    catalog = open_catalog(settings.source.catalog_name)
    panel = made.panel(args.backtest_series, 35, made.HOUR)
    judge_forecasters(panel.select(np.arange(min(5, panel.n_series))), catalog, settings)
    clock = time.perf_counter()
    judged = judge_forecasters(panel, catalog, settings)
    seconds = time.perf_counter() - clock
    origins = judged.table["origin"].nunique()
    print(
        f"backtest of {panel.n_series:,} hourly series of 5 weeks, {origins} origins, "
        f"{judged.table['model'].nunique()} models: {seconds:.1f} s"
    )
    for name, took in sorted(judged.seconds.items(), key=lambda item: -item[1]):
        wape = judged.table.loc[judged.table["model"] == name, "wape"].median()
        print(f"  {name:<24}{took:7.2f} s to fit and predict   median WAPE {wape:.3f}")


def train(args: argparse.Namespace) -> None:
    """From a store on disk to a registered champion, at each of the sizes."""
    sizes = [int(text) for text in args.workloads.split(",")]
    print(f"weekly training, {N_DAYS} days at 5 minutes, {args.workers} shards at once")
    for done in train_all(sizes, N_DAYS, args.workers):
        rate = done.seconds / done.workloads * 1000
        live = {k.removeprefix("champion_"): int(v) for k, v in done.outcome["figures"].items()}
        print(
            f"  {done.workloads:>6,} workloads {done.seconds:8.1f} s ({rate:.1f} s a thousand), "
            f"peak {done.peak_gib:.2f} GiB, live: {live}; {load()}"
        )
        print(f"figure weekly_training_seconds_{done.workloads} {done.seconds:.1f} s")
        print(
            f"figure weekly_training_peak_gib_{done.workloads} {done.peak_gib:.2f} GiB", flush=True
        )


if __name__ == "__main__":
    main()
