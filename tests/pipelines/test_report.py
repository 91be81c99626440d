from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from report_page import chart_of, charts, first, section, traces, values
from report_sample import AS_OF, WORKLOADS, sample

from features.frames import (
    BACKTEST,
    CAPACITY,
    FORECASTS,
    INCIDENTS,
    LEAKS,
    SCORES,
    SKIPS,
    VERDICTS,
    conform,
)
from features.panel import Panel
from pipelines.report import ReportData, ReportParams, render_report
from pipelines.report.data import records

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u2028%{x}{{ 7*7 }}"


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(sample())


def own_part(html: str) -> str:
    """The page without what is packed in it: Plotly, and each workload's chart."""
    return re.sub(r'<script type="text/plain".*?</script>', "", html, flags=re.S)


# ---- the sample itself follows the contracts, so what is tested is what the pipeline gives


def test_sample_follows_the_contracts():
    data = sample()
    tables = {
        "scores": SCORES, "leaks": LEAKS, "incidents": INCIDENTS, "forecasts": FORECASTS,
        "capacity": CAPACITY, "backtest": BACKTEST, "skips": SKIPS, "verdicts": VERDICTS,
    }  # fmt: skip
    for name, contract in tables.items():
        conform(getattr(data, name), contract)


def test_tables_read_back_from_the_store_give_the_same_page(page: str):
    data = sample()
    tables = {
        "scores": SCORES, "leaks": LEAKS, "incidents": INCIDENTS, "forecasts": FORECASTS,
        "capacity": CAPACITY, "backtest": BACKTEST, "skips": SKIPS, "verdicts": VERDICTS,
    }  # fmt: skip
    stored = {n: conform(getattr(data, n), c).to_pandas() for n, c in tables.items()}
    assert render_report(dataclasses.replace(data, **stored)) == page


# ---- one file, nothing loaded, nothing run but our own


def test_same_input_gives_same_bytes(page: str):
    assert render_report(sample()) == page


def test_page_refers_to_nothing_outside_itself(page: str):
    own = own_part(page)
    assert not re.findall(r'(?i)(?:src|href|action|data)\s*=\s*["\']?\s*(?:[a-z]+:)?//', own)
    assert "http://" not in own
    assert "https://" not in own
    assert "url(" not in own
    assert "@import" not in own
    assert not re.findall(r"<(?:link|iframe|object|embed|base)\b", own)


