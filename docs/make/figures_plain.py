"""Figures that need no cluster: the way of the data, and one raise before the guardrails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
from figures_style import BLUE, GREY, ORANGE
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from models.guard_facts import Health, Past, Wanted
from models.guard_params import GuardParams
from models.guardrails import decide
from models.holders import Holder

__all__ = ["guard", "way"]


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
    note = "blue: what Foretide writes, with a written contract; grey: yours"
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


def guard() -> Figure:
    """One raise from 6 to 20 pods, run by run: a workload that is new, and one that is known."""
    figure = Figure(figsize=(8.6, 3.1), layout="constrained")
    axes = figure.subplots()
    now = pd.Timestamp("2026-06-01T06:00Z")
    for known, colour, text in (
        (True, BLUE, "raised well on three earlier days"),
        (False, ORANGE, "new: a quarter, half, all"),
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
