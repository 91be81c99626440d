"""What a workload's page is drawn from: its scores in one line, and the floors that stood."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_page import chart_of, traces, values
from report_sample import AS_OF, LEAKY, SLOW, WORKLOADS, sample

from pipelines.report import ReportData, ReportParams, render_report
from pipelines.report.index import Index
from pipelines.report.scored import score_lines

_ROW = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from(["m", "n"]),
    st.integers(0, 30),
    st.floats(0, 9) | st.just(np.nan),
)


def scores(rows: list[tuple[str, str, int, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["workload", "metric", "step", "score"])
    return frame.assign(
        ts=AS_OF + pd.to_timedelta(frame["step"] * 15, "min"), detector="band", value=1.0, reason=""
    )


@given(st.lists(_ROW, min_size=1, max_size=40))
def test_the_line_is_the_highest_score_of_each_moment_and_nothing_else(rows):
    frame = scores(rows)
    lines = score_lines(Index.of(ReportData(as_of=AS_OF, scores=frame), ReportParams()))
    wanted = frame.dropna(subset=["score"]).groupby(["workload", "ts"])["score"].max()
    found = {
        (w, pd.Timestamp(line.start_ms + k * line.step_ms, unit="ms", tz="UTC")): value
        for w, line in lines.items()
        for k, value in enumerate(line.values.tolist())
        if np.isfinite(value)
    }
    assert found == wanted.to_dict()


def test_scores_and_their_alert_line_are_the_last_row_of_the_chart():
    chart = chart_of(render_report(sample()), SLOW)
    assert chart["rows"][-1] == {"title": "Anomaly score", "unit": ""}
    assert max(v for v in values(traces(chart, "Anomaly score", "score")[0]) if v) == 3.4
    assert traces(chart, "Anomaly score", "alert")[0]["v"] == [1, 1]


def test_without_scores_there_is_no_such_row():
    data = dataclasses.replace(sample(), scores=pd.DataFrame())
    assert "Anomaly score" not in [r["title"] for r in chart_of(render_report(data), SLOW)["rows"]]


def test_a_floor_that_stood_is_drawn_from_when_until_when():
    html = render_report(sample())
    (held,) = traces(chart_of(html, WORKLOADS[0]), "Replicas", "held")
    begin, end = (AS_OF + pd.Timedelta(hours=h) for h in (-1, 2))
    assert held["x"] == [int(at.timestamp() * 1000) for at in (begin, end, end)]
    assert held["v"] == [7, 7, None]
    assert not traces(chart_of(html, SLOW), "Replicas", "held")  # taken back


@pytest.mark.parametrize("after", ["", "nan", "-1", "7; drop", None])
def test_a_ledger_that_says_no_number_draws_nothing(after: str | None):
    data = sample()
    ledger = [row | {"after": after, "target": LEAKY} for row in data.ledger]
    html = render_report(dataclasses.replace(data, ledger=ledger))
    assert not traces(chart_of(html, LEAKY), "Replicas", "held")
