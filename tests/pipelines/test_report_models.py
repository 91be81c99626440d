"""The models section: who forecasts whom, how well, by which solver, and on what it rests."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_page import chart_of, section
from report_sample import AS_OF, NAMES, WORKLOADS, sample

from models.seasonal_naive import CONFIDENCE
from models.verdict import DEMOTED, DRIFTED, GOOD, UNJUDGED
from pipelines.report import ReportData, ReportParams, render_report
from pipelines.report.backtests import over_origins
from pipelines.report.models import found_models
from pipelines.report.words import CONFIDENCE as CONFIDENCE_WORDS
from pipelines.report.words import VERDICTS as VERDICT_WORDS

GOOD_ONE, DRIFTED_ONE, DEMOTED_ONE, UNJUDGED_ONE, BARRED = WORKLOADS
RPS = "requests_per_second"


def found(data: ReportData, **params: Any) -> dict[str, Any]:
    return found_models(data, ReportParams(**params), {})


def series(data: ReportData, workload: str, metric: str = RPS) -> dict[str, Any]:
    rows = found(data)["rows"]
    return next(r for r in rows if (r["workload"], r["name"]) == (workload, metric))


def tables(html: str) -> list[list[str]]:
    """The rows of each table in the section, as the texts of their cells, header first."""
    shown = re.findall(r"<table.*?</table>", section(html, "models"), re.S)
    rows = [re.findall(r"<tr.*?</tr>", table, re.S) for table in shown]
    return [[re.sub(r"<[^>]+>", "|", row) for row in of_one] for of_one in rows]


# ---- every model


def test_the_bar_stands_first_then_who_is_live_most():
    models = found(sample())["models"]
    assert [m["model"] for m in models] == [
        "seasonal_naive", "combination", "prophet", "seasonal_level"]  # fmt: skip
    assert [m["is_bar"] for m in models] == [True, False, False, False]


def test_every_series_counts_for_the_model_that_is_live_for_it():
    told = found(sample())
    assert {m["model"]: m["live"] for m in told["models"]} == {
        "seasonal_naive": 1, "combination": 9, "prophet": 0, "seasonal_level": 0}  # fmt: skip
    assert sum(m["live"] for m in told["models"]) == len(told["rows"])


def test_scores_of_a_model_stand_beside_the_bars():
    bar, combination, *_ = found(sample())["models"]
    assert (bar["wape_ratio"], bar["pinball_ratio"]) == ("1.00×", "1.00×")
    wapes = [0.05 + 0.01 * i + 0.006 for i in range(5)]
    beside = [w / (w + 0.031) for w in wapes]
    assert combination["wape"] == f"{100 * np.median(wapes):.1f} %"
    assert combination["wape_ratio"] == f"{np.median(beside):.2f}×"
    assert combination["pinball_ratio"] == f"{0.05 / 0.081:.2f}×"
    assert (combination["coverage"], combination["peak_coverage"]) == ("88.0 %", "55.0 %")
    assert (combination["wins"], combination["compared"]) == (5, 5)
    first = tables(render_report(sample()))[0]
    assert "the bar" in first[1]
    assert "5 of 5" in first[2]


@given(
    st.lists(st.tuples(st.floats(0.01, 10), st.floats(0.01, 10)), min_size=1, max_size=6),
    st.integers(0, 6),
)
def test_only_origins_that_both_answered_are_compared(wapes: list[tuple[float, float]], gap: int):
    rows = [
        {"workload": "w", "metric": "m", "model": model, "origin": AS_OF - pd.Timedelta(days=7 * i),
         "wape": np.nan if model == "other" and i == gap else wape}
        for i, pair in enumerate(wapes)
        for model, wape in zip(("seasonal_naive", "other"), pair, strict=True)
    ]  # fmt: skip
    ratio = over_origins(pd.DataFrame(rows), "seasonal_naive")["wape_ratio"]
    both = np.array([pair for i, pair in enumerate(wapes) if i != gap]).reshape(-1, 2).sum(axis=0)
    expected = both[1] / both[0] if both[0] else np.nan
    assert ratio["w", "m", "other"] == pytest.approx(expected, nan_ok=True)
    assert ratio["w", "m", "seasonal_naive"] == pytest.approx(1)


def test_a_bar_that_was_never_off_is_no_measure():
    data = sample()
    spotless = data.backtest["model"] == "seasonal_naive"
    backtest = data.backtest.assign(wape=data.backtest["wape"].mask(spotless, 0.0))
    html = render_report(dataclasses.replace(data, backtest=backtest))
    assert "0 of 0" in section(html, "models")
    assert not re.search(r"\b(?:nan|inf)\b", section(html, "models"))


# ---- every series


def test_a_series_row_says_all_of_its_model():
    row = series(sample(), DRIFTED_ONE)
    expected = {
        "model": "combination",
        "wape": "6.6 %",
        "bar": "9.7 %",
        "gain": "+32 %",
        "coverage": "89.0 %",
        "peak_coverage": "55.0 %",
        "came_coverage": "91.2 %",
        "came_peak_coverage": "86.7 %",
        "solver": "prophet: exact",
        "confidence": "week",
        "verdict": "drifted",
        "verdict_reason": "off by 21% of the load, 6% in its backtest",
    }
    assert {key: row[key] for key in expected} == expected
    html = render_report(sample())
    cells = next(r for r in tables(html)[1] if NAMES[1] in r and "Requests" in r)
    assert all(text in cells for text in expected.values())
    facts = dict(chart_of(html, DRIFTED_ONE)["facts"])["Model for Requests"]
    assert "combination (WAPE 6.6 %, seasonal_naive 9.7 %)" in facts
    assert "drifted: off by 21%" in facts


def test_a_series_is_solved_as_its_champion_was():
    backtest = sample().backtest
    fell = backtest["model"].eq("prophet") & backtest["origin"].eq(backtest["origin"].max())
    solver = backtest["solver"].mask(fell, "additive (fell back)")
    live = backtest["model"].eq("prophet")
    alone = dataclasses.replace(sample(), backtest=backtest.assign(solver=solver, champion=live))
    assert series(alone, GOOD_ONE)["solver"] == "additive (fell back)"
    assert series(sample(), BARRED)["solver"] == ""


def test_what_is_forecast_without_a_backtest_is_in_the_table():
    row = series(sample(), BARRED, "cpu_usage_cores")
    assert (row["model"], row["wape"], row["gain"], row["confidence"]) == (
        "combination", "–", "–", "day")  # fmt: skip
    young = dataclasses.replace(sample(), backtest=sample().backtest[:0])
    html = render_report(young)
    assert "No backtest was run" in section(html, "models")
    assert len(tables(html)[0]) == 1 + 10


def test_the_newest_forecast_says_what_it_rests_on_and_who_made_it():
    data = sample()
    newest = data.forecasts["issued_at"] == AS_OF
    forecasts = data.forecasts.assign(
        confidence=data.forecasts["confidence"].mask(newest, "cohort"),
        model=data.forecasts["model"].mask(newest, "seasonal_naive"),
    )
    changed = dataclasses.replace(data, forecasts=forecasts)
    row = series(changed, GOOD_ONE)
    assert (row["model"], row["serving"], row["confidence"]) == (
        "combination", "seasonal_naive", "cohort")  # fmt: skip
    assert "newest forecast by seasonal_naive" in section(render_report(changed), "models")
    assert series(changed, BARRED)["serving"] == ""


def test_what_was_forecast_once_and_is_no_more_is_left_out():
    data = sample()
    gone = (data.forecasts["workload"] == BARRED) & (data.forecasts["issued_at"] == AS_OF)
    left = dataclasses.replace(data, forecasts=data.forecasts[~gone])
    keys = {(r["workload"], r["name"]) for r in found(left)["rows"]}
    assert (BARRED, "cpu_usage_cores") not in keys
    assert (BARRED, RPS) in keys


def test_demoted_stands_before_drifted_and_then_the_least_gain():
    rows = found(sample())["rows"]
    assert [r["workload"] for r in rows[:2]] == [DEMOTED_ONE, DRIFTED_ONE]
    gains = [r["gain_sort"] for r in rows[2:] if np.isfinite(r["gain_sort"])]
    assert gains == sorted(gains)
    assert all(np.isnan(r["gain_sort"]) for r in rows[2 + len(gains) :])
    lead = section(render_report(sample()), "models")
    assert "<b>1</b> demoted and <b>1</b> drifted stand first, then those that gain least" in lead


def test_a_verdict_on_an_older_model_flags_nobody():
    data = sample()
    stale = dataclasses.replace(data, verdicts=data.verdicts.assign(holds=False))
    told = found(stale)
    assert told["flagged"] == []
    assert told["outdated"]
    html = section(render_report(stale), "models")
    assert "about models that were trained anew since" in html
    assert "badge bad" not in html
    of_one = data.verdicts["workload"] != DRIFTED_ONE
    html = section(
        render_report(dataclasses.replace(data, verdicts=data.verdicts.assign(holds=of_one))),
        "models",
    )
    assert "6% in its backtest; trained anew since" in html
    assert "<b>1</b> demoted stand first" in html


def test_a_long_table_is_cut_where_least_is_lost_and_says_so():
    told = found(sample(), series_rows=2)
    assert [r["workload"] for r in told["shown"]] == [DEMOTED_ONE, DRIFTED_ONE]
    assert len(told["live"]) == len(told["rows"]) == 10
    html = render_report(sample(), ReportParams(series_rows=2))
    assert "The first 2 of 10 series" in section(html, "models")
    assert len(tables(html)[1]) == 1 + 2
    assert dict(chart_of(html, BARRED)["facts"])["Model for Requests"]


def test_columns_that_nothing_is_known_of_are_left_out():
    data = sample()
    plain = dataclasses.replace(
        data, verdicts=data.verdicts[:0], forecasts=data.forecasts.drop(columns="confidence")
    )
    header = tables(render_report(plain))[1][0]
    assert "Confidence" not in header
    assert "Verdict" not in header
    words = section(render_report(plain), "models")
    assert "<dt>combination</dt>" in words
    assert "<dt>confidence</dt>" not in words
    assert "<dt>verdict</dt>" not in words


def test_each_word_that_is_shown_is_explained_once():
    words = section(render_report(sample()), "models")
    for word in ("combination", "confidence", "verdict"):
        assert words.count(f"<dt>{word}</dt>") == 1
    meanings = dict(found(sample())["words"])
    assert "week: " in meanings["confidence"]
    assert "day: " in meanings["confidence"]
    assert "flat: " not in meanings["confidence"]


def test_there_are_words_for_whatever_forecast_and_evaluate_may_say():
    assert tuple(CONFIDENCE_WORDS) == CONFIDENCE
    assert set(VERDICT_WORDS) == {GOOD, DRIFTED, DEMOTED, UNJUDGED}
