"""Forecasts held against last week on any directory of samples files.

``python tests/eval/forecast.py [DIR] [--step 1h] [--origins 3]`` takes every Parquet and CSV file
right under DIR that holds samples. A file is a trace; where it has several series, they count as
much as one together. At each weekly origin the product sees ``history.days`` before it and nothing
later, chooses, fits and calibrates anew, and forecasts 168 hours.

The bar is the better of the weekly naive and the four-week median, chosen in hindsight per trace.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from models.choice import BARS
from pipelines.errors import ForetideError
from pipelines.judging import PRODUCT, judge_forecasters
from pipelines.run import RunRef
from pipelines.settings import Settings, load_settings

CLOCK = pd.Timestamp("2100-01-01", tz="UTC")  # files end before it: theirs is used
SCORES = ["wape", "pinball_q50", "pinball_q90", "pinball_q99", "coverage_q90", "peak_coverage_q90"]
LEAST_HISTORY = np.timedelta64(14, "D")  # with one week both bars, and most models, are the same
BETTER = 0.95  # a single model that is so much better than the product on a trace is named


def judged(file: Path, step: str, settings: Settings) -> tuple[pd.DataFrame, str]:
    """One file's backtest rows of windows in which everybody answered; why not, where there is
    none."""
    try:
        ref = RunRef.resolve(None, [str(file)], None, None, CLOCK).on_files(step, None)
        run = ref.open()
        params = settings.forecast.champion.backtest
        weeks = params.origins * params.horizon_h / 24 + settings.history.days
        panel = run.panel(run.as_of - pd.Timedelta(weeks, "D"), run.as_of)
        table = judge_forecasters(panel, run.catalog, settings).table
    except ForetideError as error:
        return pd.DataFrame(), str(error)
    if table.empty:
        return table, "no series with enough history"
    full = table[table["horizon_s"] >= params.horizon_h * 3600]
    begun = panel.times[np.isfinite(panel.values).argmax(axis=1)]
    first = pd.Series(begun, index=pd.MultiIndex.from_frame(panel.keys))
    series = pd.MultiIndex.from_frame(full[["workload", "metric"]])
    full = full[full["origin"].to_numpy() - first.reindex(series).to_numpy() >= LEAST_HISTORY]
    bars = full[full["model"].isin([*BARS, PRODUCT])]
    counts = bars[bars["points"] > 0].groupby(["workload", "metric", "origin"], observed=True)
    keys = counts.size().loc[lambda n: n == len(BARS) + 1].index
    mine = pd.MultiIndex.from_frame(full[["workload", "metric", "origin"]]).isin(keys)
    return full[mine], "" if mine.any() else "too short for a week ahead of two weeks"


def ratios(table: pd.DataFrame) -> pd.DataFrame:
    """A row a model: mean log ratio of WAPE to the bar's over origins and series, and means."""
    series = ["workload", "metric"]
    wape = table.pivot_table(index=[*series, "origin"], columns="model", values="wape")
    over_origins = wape[list(BARS)].groupby(level=series).mean()
    bar = over_origins.idxmin(axis=1).reindex(wape.index.droplevel("origin")).to_numpy()
    held = wape.to_numpy()[np.arange(len(wape)), wape.columns.get_indexer(bar)]
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(wape.div(held, axis=0)).replace([np.inf, -np.inf], np.nan)
    out = pd.DataFrame({"log_ratio": log.mean()})
    means = table.groupby("model", observed=True)[SCORES].mean()
    naive = table.pivot_table(index=[*series, "origin"], columns="model", values="pinball_q90")
    beside = np.log(naive.div(naive[BARS[0]], axis=0)).replace([np.inf, -np.inf], np.nan)
    return out.join(means).assign(pinball_log_ratio=beside.mean())


def show(name: str, rows: pd.DataFrame) -> None:
    """One trace's table."""
    print(f"\n{name}")
    heads = ("WAPE", "× bar", "pinball .9", "q90 covers", "peaks")
    print(f"  {'model':22s}" + "".join(f"{head:>12s}" for head in heads))
    for model, row in rows.iterrows():
        values = (
            row["wape"],
            np.exp(row["log_ratio"]),
            np.exp(row["pinball_log_ratio"]),
            row["coverage_q90"],
            row["peak_coverage_q90"],
        )
        print(f"  {model:22s}" + "".join(f"{value:12.3f}" for value in values))


def main() -> None:
    """Print a table a trace, and the figures over all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/data"))
    parser.add_argument("--step", default="1h")
    parser.add_argument("--origins", type=int, default=3)
    args = parser.parse_args()
    os.environ.setdefault("FORETIDE_FORECAST__CHAMPION__BACKTEST__ORIGINS", str(args.origins))
    settings = load_settings(None)
    traces: dict[str, pd.DataFrame] = {}
    for file in sorted([*args.data.glob("*.parquet"), *args.data.glob("*.csv")]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table, why = judged(file, args.step, settings)
        if why:
            print(f"{file.name}: left out, {why}")
            continue
        traces[file.stem] = ratios(table)
        n = table.drop_duplicates(["workload", "metric"])
        show(
            f"{file.stem}: {len(n)} series, {table['origin'].nunique()} origins", traces[file.stem]
        )
    if not traces:
        sys.exit(f"no file in {args.data} is long enough")
    overall(traces)


def overall(traces: dict[str, pd.DataFrame]) -> None:
    """Over all traces, each as heavy as the others."""
    log = pd.DataFrame({name: rows["log_ratio"] for name, rows in traces.items()})
    print("\nover all traces: geometric mean of WAPE × bar")
    for model, value in np.exp(log.mean(axis=1)).items():
        better = int((log.loc[model] - log.loc[PRODUCT] < np.log(BETTER)).sum())
        print(
            f"  {model:22s}{value:8.3f}   ahead of the product by 5 %: {better} of {log.shape[1]}"
        )
    champion = pd.DataFrame([rows.loc[PRODUCT] for rows in traces.values()])
    no_worse = int((champion["pinball_log_ratio"] <= 0).sum())
    print(f"pinball .9 no worse than last week's: {no_worse} of {len(traces)} traces")
    print(f"figure forecast_wape_vs_best_naive {np.exp(log.loc[PRODUCT].mean()):.3f} ratio")
    print(f"figure forecast_q90_coverage {champion['coverage_q90'].mean():.3f} share")
    print(f"figure forecast_q90_peak_coverage {champion['peak_coverage_q90'].mean():.3f} share")


if __name__ == "__main__":
    main()
