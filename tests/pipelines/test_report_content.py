from __future__ import annotations

import dataclasses
import re

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
    assert table.count("<tr ") == 1
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
    calm = dataclasses.replace(
        data, leaks=data.leaks[:0], incidents=data.incidents[:0], plan=[], shortfalls=(), ledger=()
    )
    html = render_report(calm)
    assert "Nothing needs you" in section(html, "urgent")
    assert "No floor has to rise" in section(html, "next")
    blind = dataclasses.replace(calm, scores=data.scores[:0], capacity=data.capacity[:0])
    html = render_report(blind)
    assert "Nothing needs you" not in html
    old = dataclasses.replace(calm, as_of=AS_OF + pd.Timedelta(days=3))
    assert "nothing was scored since" in section(render_report(old), "urgent")
    assert "Nothing needs you" not in render_report(old)
    assert "No floor has to rise" not in html


def test_a_leak_that_a_newer_verdict_takes_back_needs_nobody():
    data = sample()
    last = data.leaks[data.leaks["workload"] == LEAKY].sort_values("issued_at").iloc[[-1]]
    later = last.assign(issued_at=last["issued_at"] + pd.Timedelta(hours=1), score=0.1)
    quiet = dataclasses.replace(
        data, leaks=pd.concat([data.leaks, later]), incidents=data.incidents[:0]
    )
    assert ">leak</span>" not in section(render_report(quiet), "urgent")


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
    assert shown.count("<tr ") == 1
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


# ---- whose a row is


def test_every_row_and_card_about_a_workload_says_where_it_is(page: str):
    for name in ("urgent", "next", "prescaling", "leaks", "incidents", "verdicts", "models",
                 "skips"):  # fmt: skip
        part = section(page, name)
        rows = re.findall(r"<(?:tr|article|details class=\"incident)\b[^>]*>", part)
        about = [row for row in rows if "data-cluster" in row]
        assert about, name
        assert len(about) == sum(row != "<tr>" for row in rows) or name == "models", name
        assert all('data-cluster="prod"' in row for row in about), name


def test_an_incident_of_several_namespaces_is_in_all_of_them():
    data = sample()
    both = data.incidents.assign(workloads=[[SLOW, WORKLOADS[4]], [SLOW]])
    part = section(render_report(dataclasses.replace(data, incidents=both)), "incidents")
    assert 'data-cluster="prod" data-namespace="shop\nmedia" data-workload="' in part
    numbers = re.findall(r'<details class="incident[^>]*data-workload="([\d\n]+)"', part)
    assert [len(told.split("\n")) for told in numbers] == [2, 1]


def test_every_table_says_what_it_holds_without_a_script(page: str):
    tables = re.findall(r"<table\b[^>]*>(.{0,200})", page.partition("</main>")[0], re.S)
    told = [re.match(r'<caption class="sr">([^<{]+)</caption>', table) for table in tables]
    assert len(told) > 8
    assert all(told)
    assert len({one[1] for one in told if one}) == len(told)


# ---- all that is known of one workload


def test_a_workload_is_told_all_that_the_sections_say_of_it(page: str):
    said = chart_of(page, SLOW)["facts"]
    labels = [label for label, _ in said]
    assert labels[:1] == ["Open incident"]
    assert {
        "Gate", "Mode of its floors", "Left alone by the plan", "Floor now", "Floor",
        "Last change", "Lead time", "Quantile of its floors", "Model for Requests", "Last deploy",
        "Anomalies in the window",
    } <= set(labels)  # fmt: skip
    told = dict(said)
    assert dict(chart_of(page, WORKLOADS[0])["facts"])["Pre-scaling"].startswith("enable: 312 → 4")
    assert told["Open incident"].startswith("payments answers slowly, checkout waits for it; Sun")
    assert told["Floor now"] == "2 (HPA minimum, as measured)"
    assert told["Last deploy"] == "Sat 6 Jun 18:00 UTC"
    assert told["Gate"] == "act: beats the bar"
    assert "5 points, the worst scores 3.4" in told["Anomalies in the window"]


def test_who_was_skipped_is_told_why(page: str):
    (fact,) = chart_of(page, "prod/shop/CronJob/nightly")["facts"]
    assert fact == ["Skipped", "train: 9 % of the window was measured, 50 % is needed"]


# ---- value


def test_value_is_told_in_the_words_of_the_weekly_report():
    window = (AS_OF - pd.Timedelta(days=7), AS_OF)
    row = {"scope": "all", "name": "x", "what": "spent on them", "told": "spent", "figure": "–",
           "interval": "", "reason": "no workload with a price"}  # fmt: skip
    other = row | {"scope": "prod", "figure": "3.0 USD", "interval": "1.0 to 4.0", "reason": ""}
    data = dataclasses.replace(sample(), value=[row, other], value_window=window)
    part = section(render_report(data), "value")
    assert "Value this week" in part
    assert part.count("no workload with a price") == 2  # the card, and the table of every figure
    assert '<tr data-cluster="prod">' in part
    assert "1.0 to 4.0" in part
    late = dataclasses.replace(data, as_of=AS_OF + pd.Timedelta(days=30))
    assert "Value this week" not in section(render_report(late), "value")
    assert "nothing was judged yet" in section(render_report(sample()), "value")
