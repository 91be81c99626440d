"""The figures of docs/how-it-works.md: simulated clusters through the product, drawn as SVG.

Nothing is sketched by hand but the way of the data: scores, bands, floors and raises are what the
released code answers. ``make docs`` writes them to docs/figures.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from figures_plain import guard, way
from figures_style import BLUE, GREY, ORANGE, PALE, PLAIN, RED
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure

from features.frames import QUANTILES, quantile_column
from features.panel import Panel
from features.synthetic import ClusterSpec, simulate
from models.replay import replay
from pipelines.catalogs import open_catalog
from pipelines.replay_weeks import prepared_week
from pipelines.settings import Settings

__all__ = ["FIGURES", "main"]

FOLDER = Path(__file__).parents[1] / "figures"
SPEC = ClusterSpec(n_workloads=20, weeks=5, seed=7)
WEEK = pd.Timedelta(7, "D")
SCORED = ("storefront",)
"""Scoring a week of all of them would take minutes."""
SCORED_DAYS = 2
_MEDIAN = 0.5


@dataclass(frozen=True, slots=True)
class World:
    """A simulated cluster, and what the verbs said of its fifth week."""

    samples: pd.DataFrame
    truth: pd.DataFrame
    scores: pd.DataFrame
    incidents: pd.DataFrame
    forecasts: pd.DataFrame
    panel: Panel
    middle: pd.Timestamp
    """Where the fifth week begins."""


@lru_cache(maxsize=1)
def world() -> World:
    """Simulate, score the fifth week, forecast it before it came; about half a minute."""
    cluster = simulate(SPEC)
    middle = pd.Timestamp(SPEC.start) + 4 * WEEK
    with TemporaryDirectory() as folder:
        file, out = Path(folder) / "samples.parquet", Path(folder) / "out"
        pq.write_table(cluster.samples, file)
        given = ("--input", str(file), "--out", str(out))
        _foretide("forecast", *given, "--as-of", middle.isoformat(), "--step", "1h")
        frame = cluster.samples.to_pandas()
        frame[frame["name"].isin(SCORED)].to_parquet(file)
        until = middle + pd.Timedelta(SCORED_DAYS, "D")
        _foretide(
            "score", *given, "--train-until", middle.isoformat(), "--as-of", until.isoformat()
        )
        names = ("scores", "incidents", "forecasts")
        tables = {t: pd.read_parquet(_only(out, t)) for t in names}
    samples = cluster.samples.to_pandas()
    samples["workload"] = (
        samples[["cluster", "namespace", "kind", "name"]].astype("str").agg("/".join, axis=1)
    )
    panel = Panel.from_frame(cluster.samples, step=pd.Timedelta(SPEC.step_s, "s"))
    return World(samples, cluster.truth, panel=panel, middle=middle, **tables)


def _only(out: Path, table: str) -> list[Path]:
    return sorted(out.glob(f"{table}/*.parquet")) or sorted(out.glob(f"{table}*.parquet"))


def _foretide(*args: str) -> None:
    quiet = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    call = [sys.executable, "-m", "pipelines.cli", *args]
    done = subprocess.run(call, env=os.environ | quiet, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(args)}: {done.stderr}")


def score() -> Figure:
    """A fault that was injected: the metric beside its band, its score beside the line."""
    w = world()
    fault = w.truth[(w.truth["kind"] == "spike") & (w.truth["start"] >= w.middle)].iloc[0]
    begin, end = fault["start"] - pd.Timedelta("6h"), fault["end"] + pd.Timedelta("4h")
    rows = w.scores[
        (w.scores["workload"] == fault["workload"])
        & (w.scores["metric"] == fault["metric"])
        & w.scores["ts"].between(begin, end)
        & (w.scores["detector"] == "band")
    ].sort_values("ts")
    figure = Figure(figsize=(8.6, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    stamps = rows["ts"].to_numpy()
    band = (rows["lower"], rows["upper"])
    upper.fill_between(stamps, *band, color=PALE, alpha=0.6, lw=0, label="expected band")
    upper.plot(stamps, rows["value"], color=BLUE, lw=1.2, label="measured")
    upper.set(ylabel="requests a second", title=f"{fault['workload']}, times UTC")
    lower.plot(stamps, rows["score"], color=ORANGE, lw=1.2, label="score")
    lower.axhline(1, color=GREY, lw=1, ls="--", label="1: the alert line")
    lower.axhline(2, color=RED, lw=1, ls=":", label="2: critical")
    lower.set(ylabel="score", ylim=(0, min(float(rows["score"].max()) * 1.1, 8)))
    told = w.incidents[w.incidents["workloads"].map(lambda names: fault["workload"] in names)]
    told = told[told["detected_at"].between(begin, end)]
    for axes in (upper, lower):
        axes.axvspan(
            fault["start"], fault["end"], color=RED, alpha=0.08, lw=0,
            label="injected" if axes is upper else None,
        )  # fmt: skip
        for i, moment in enumerate(told["detected_at"]):
            first = axes is upper and not i
            axes.axvline(moment, color="black", lw=1, label="a person is told" if first else None)
        axes.xaxis.set_major_formatter(DateFormatter("%a %H:%M"))
    upper.legend(loc="upper left", fontsize=8)
    lower.legend(loc="upper left", fontsize=8)
    return figure


def calibration() -> Figure:
    """A forecast's band over the week that came; what its quantiles covered of all workloads."""
    w = world()
    metric = "requests_per_second"
    told = w.forecasts[w.forecasts["metric"] == metric].copy()
    real = w.samples[(w.samples["metric"] == metric) & (w.samples["ts"] >= w.middle)]
    came = (
        real.assign(ts=real["ts"].dt.floor("h"))
        .groupby(["workload", "ts"], observed=True)["value"].mean().rename("came").reset_index()
    )  # fmt: skip
    told["workload"] = told["workload"].astype("str")
    both = told.merge(came.astype({"workload": "str"}), on=["workload", "ts"]).dropna(
        subset=["q50", "came"]
    )
    busy = both["came"] >= both.groupby("workload")["came"].transform("quantile", 0.9)
    figure = Figure(figsize=(8.6, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2.4, 1))
    one = both[both["workload"] == "prod-eu/shop/Deployment/checkout"].sort_values("ts")
    stamps = one["ts"].to_numpy()
    left.fill_between(stamps, one["q05"], one["q99"], color=PALE, alpha=0.35, lw=0, label="5–99 %")
    left.fill_between(stamps, one["q05"], one["q90"], color=PALE, alpha=0.8, lw=0, label="5–90 %")
    left.plot(stamps, one["q50"], color=BLUE, lw=1, label="median")
    left.plot(stamps, one["came"], color=ORANGE, lw=1, label="what came")
    left.set(
        ylabel="requests a second", title=f"{one['workload'].iloc[0]}: a week, forecast before"
    )
    left.xaxis.set_major_formatter(DateFormatter("%a"))
    left.legend(loc="upper right", fontsize=8)
    _coverage(right, both, busy)
    return figure