def test_policy_names_both_scripts_and_forbids_loads(page: str):
    policy = first(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'")
    assert policy.count("sha256-") == 2
    assert "unsafe-eval" not in policy
    assert "script-src 'unsafe-inline'" not in policy


def test_forty_workloads_at_five_minutes_stay_small():
    names = tuple(f"prod/shop/Deployment/w{i:02d}" for i in range(40))
    assert len(render_report(sample(names, days=35, step_min=5)).encode()) < 12_000_000


# ---- labels are data


def test_hostile_labels_stay_text():
    bad = f"prod/shop/Deployment/{HOSTILE.replace('/', '%2F')}"
    data = sample((bad, *WORKLOADS[1:]))
    incident = data.incidents.assign(title=HOSTILE, workloads=[[bad], [HOSTILE]])
    cause = [{"workload": bad, "metric": HOSTILE, "score": 2.0, "evidence": HOSTILE}]
    scores = pd.DataFrame(
        {
            "workload": [bad],
            "metric": [HOSTILE],
            "ts": [AS_OF - pd.Timedelta(hours=3)],
            "detector": [HOSTILE],
            "score": [5.0],
            "value": [1.0],
            "reason": [HOSTILE],
        }
    )
    plan = [{**data.plan[0], "workload": bad, "reason": HOSTILE, "mode": HOSTILE}]
    html = render_report(
        dataclasses.replace(
            data, title=HOSTILE, run_id=HOSTILE, plan=plan, scores=scores,
            incidents=incident.assign(causes=[cause, cause]),
            skips=data.skips.assign(reason=HOSTILE, step=HOSTILE),
            backtest=data.backtest.assign(model=HOSTILE, solver=HOSTILE, champion=True),
            forecasts=data.forecasts.assign(model=HOSTILE[::-1], confidence=HOSTILE),
            verdicts=data.verdicts.assign(verdict=HOSTILE, reason=HOSTILE),
            summary=[(HOSTILE, HOSTILE, HOSTILE)],
        )
    )  # fmt: skip
    assert "alert(1)</script>" not in html
    assert "<img" not in own_part(html)
    assert "\u2028" not in first(r'id="w0">(.*?)</script>', html)
    assert html.count("<script") == len(charts(html)) + 2
    assert chart_of(html, bad)["full"] == bad


def test_ten_thousand_characters_are_shortened_where_they_are_shown():
    long = "prod/shop/Deployment/" + "x" * 10_000
    html = render_report(sample((long,)))
    assert chart_of(html, long)["full"] == long
    assert ">" + "x" * 200 not in html


def test_workload_of_other_than_four_parts_is_shown():
    odd = "just-a-name"
    html = render_report(sample((odd, "a/b/c/d/e")))
    assert odd in section(html, "workloads")


# ---- empty and broken input


def test_nothing_at_all_is_said_in_words():
    html = render_report(ReportData(as_of=AS_OF))
    for name, words in {
        "urgent": "nothing was scored", "next": "no capacity was forecast", "figures": "No figures",
        "leaks": "nothing was scored", "incidents": "No incident", "workloads": "No workload",
        "models": "No backtest", "skips": "skipped nothing",
    }.items():  # fmt: skip
        assert words in section(html, name)
    assert not charts(html)


@pytest.mark.parametrize(
    "name",
    [
        "history",
        "scores",
        "leaks",
        "incidents",
        "forecasts",
        "capacity",
        "backtest",
        "verdicts",
        "skips",
        "plan",
        "deploys",
        "summary",
    ],
)
def test_any_one_table_may_be_empty(name: str):
    data = sample()
    table = getattr(data, name)
    empties = [table.iloc[:0], pd.DataFrame()] if isinstance(table, pd.DataFrame) else [()]
    for empty in [None] if name == "history" else empties:
        assert 'id="skips"' in render_report(dataclasses.replace(data, **{name: empty}))


def test_what_is_not_finite_is_a_gap():
    data = sample()
    panel = data.history
    spoilt = panel.values.copy()
    spoilt[:, ::7], spoilt[:, ::11], spoilt[:, ::13] = np.nan, np.inf, -np.inf
    tables = {n: getattr(data, n) for n in ("leaks", "forecasts", "backtest", "verdicts")}
    floats = {
        n: t.assign(**dict.fromkeys(t.select_dtypes("float"), np.nan)) for n, t in tables.items()
    }
    infinite = data.leaks.assign(time_to_limit_p50_s=np.inf, limit=np.inf, slope_per_h=-np.inf)
    steep = data.leaks.assign(slope_per_h=1e308)
    for changes in (floats, {"leaks": infinite}, {"leaks": steep}):
        html = render_report(
            dataclasses.replace(data, history=panel.with_values(spoilt), **changes)
        )
        assert len(charts(html)) == 7  # json.loads refused nothing
        body = own_part(html).split("<body>")[1]
        assert not re.findall(r"\b(?:nan|inf|NaN|Infinity|NaT)\b", body)


@pytest.mark.parametrize("level", [0.0, -5.0, 1e15, 1e-12, np.nan])
def test_constant_series_of_any_size_render(level: float):
    data = sample()
    panel = data.history.with_values(np.full_like(data.history.values, level))
    assert len(charts(render_report(dataclasses.replace(data, history=panel)))) == 7


def test_long_frame_gives_the_same_page_as_its_panel(page: str):
    data = sample()
    assert render_report(dataclasses.replace(data, history=data.history.to_frame())) == page


def test_records_read_absent_columns_as_missing():
    assert records(pd.DataFrame({"a": [1]}), "a", "b")[0].keys() == {"a", "b"}


@pytest.mark.parametrize(
    "key",
    ["horizon_h", "recent_h", "projection_h", "chart_points", "chart_values", "series_rows"],
)
def test_impossible_params_are_refused_by_name(key: str):
    with pytest.raises(ValueError, match=key):
        ReportParams(**{key: -1})  # pyright: ignore[reportArgumentType]


def test_many_workloads_lower_the_points_of_each_line():
    data = sample()
    few = render_report(data, ReportParams(chart_values=10_000))
    line = traces(chart_of(few, WORKLOADS[0]), "Requests", "actual")[0]
    assert len(values(line)) <= 120
    assert isinstance(data.history, Panel)
