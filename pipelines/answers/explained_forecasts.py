"""Why the forecasts of a workload are what they are: who made them, and what it had to beat."""

from __future__ import annotations

from typing import Any

import pandas as pd

from features.frames import BACKTEST
from pipelines.answers.explained_rows import Rows, amount, iso, newest_rows, number
from pipelines.answers.explained_types import Candidate, ForecastWhy
from pipelines.explaining import told_verdicts
from pipelines.report.backtests import over_origins
from pipelines.run import Run

__all__ = ["forecasts_why", "step_at"]

_DAY = pd.Timedelta(1, "D")


def forecasts_why(
    run: Run, rows: Rows, workload: str, metric: str | None
) -> tuple[ForecastWhy, ...]:
    """One a metric; ``rows`` are of the FORECASTS contract, of one issue."""
    if metric is not None:
        rows = rows[rows["metric"] == metric]
    if rows.empty:
        return ()
    bar = run.settings.report.naive_model
    means = over_origins(newest_rows(run, BACKTEST, workload), bar)
    verdicts = told_verdicts(run, workload)
    return tuple(
        _forecast(
            run,
            group.sort_values("ts"),
            _candidates(means, workload, str(name)),
            verdicts[verdicts["metric"].astype("str") == name].to_dict("records"),
        )
        for name, group in rows.groupby("metric", sort=True)
    )


def step_at(rows: Rows, at: pd.Timestamp) -> dict[str, Any]:
    """The row of the step that holds a moment; the first where all begin later, the last where
    all are over."""
    before = rows[rows["ts"] <= at]
    row = before.iloc[-1] if len(before) else rows.iloc[0]
    return {str(k): v for k, v in row.items()}


def _candidates(means: pd.DataFrame, workload: str, metric: str) -> tuple[Candidate, ...]:
    """Every model that was tried, the best first."""
    mine = means[
        (means.index.get_level_values("workload") == workload)
        & (means.index.get_level_values("metric") == metric)
    ]
    return tuple(
        Candidate(
            model=str(row["model"]),
            wape=number(row["wape"]),
            coverage_q90=number(row["coverage_q90"]),
            is_champion=bool(row["champion"]),
        )
        for row in mine.reset_index("model").sort_values("wape").to_dict("records")
    )


def _forecast(
    run: Run, group: Rows, tried: tuple[Candidate, ...], verdicts: list[dict[Any, Any]]
) -> ForecastWhy:
    row = step_at(group, run.as_of)
    metric, verdict = str(row["metric"]), verdicts[-1] if verdicts else {}
    begin = max(run.as_of, group["ts"].iloc[0])
    day = group[(group["ts"] >= row["ts"]) & (group["ts"] < begin + _DAY)]
    peak = day.iloc[int(day["q90"].to_numpy().argmax())]
    bar = run.settings.report.naive_model
    live = next((c for c in tried if c.is_champion), None)
    naive = next((c for c in tried if c.model == bar), None)
    levels = [str(c) for c in group.columns if str(c)[0] == "q" and str(c)[1:].isdigit()]
    return ForecastWhy(
        metric=metric,
        unit=run.catalog[metric].unit,
        issued_at=iso(row["issued_at"]),
        ts=iso(row["ts"]),
        quantiles={q: float(row[q]) for q in levels if number(row[q]) is not None},
        peak_24h_ts=iso(peak["ts"]),
        peak_24h_q50=float(peak["q50"]),
        peak_24h_q90=float(peak["q90"]),
        model=str(row["model"]),
        confidence=str(row["confidence"]),
        wape=live.wape if live else None,
        bar=bar,
        bar_wape=naive.wape if naive else None,
        candidates=tried,
        verdict=str(verdict.get("verdict", "")),
        verdict_reason=str(verdict.get("reason", "")),
        verdict_holds=bool(verdict["holds"]) if verdict else None,
        arithmetic=(_quantiles(row, metric), *_choice(run, tried, live, naive)),
        model_version=str(row["model_version"]),
        run_id=str(row["run_id"]),
        valid_until=iso(row["valid_until"]),
    )


def _quantiles(row: dict[str, Any], metric: str) -> str:
    """What the quantiles of one step mean."""
    half, most = amount(row["q50"], metric), amount(row["q90"], metric)
    if pd.isna(row["q90"]):
        return f"at {iso(row['ts'])}: {half} by the median"
    return f"at {iso(row['ts'])}: as likely above {half} as below it, 9 times of 10 below {most}"


def _choice(
    run: Run, tried: tuple[Candidate, ...], live: Candidate | None, bar: Candidate | None
) -> tuple[str, ...]:
    """Why this model: what it got wrong out of sample, beside the bar and beside the best."""
    if live is None or live.wape is None:
        return ("no backtest yet: too little history to compare models",)
    own = f"out of sample {live.model} was off by {live.wape:.1%} of the demand (WAPE)"
    if bar is not None and bar.wape and bar.model != live.model:
        less = 1 - live.wape / bar.wape
        beside = f"{abs(less):.0%} {'less' if less >= 0 else 'more'} than the bar"
        own += f", {bar.model}, the bar, by {bar.wape:.1%}: {beside}"
    best = tried[0]
    if best.model == live.model or best.wape is None or best.wape >= live.wape:
        return (own,)
    margin = run.settings.forecast.champion.choice.margin
    return (
        own,
        f"{best.model} was off by {best.wape:.1%}; a single model takes the place of the "
        f"combination only where its loss (pinball) is {margin:.0%} smaller at every origin",
    )