def _coverage(axes: Axes, both: pd.DataFrame, busy: pd.Series) -> None:
    upper = [q for q in QUANTILES if q >= _MEDIAN]
    names = [quantile_column(q) for q in upper]
    for rows, colour, text in (
        (both, BLUE, "all hours"), (both[busy], ORANGE, "busiest tenth"),
    ):  # fmt: skip
        share = [100 * (rows["came"] <= rows[name]).mean() for name in names]
        axes.plot([100 * q for q in upper], share, "o-", color=colour, ms=3.5, lw=1, label=text)
    axes.plot([50, 100], [50, 100], color=GREY, lw=0.8, ls="--")
    n = both["workload"].nunique()
    axes.set(xlabel="quantile, %", ylabel="of the hours at or below, %", title=f"{n} workloads")
    axes.legend(loc="upper left", fontsize=8)


def floor() -> Figure:
    """Monday morning: pods with the HPA alone, and with the floor that was issued before."""
    w = world()
    settings = Settings()
    name = "prod-eu/shop/Deployment/checkout"
    mine = w.panel.select((w.panel.keys["workload"] == name).to_numpy())
    ready, _ = prepared_week(mine, w.middle, open_catalog("prometheus"), settings, measured=True)
    if ready is None:
        raise SystemExit("floor: nothing could be replayed")
    step_s = SPEC.step_s
    given = ready.given(settings)
    kept = {"pod_capacity_cores", "target_ratio", "min_replicas", "max_replicas", "pod_start_s"}
    case: dict[str, Any] = {k: v for k, v in given.items() if k in kept}
    alone = replay(ready.week.values, step_s, **case, params=given["params"])
    ours = replay(ready.week.values, step_s, **case, params=given["params"], floors=given["floors"])
    target = np.asarray(case["pod_capacity_cores"]) * np.asarray(case["target_ratio"])
    need = ready.week.values[0] / target[0]
    stamps = pd.date_range(w.middle, periods=len(need), freq=f"{step_s}s")
    begin = (w.middle + pd.Timedelta("4h30min"), w.middle + pd.Timedelta("10h30min"))
    shown = (stamps >= begin[0]) & (stamps < begin[1])
    parts = given["floors"].shape[1] // len(need)
    held = given["floors"][0].reshape(-1, parts)[:, 0]
    figure = Figure(figsize=(8.6, 3.4), layout="constrained")
    axes = figure.subplots()
    local = stamps[shown].tz_convert("Europe/Berlin").tz_localize(None)
    axes.fill_between(
        local, alone.ready[0][shown], need[shown], where=need[shown] > alone.ready[0][shown],
        color=RED, alpha=0.2, lw=0, label="missing with the HPA alone",
    )  # fmt: skip
    axes.step(
        local, held[shown], where="post", color=GREY, lw=1.2, ls="--", label="Foretide's floor"
    )
    axes.plot(local, alone.ready[0][shown], color=RED, lw=1.2, label="ready pods, HPA alone")
    axes.plot(local, ours.ready[0][shown], color=BLUE, lw=1.4, label="ready pods, with the floor")
    axes.plot(local, need[shown], color="black", lw=1, label="pods that the load needs")
    axes.set(ylabel="pods", ylim=(0, None), title=f"{name}, Monday, Berlin time; replayed")
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
    axes.legend(loc="upper left", fontsize=8)
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "way": way,
    "score": score,
    "calibration": calibration,
    "floor": floor,
    "guard": guard,
}


def main(names: list[str]) -> None:
    """Draw the named figures, or all."""
    FOLDER.mkdir(exist_ok=True)
    for name in names or list(FIGURES):
        with mpl.rc_context(PLAIN):
            figure = FIGURES[name]()
            figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main(sys.argv[1:])
