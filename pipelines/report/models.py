"""Who forecasts whom: every model against the bar, and every series with its champion."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pandas as pd

from models.combination import COMBINATION
from models.verdict import DEMOTED, DRIFTED
from pipelines.report.backtests import SERIES, over_origins
from pipelines.report.data import ReportData, ReportParams, Row, number, records, text
from pipelines.report.text import metric_title, named, shorten, stamp
from pipelines.report.words import CONFIDENCE, VERDICTS, glossary

__all__ = ["found_models"]

_Key = tuple[str, str]
_UNKNOWN = len(VERDICTS)
_OPTIONAL = ("solver", "confidence", "verdict")


def found_models(data: ReportData, params: ReportParams, numbers: dict[str, int]) -> Row:
    """The models section.

    Returns ``models`` (one row a model, the bar first), ``rows`` (one row a series, those that
    drifted first, then those that gain least on the bar), ``shown`` (the first of them, as many as
    the page holds), ``live``: (workload, metric) → champion, and what is said above and below.
    """
    means = over_origins(data.backtest, params.naive_model)
    rows = _rows(data, means)
    for row in rows:
        row["who"] = named(row["workload"], numbers)
    live = Counter(row["model"] for row in rows)
    flagged = Counter(row["verdict"] for row in rows if row["is_flagged"])
    words = glossary(
        {row["model"] for row in rows} | set(means.index.unique("model")),
        {row["confidence"] for row in rows},
        {row["verdict"] for row in rows},
    )
    return {
        "naive": params.naive_model,
        "models": _by_model(means, params.naive_model, live),
        "rows": rows,
        "shown": rows[: params.series_rows],
        "live": {(row["workload"], row["name"]): row["model"] for row in rows},
        "flagged": [(word, flagged[word]) for word in (DEMOTED, DRIFTED) if flagged[word]],
        "judged_at": _newest(data.verdicts, "evaluated_at"),
        "outdated": not any(row["verdict_holds"] for row in rows if row["verdict"]),
        "has": {name: any(row[name] for row in rows) for name in _OPTIONAL},
        "words": words,
    }


def _rows(data: ReportData, means: pd.DataFrame) -> list[Row]:
    """Every series that has a champion or is forecast."""
    issued, verdicts = _issued(data.forecasts), _verdicts(data.verdicts)
    live = means[means["champion"]].reset_index("model")
    keys = [(str(workload), str(metric)) for workload, metric in live.index]
    champions = dict(zip(keys, live.to_dict("records"), strict=True))
    solvers = _solvers(means)
    shown = sorted({*champions, *(key for key, row in issued.items() if row["is_newest"])})
    rows = [
        _row(key, champions.get(key, {}), issued.get(key, {}), solvers.get(key, {}))
        | _verdict(verdicts.get(key, {}))
        for key in shown
    ]
    return sorted(
        rows, key=lambda r: (r["verdict_sort"] if r["is_flagged"] else _UNKNOWN, *_least(r))
    )


def _least(row: Row) -> tuple[bool, float]:
    """Those that gain least first, those that nothing is known of last."""
    return math.isnan(row["gain_sort"]), row["gain_sort"]


def _row(key: _Key, scores: dict[Any, Any], issued: Row, solvers: dict[str, str]) -> Row:
    champion, serving = str(scores.get("model", "")), text(issued.get("model"))
    gain = 1 - number(scores.get("wape_ratio"))
    confidence = text(issued.get("confidence"))
    figures = {
        name: number(scores.get(column))
        for name, column in (
            ("wape", "wape"),
            ("bar", "bar_wape"),
            ("coverage", "coverage_q90"),
            ("peak_coverage", "peak_coverage_q90"),
        )
    }
    return {
        "workload": key[0],
        "name": key[1],
        "metric": metric_title(key[1]),
        "model": champion or serving,
        "serving": shorten(serving, 60) if champion and serving not in ("", champion) else "",
        **{name: _percent(value) for name, value in figures.items()},
        **{f"{name}_sort": value for name, value in figures.items()},
        "gain": _signed(gain),
        "gain_sort": gain,
        "solver": _solver(champion, solvers),
        "confidence": shorten(confidence, 40),
        "confidence_sort": list(CONFIDENCE).index(confidence) if confidence in CONFIDENCE else "",
        "confidence_badge": CONFIDENCE.get(confidence, ("shadow", ""))[0],
        "confidence_words": CONFIDENCE.get(confidence, ("", ""))[1],
    }


def _issued(forecasts: pd.DataFrame) -> dict[_Key, Row]:
    """Series → model and confidence of its newest forecast; ``is_newest``: nothing came later."""
    columns = [*SERIES, "issued_at", "model", "confidence"]
    table = forecasts.reindex(columns=columns).dropna(subset=["issued_at"])
    table = table.drop_duplicates([*SERIES, "issued_at"]).sort_values("issued_at", kind="stable")
    table = table.drop_duplicates(SERIES, keep="last")
    last = table["issued_at"].max()
    return {
        (str(row["workload"]), str(row["metric"])): row | {"is_newest": row["issued_at"] == last}
        for row in records(table, *columns)
    }


def _solvers(means: pd.DataFrame) -> dict[_Key, dict[str, str]]:
    """Series → model → solver, of the models that have several."""
    out: dict[_Key, dict[str, str]] = {}
    told = means.loc[means["solver"].ne(""), "solver"]
    for (workload, metric, model), solver in zip(told.index, told, strict=True):
        out.setdefault((str(workload), str(metric)), {})[str(model)] = str(solver)
    return out


def _solver(champion: str, solvers: dict[str, str]) -> str:
    """The champion's solver; of a combination those of its members."""
    if champion != COMBINATION:
        return shorten(solvers.get(champion, ""), 60)
    members = (f"{model}: {told}" for model, told in solvers.items() if told != "none")
    return shorten(", ".join(members), 120)


