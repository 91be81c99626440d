from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_page import chart_of, charts, section, traces, values
from report_sample import AS_OF, LEAKY, SLOW, WORKLOADS, sample

from pipelines.report import render_report


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(sample())


# ---- what it says


def test_urgent_holds_open_incidents_before_leaks_and_nothing_that_is_over(page: str):
    urgent = section(page, "urgent")
    assert urgent.index("payments answers slowly") < urgent.index("limit in <b>41 h</b>")
    assert "search lost" not in urgent
    assert "search lost" in section(page, "incidents")


def test_leak_of_several_days_is_one_row_with_its_first_sight(page: str):
    table = section(page, "leaks")
    assert table.count("<tr>") == 2
    assert "Fri 5 Jun 20:00" in table
    assert "41 h" in table


def test_time_to_limit_counts_from_the_report_not_from_the_finding():
    data = sample()
    html = render_report(dataclasses.replace(data, leaks=data.leaks.iloc[1:2]))
    assert "limit in <b>41 h</b>" in html  # 65 h, found 24 h ago


def test_leak_that_scores_below_one_is_none():
    data = sample()
    html = render_report(dataclasses.replace(data, leaks=data.leaks.assign(score=0.9)))
    assert "No leak was found" in html


def test_calm_is_said_only_of_what_was_looked_at():
    data = sample()
    calm = dataclasses.replace(data, leaks=data.leaks[:0], incidents=data.incidents[:0], plan=[])
    html = render_report(calm)
    assert "Nothing needs you" in section(html, "urgent")
    assert "No floor has to rise" in section(html, "next")
    blind = dataclasses.replace(calm, scores=data.scores[:0], capacity=data.capacity[:0])
    html = render_report(blind)
    assert "Nothing needs you" not in html
    assert "No floor has to rise" not in html


def test_a_leak_that_a_newer_verdict_takes_back_needs_nobody():
    data = sample()
    last = data.leaks[data.leaks["workload"] == LEAKY].sort_values("issued_at").iloc[[-1]]
    later = last.assign(issued_at=last["issued_at"] + pd.Timedelta(hours=1), score=0.1)
    quiet = dataclasses.replace(
        data, leaks=pd.concat([data.leaks, later]), incidents=data.incidents[:0]
    )
    assert "badge warn" not in section(render_report(quiet), "urgent")


def test_after_a_restart_no_limit_is_due():
    data = sample()
    last = data.leaks.loc[data.leaks["workload"] == LEAKY, "issued_at"].max()
    restart = pd.DataFrame({"workload": [LEAKY], "ts": [last + pd.Timedelta(hours=1)]})
    html = render_report(dataclasses.replace(data, restarts=restart))
    assert "<b>restarted</b>" in section(html, "urgent")
    assert "limit in <b>41 h</b>" not in html
    assert not [t for c in charts(html) for t in c["traces"] if t["role"] == "leak"]


def test_only_rising_floors_of_the_next_hours_are_shown():
    data = sample()
    row = data.plan[0]
    late = {
        **row,
        "ts_from": AS_OF + pd.Timedelta(hours=30),
        "ts_to": AS_OF + pd.Timedelta(hours=31),
    }
    over = {**row, "ts_from": AS_OF - pd.Timedelta(hours=3), "ts_to": AS_OF}
    flat = {**row, "floor_to": row["floor_from"]}
    shown = section(render_report(dataclasses.replace(data, plan=[late, over, flat])), "next")
    assert "No floor has to rise" in shown
    shown = section(render_report(dataclasses.replace(data, plan=[row, late])), "next")
    assert shown.count("<tr>") == 2
    assert "06:30" in shown


def test_newer_forecast_takes_over_where_it_begins():
    data = sample()
    later = data.forecasts[data.forecasts["issued_at"] == AS_OF]
    day = pd.Timedelta(days=1)
    early = later.assign(issued_at=AS_OF - day, ts=later["ts"] - day)
    both = dataclasses.replace(data, forecasts=pd.concat([later, early]))
    lines = traces(chart_of(render_report(both), WORKLOADS[0]), "Requests", "median")
    assert [len(values(line)) for line in lines] == [24 + 168], "one line: it has no gap"


def test_a_forecast_of_the_next_hours_does_not_hide_the_days_after_them():
    data = sample()
    newest = data.forecasts[data.forecasts["issued_at"] == AS_OF]
    hour = pd.Timedelta(hours=1)
    old = newest.assign(issued_at=AS_OF - hour, ts=newest["ts"] - hour, q50=7.0)
    near = newest[newest["ts"] < AS_OF + 6 * hour].assign(q50=9.0)
    both = dataclasses.replace(data, forecasts=pd.concat([near, old]))
    (line,) = traces(chart_of(render_report(both), WORKLOADS[0]), "Requests", "median")
    assert values(line) == [7.0] + [9.0] * 6 + [7.0] * 161


def test_chart_rows_share_one_axis_and_hold_what_was_asked_for(page: str):
    leaky = chart_of(page, LEAKY)
    assert [r["title"] for r in leaky["rows"]] == [
        "Requests", "CPU", "Replicas", "Memory (working set)"]  # fmt: skip
    roles = {t["role"] for t in leaky["traces"]}
    assert roles >= {"actual", "median", "low", "high", "required", "floor", "limit", "leak"}
    assert leaky["deploys"] == [int((AS_OF - pd.Timedelta(hours=90)).timestamp() * 1000)]
    assert leaky["rows"][3]["unit"] == "GiB"


def test_anomaly_of_a_metric_without_a_row_gets_a_row_of_its_own(page: str):
    marks = traces(chart_of(page, SLOW), "Latency p99", "anomaly")[0]
    assert len(marks["x"]) == len(marks["v"]) == len(marks["text"]) == 5
    assert min(marks["v"]) > 0.8


def test_anomaly_of_the_workload_as_a_whole_is_marked_on_its_demand():
    data = sample()
    ts = AS_OF - pd.Timedelta(hours=5)
    row = {"workload": WORKLOADS[0], "metric": "all", "ts": ts, "detector": "isolation_forest",
           "score": 2.0, "value": np.nan, "reason": ""}  # fmt: skip
    html = render_report(dataclasses.replace(data, scores=pd.DataFrame([row])))
    mark = traces(chart_of(html, WORKLOADS[0]), "Requests", "anomaly")[0]
    actual = data.history.matrix("requests_per_second", [WORKLOADS[0]])[0, -5]
    assert mark["v"] == [pytest.approx(actual, rel=1e-3)]


def test_figures_are_shown_as_they_were_worded(page: str):
    assert "median 31 h before the limit" in section(page, "figures")


def test_skips_of_a_workload_without_data_are_in_the_fleet(page: str):
    assert "prod/shop/CronJob/nightly" in section(page, "workloads")
    assert "9 % of the window was measured" in section(page, "skips")
