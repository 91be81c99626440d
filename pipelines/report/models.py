"""Who is live for which series, and by how much it beats the seasonal-naive bar."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from pipelines.report.data import Row
from pipelines.report.text import decimal, metric_title

__all__ = ["champions"]

_SCORES = ("wape", "mase", "coverage_q90", "peak_coverage_q90")


def champions(backtest: pd.DataFrame, naive: str) -> dict[str, Any]:
    """Backtest scores, averaged over origins.

    Returns ``models`` (one row a model: how many series it is live for, medians over series, how
    often it beats the bar), ``rows`` (one row a series: champion against the bar), and ``live``:
    (workload, metric) → champion.
    """
    empty: dict[str, Any] = {"models": [], "rows": [], "live": {}, "naive": naive}
    if backtest.empty:
        return empty
    means = _over_origins(backtest)
    bar = means["wape"].where(means.index.get_level_values("model") == naive)
    means["bar"] = bar.groupby(level=["workload", "metric"]).transform("max")
    with np.errstate(divide="ignore", invalid="ignore"):
        means["gain"] = np.where(means["bar"] > 0, 1 - means["wape"] / means["bar"], np.nan)
    live = means[means["champion"]]
    rows = [
        _row(str(w), str(m), str(model), scores)
        for (w, m, model), scores in zip(live.index, live.to_dict("records"), strict=True)
    ]
    return empty | {
        "models": _by_model(means, naive),
        "rows": rows,
        "live": {(r["workload"], r["name"]): r["model"] for r in rows},
    }


def _over_origins(backtest: pd.DataFrame) -> pd.DataFrame:
    keys = {k: backtest[k].astype(str) for k in ("workload", "metric", "model")}
    scores = {
        s: pd.to_numeric(backtest[s], errors="coerce").replace([np.inf, -np.inf], np.nan)
        for s in _SCORES
        if s in backtest
    }
    flags = backtest.get("champion", pd.Series(False, index=backtest.index))
    frame = pd.DataFrame(keys | scores).reindex(columns=[*keys, *_SCORES])
    frame["origins"] = 1
    frame["champion"] = flags.fillna(False).astype(bool)
    return frame.groupby(list(keys), sort=True).agg(
        dict.fromkeys(_SCORES, "mean") | {"origins": "sum", "champion": "max"}
    )


def _row(workload: str, metric: str, model: str, scores: dict[Any, Any]) -> Row:
    return {
        "workload": workload,
        "name": metric,
        "metric": metric_title(metric),
        "model": model,
        "wape": _percent(scores["wape"]),
        "wape_sort": scores["wape"],
        "bar": _percent(scores["bar"]),
        "bar_sort": scores["bar"],
        "gain": _signed(scores["gain"]),
        "gain_sort": scores["gain"],
        "mase": decimal(scores["mase"]),
        "mase_sort": scores["mase"],
        "coverage": _percent(scores["coverage_q90"]),
        "peak_coverage": _percent(scores["peak_coverage_q90"]),
        "origins": int(scores["origins"]),
    }


def _by_model(means: pd.DataFrame, naive: str) -> list[Row]:
    out: list[Row] = []
    for model, part in means.groupby(level="model", sort=True):
        compared = part["gain"].dropna()
        out.append(
            {
                "model": str(model),
                "is_bar": str(model) == naive,
                "live": int(part["champion"].sum()),
                "series": len(part),
                "wape": _percent(part["wape"].median()),
                "mase": decimal(part["mase"].median()),
                "coverage": _percent(part["coverage_q90"].median()),
                "peak_coverage": _percent(part["peak_coverage_q90"].median()),
                "wins": f"{int((compared > 0).sum())} of {len(compared)}",
            }
        )
    return sorted(out, key=lambda r: (-r["live"], r["model"]))


def _percent(share: Any) -> str:
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def _signed(share: Any) -> str:
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:+.0f} %"