def _verdicts(verdicts: pd.DataFrame) -> dict[_Key, Row]:
    """Series → its newest verdict."""
    columns = [*SERIES, "evaluated_at", "verdict", "reason", "holds"]
    columns += ["coverage_q90", "peak_coverage_q90"]
    table = verdicts.reindex(columns=columns).sort_values("evaluated_at", kind="stable")
    table = table.drop_duplicates(SERIES, keep="last")
    table = table.assign(holds=table["holds"].ne(False))
    return {(str(r["workload"]), str(r["metric"])): r for r in records(table, *columns)}


def _verdict(found: Row) -> Row:
    """How its forecasts covered, and what is said of it; a reason that adds nothing is left out."""
    word, reason = text(found.get("verdict")), text(found.get("reason"))
    holds = bool(found.get("holds"))
    badge, meaning = VERDICTS.get(word, ("shadow", ""))
    came = {k: number(found.get(f"{k}_q90")) for k in ("coverage", "peak_coverage")}
    return {
        **{f"came_{name}": _percent(value) for name, value in came.items()},
        **{f"came_{name}_sort": value for name, value in came.items()},
        "verdict": shorten(word, 40),
        "verdict_sort": list(VERDICTS).index(word) if word in VERDICTS else "",
        "verdict_badge": badge if holds else "shadow",
        "verdict_reason": "" if reason == meaning else shorten(reason, 240),
        "verdict_holds": holds,
        "is_flagged": holds and word in (DEMOTED, DRIFTED),
    }


def _by_model(means: pd.DataFrame, bar: str, live: Counter[str]) -> list[Row]:
    out: list[Row] = []
    for name, part in means.groupby(level="model", sort=True):
        model, beside = str(name), part["wape_ratio"].dropna()
        figures = {
            "wape": part["wape"].median(),
            "wape_ratio": beside.median(),
            "mase": part["mase"].median(),
            "pinball_ratio": part["pinball_q90_ratio"].median(),
            "coverage": part["coverage_q90"].median(),
            "peak_coverage": part["peak_coverage_q90"].median(),
        }
        out.append(
            {
                "model": model,
                "is_bar": model == bar,
                "live": live[model],
                "series": int(part["wape"].notna().sum()),
                "wins": int((beside < 1).sum()),
                "compared": len(beside),
                **{f"{key}_sort": value for key, value in figures.items()},
                **{key: _SHOWN.get(key, _percent)(value) for key, value in figures.items()},
            }
        )
    return sorted(out, key=lambda r: (not r["is_bar"], -r["live"], r["model"]))


def _newest(table: pd.DataFrame, column: str) -> Row | None:
    return stamp(table[column].max()) if column in table and len(table) else None


def _percent(share: Any) -> str:
    return "–" if not math.isfinite(share) else f"{100 * share:.1f} %"


def _signed(share: float) -> str:
    return "–" if not math.isfinite(share) else f"{100 * share:+.0f} %".replace("-", "−")


def _times(ratio: float) -> str:
    return "–" if not math.isfinite(ratio) else f"{ratio:.2f}×"


def _plain(value: float) -> str:
    return "–" if not math.isfinite(value) else f"{value:.2f}"


_SHOWN = {"wape_ratio": _times, "pinball_ratio": _times, "mase": _plain}
