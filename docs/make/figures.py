"""The figures of docs/how-it-works.md: simulated clusters through the product, drawn as SVG.

Nothing is sketched by hand but the way of the data: scores, bands, floors and raises are what the
released code answers. ``make docs`` writes them to docs/figures.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from features.frames import QUANTILES, quantile_column
from features.panel import Panel
from features.synthetic import ClusterSpec, simulate
from models.guard_facts import Health, Past, Wanted
from models.guard_params import GuardParams
from models.guardrails import decide
from models.holders import Holder
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
BLUE, ORANGE, GREY, RED, PALE = "#1f5fa8", "#d9730d", "#6b7280", "#b42318", "#9ec5f0"
_MEDIAN = 0.5
_PLAIN = {
    "svg.hashsalt": "foretide",
    "svg.fonttype": "path",  # the same letters wherever it is opened
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
}


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
        _foretide("score", *given, "--train-until", middle.isoformat(), "--as-of", until.isoformat())
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


def way() -> Figure:
    """One direction, one verb a step."""
    figure = Figure(figsize=(8.6, 3.5))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 100), ylim=(0, 41))
    axes.axis("off")
    boxes = {
        "sources": (8, 28, "AMP, Prometheus,\nCloudWatch,\nDatadog, files"),
        "samples": (29, 28, "samples"),
        "baselines": (51, 37, "baselines\n(MLflow)"),
        "scores": (51, 28, "scores,\nleaks"),
        "incidents": (71, 28, "incidents\nwith causes"),
        "forecasts": (51, 19, "forecasts"),
        "capacity": (71, 19, "capacity"),
        "plan": (92, 19, "plan,\nmanifests"),
        "ledger": (92, 9, "ledger"),
        "cluster": (71, 9, "HPA, KEDA,\nKarpenter"),
        "judged": (29, 9, "accuracy,\nverdicts, value"),
        "told": (92, 28, "people,\ndashboards"),
    }
    for name, (x, y, text) in boxes.items():
        outside = name in ("sources", "cluster", "told")
        box = FancyBboxPatch(
            (x - 6.8, y - 2.9), 13.6, 5.8, boxstyle="round,pad=0.2,rounding_size=0.8", lw=1,
            fc="#f3f4f6" if outside else "#e8f1fb", ec=GREY if outside else BLUE,
        )  # fmt: skip
        axes.add_patch(box)
        axes.text(x, y, text, ha="center", va="center", fontsize=8.2, linespacing=1.15)
    for begin, end, verb in _ARROWS:
        _arrow(axes, boxes[begin][:2], boxes[end][:2], verb)
    note = "every box is a table with a written contract; grey boxes are yours"
    axes.text(50, 2.2, note, ha="center", color=GREY, fontsize=8)
    return figure


_ARROWS = (
    ("sources", "samples", "ingest"), ("samples", "baselines", "train"),
    ("samples", "scores", "score"), ("samples", "forecasts", "forecast"),
    ("scores", "incidents", ""), ("incidents", "told", "notify,\npublish"),
    ("forecasts", "capacity", ""), ("capacity", "plan", "plan"), ("plan", "ledger", "apply"),
    ("ledger", "cluster", ""), ("samples", "judged", "evaluate"),
)  # fmt: skip


def _arrow(axes: Axes, begin: tuple[float, float], end: tuple[float, float], verb: str) -> None:
    (x0, y0), (x1, y1) = begin, end
    if x0 == x1:
        way_up = 1 if y1 > y0 else -1
        start, stop = (x0, y0 + 3.3 * way_up), (x1, y1 - 3.3 * way_up)
    else:
        side = 1 if x1 > x0 else -1
        start, stop = (x0 + 7.2 * side, y0), (x1 - 7.2 * side, y1)
    style = {"arrowstyle": "-|>", "color": GREY, "lw": 1.1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", stop, start, arrowprops=style)
    middle = ((start[0] + stop[0]) / 2, (start[1] + stop[1]) / 2)
    look: dict[str, Any] = {"fontsize": 7.8, "color": ORANGE}
    paper = {"fc": "white", "ec": "none", "pad": 0.6}
    if start[1] == stop[1]:  # above a level arrow, on all others
        axes.text(middle[0], middle[1] + 0.6, verb, ha="center", va="bottom", **look)
    else:
        axes.text(*middle, verb, ha="center", va="center", bbox=paper, **look)


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
        axes.axvspan(fault["start"], fault["end"], color=RED, alpha=0.08, lw=0, label="injected")
        for i, moment in enumerate(told["detected_at"]):
            axes.axvline(moment, color="black", lw=1, label="a person is told" if not i else None)
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
    left.set(ylabel="requests a second", title=f"{one['workload'].iloc[0]}: a week, forecast before")
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
    ours = replay(
        ready.week.values, step_s, **case, params=given["params"], floors=given["floors"]
    )
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
    axes.step(local, held[shown], where="post", color=GREY, lw=1.2, ls="--", label="Foretide's floor")
    axes.plot(local, alone.ready[0][shown], color=RED, lw=1.2, label="ready pods, HPA alone")
    axes.plot(local, ours.ready[0][shown], color=BLUE, lw=1.4, label="ready pods, with the floor")
    axes.plot(local, need[shown], color="black", lw=1, label="pods that the load needs")
    axes.set(ylabel="pods", ylim=(0, None), title=f"{name}, Monday, Berlin time; replayed")
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
    axes.legend(loc="upper left", fontsize=8)
    return figure


def guard() -> Figure:
    """One raise from 6 to 20 pods, run by run: a workload that is new, and one that is known."""
    figure = Figure(figsize=(8.6, 3.1), layout="constrained")
    axes = figure.subplots()
    now = pd.Timestamp("2026-06-01T06:00Z")
    for known, colour, text in (
        (True, BLUE, "raised well on three earlier days"), (False, ORANGE, "new: a quarter, half, all"),
    ):  # fmt: skip
        minutes, floors = _raised(now, known=known)
        axes.step(minutes, floors, where="post", color=colour, lw=1.5, label=text)
        axes.plot(minutes, floors, "o", color=colour, ms=3)
    axes.axhline(20, color=GREY, lw=1, ls="--", label="the plan's floor, approved")
    axes.axhline(6, color=GREY, lw=1, ls=":", label="the user's own floor")
    axes.set(xlabel="minutes, a run every 5", ylabel="floor", ylim=(0, 22))
    axes.set_title("What one run may add is bounded; who is new comes in by stages")
    axes.legend(loc="center right", fontsize=8)
    return figure


def _raised(now: pd.Timestamp, *, known: bool) -> tuple[list[float], list[int]]:
    """The floor after each run of an hour; pods are there at the next run, and well."""
    name, past = "prod/shop/Deployment/checkout", list[Past]()
    if known:
        days = (pd.Timedelta(d, "D") for d in (6, 5, 4))
        past = [Past(name, now - d, 6, 12, "done", "p-0", replicas=6) for d in days]
    there = Holder(name, "hpa", "checkout", "shop", "u-1", "7", 6, 60, 6, 6)
    minutes, floors = [-5.0], [6]
    for minute in range(0, 60, 5):
        at = now + pd.Timedelta(minute, "min")
        want = Wanted(name, 20, at + pd.Timedelta("2h"), "act", "act", "p-1")
        well = Health(
            pending_pods=0, error_ratio=0.001, error_ratio_before=0.001, forecast_age_s=600
        )
        (done,) = decide(
            [want], {name: there}, past, {name: well}, at, GuardParams(), approved="p-1"
        )
        if done.what == "raise":
            past.append(Past(name, at, floors[-1], done.floor, "done", "p-1", replicas=floors[-1]))
            there = replace(
                there, floor=done.floor, replicas=done.floor, desired=done.floor, ours=True,
                original=6, plan_id="p-1", held_until=at + pd.Timedelta("30min"),
            )  # fmt: skip
        minutes.append(float(minute))
        floors.append(there.floor or 0)
    return minutes, floors


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
        with mpl.rc_context(_PLAIN):
            figure = FIGURES[name]()
            figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main(sys.argv[1:])
