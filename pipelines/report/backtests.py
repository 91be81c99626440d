"""Backtest scores of every series and model, averaged over origins and held against the bar's."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["SERIES", "over_origins"]

SERIES = ["workload", "metric"]

_SCORES = ["wape", "mase", "pinball_q90", "coverage_q90", "peak_coverage_q90"]
_BESIDE = ["wape", "pinball_q90"]
_COLUMNS = [*SERIES, "model", "solver", "origin", *_SCORES, "champion"]


def over_origins(backtest: pd.DataFrame, bar: str) -> pd.DataFrame:
    """One row a series and model, indexed ``workload, metric, model``.

    Columns are means of the scores, ``bar_wape`` of the model that is the bar, ``wape_ratio`` and
    ``pinball_q90_ratio`` of the model's score to the bar's over the origins that both answered (NaN
    where the bar's is 0), ``champion``, and ``solver``, that of the newest origin. A column that is
    absent reads as missing.
    """
    table = _plain(backtest)
    at = [*SERIES, "origin"]
    is_bar = (table["model"] == bar) & table["origin"].notna()
    beside = table[is_bar].drop_duplicates(at).set_index(at)[_BESIDE].add_prefix("bar_")
    table = table.join(beside, on=at)
    for score in _BESIDE:
        both = table[score].notna() & table[f"bar_{score}"].notna()
        table[f"own_{score}"] = table[score].where(both)
        table[f"met_{score}"] = table[f"bar_{score}"].where(both)
    named = [f"{side}_{score}" for side in ("own", "met") for score in _BESIDE]
    means = table.groupby([*SERIES, "model"], sort=True).agg(
        dict.fromkeys([*_SCORES, "bar_wape", *named], "mean")
        | {"champion": "max", "solver": "last"}
    )
    for score in _BESIDE:
        met = means[f"met_{score}"]
        means[f"{score}_ratio"] = means[f"own_{score}"] / met.where(met > 0)
    return means.drop(columns=named)


def _plain(backtest: pd.DataFrame) -> pd.DataFrame:
    """The table with finite scores and plain texts, oldest origin first."""
    table = backtest.reindex(columns=_COLUMNS)
    scores = table[_SCORES].apply(pd.to_numeric, errors="coerce").astype(np.float64)
    texts = {name: table[name].astype(str) for name in (*SERIES, "model")}
    told = {
        "solver": table["solver"].astype(object).where(table["solver"].notna(), "").astype(str),
        "origin": pd.to_datetime(table["origin"], utc=True),
        "champion": table["champion"].eq(True),
    }
    plain = scores.replace([np.inf, -np.inf], np.nan).assign(**texts, **told)
    return plain.sort_values([*SERIES, "model", "origin"], kind="stable", ignore_index=True)
