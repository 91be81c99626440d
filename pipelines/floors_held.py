"""Floors as a replay takes them; and what it says: its rows as a table, and what the floors cut and
cost in figures."""

from __future__ import annotations

from math import gcd

import numpy as np
import pandas as pd

from features.frames import REPLAYS
from features.panel import Floats, Panel

__all__ = ["floors_on_parts", "replay_rows", "savings"]

_PART_S = 60.0
"""Floors are told to the minute where their steps and those of the demand do not meet before."""

_CORE_HOURS = ("demand", "unserved", "over_target")


def replay_rows(table: pd.DataFrame) -> pd.DataFrame:
    """``models.replay.compare``'s rows in the words of the REPLAYS contract; who is evaluated, and
    when, is the caller's.
    """
    known = table.rename(columns={name: f"{name}_core_h" for name in _CORE_HOURS})
    return known[[c for c in REPLAYS.schema.names if c in known.columns]]


def savings(table: pd.DataFrame) -> dict[str, float]:
    """``models.replay.compare``'s rows as figures: what each policy cuts of what the reactive HPA
    misses, and what it costs.
    """
    columns = ["unserved", "over_target", "replica_hours", "short_pod_min"]
    sums = table.groupby("policy")[columns].sum()
    rows: list[list[float]] = sums.to_numpy(dtype=float).tolist()
    total = {
        str(p): dict(zip(columns, row, strict=True))
        for p, row in zip(sums.index, rows, strict=True)
    }
    amounts = {
        f"{policy}_{column}_core_h": total[policy][column]
        for policy in ("reactive", "foretide")
        for column in ("unserved", "over_target")
    }
    base = total.pop("reactive")
    figures: dict[str, float] = {
        "replayed_workloads": float(table["workload"].nunique()),
        **amounts,
    }
    for policy, row in total.items():
        for column in ("unserved", "over_target"):
            if base[column] > 0:  # where the HPA alone misses nothing there is nothing to cut
                figures[f"{policy}_{column}_cut_share"] = 1 - row[column] / base[column]
        figures[f"{policy}_replica_hours_vs_reactive"] = (
            row["replica_hours"] / base["replica_hours"]
        )
    figures["short_pod_minutes_avoided"] = (
        base["short_pod_min"] - total["foretide"]["short_pod_min"]
    )
    return figures


def floors_on_parts(floors: Panel, load: Panel, n_steps: int) -> Floats:
    """Floors for each of the k parts of the demand's last ``n_steps`` steps, (n, k · n_steps), so
    fine that none is cut; NaN where none stands."""
    ms = pd.Timedelta(1, "ms")
    own, step = round(floors.step / ms), round(load.step / ms)
    part = max(gcd(own, step), min(round(_PART_S * 1000), step))
    n_parts = max(round(step / part), 1)
    begin = round((load.end - n_steps * load.step - floors.start) / ms)
    at = begin + np.arange(n_steps * n_parts, dtype=np.int64) * step // n_parts
    place = at // own
    there = (place >= 0) & (place < floors.n_steps)
    return np.where(there, floors.values[:, np.clip(place, 0, floors.n_steps - 1)], np.nan)
