"""The rows of a backtest: where it begins, and one row a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from models.choice import BARS
from pipelines.judging import PRODUCT
from pipelines.run import Run

__all__ = ["backtest_start", "comparable", "model_rows"]

_SERIES = ["workload", "metric"]
_SCORES = [
    "wape", "mase", "pinball_q50", "pinball_q90", "pinball_q99", "coverage_q90",
    "peak_coverage_q90",
]  # fmt: skip
_PINBALL = [c for c in _SCORES if c.startswith("pinball")]


def model_rows(table: pd.DataFrame, seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """One row a model: its scores over origins, then over series.

    Only series and origins at which every model had an answer count, so that rows can be compared.
    ``wape`` and ``mase`` are medians over series, ``wape_mean`` and the coverages means;
    ``pinball_*`` are means in the metric's unit, ``pinball_*_vs_bar`` medians of each series' loss
    beside the bar's. ``champion_for`` counts series; None is "n/a".
    """
    models = sorted(dict.fromkeys(table["model"]), key=lambda model: model == PRODUCT)
    table = comparable(table)
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


def backtest_start(run: Run) -> pd.Timestamp:
    """So far back that the first origin sees all of ``history.days``."""
    params = run.settings.forecast.champion.backtest
    return run.history_start - params.origins * pd.Timedelta(params.horizon_h, "h")


def comparable(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of series and origins at which every model that ever answers had an answer."""
    ever = table.groupby("model", observed=True)["points"].transform("max") > 0
    fewest = table[ever].groupby([*_SERIES, "origin"], observed=True)["points"].transform("min")
    return table[ever][fewest > 0]
