"""The evidence of an incident: drawn from the samples, beside the band that was scored."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from report_page import section
from report_sample import AS_OF, SLOW, WORKLOADS, sample

from pipelines.report import ReportData, ReportParams, render_report
from pipelines.report.causes import evidence_plots
from pipelines.report.data import records
from pipelines.report.evidence import HEIGHT, WIDTH, Seen, drawn, usual_band
from pipelines.report.index import Index

P99 = "latency_p99_seconds"
VALUES = st.floats(allow_nan=True, allow_infinity=True)


def plots(data: ReportData) -> dict[str, list[Any]]:
    rows = records(data.incidents, "incident_id", "started_at", "ended_at", "causes")
    return evidence_plots(Index.of(data, ReportParams()), rows)


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](\S+?) ([-\d.]+)", path)]


def seen(values: list[float], begins: int, low: float, high: float) -> Seen:
    n = len(values)
    band = (np.full(n, low), np.full(n, (low + high) / 2), np.full(n, high))
    return Seen(P99, np.array(values), begins, *band)


# ---- the drawing


@given(
    values=arrays(np.float64, st.integers(1, 500), elements=VALUES),
    begins=st.integers(0, 500),
    low=VALUES,
    high=VALUES,
)
def test_whatever_was_measured_stays_inside_the_drawing(
    values: np.ndarray, begins: int, low: float, high: float
) -> None:
    values = np.where(np.isfinite(values), values, np.nan)
    band = [np.full(len(values), v if np.isfinite(v) else np.nan) for v in (low, high)]
    found = drawn(Seen(P99, values, min(begins, len(values)), band[0], band[0], band[1]))
    for name in ("line", "band", "usual", "dots"):
        assert not re.search("nan|inf", found[name])
        for x, y in points(found[name]):
            assert 0 <= x <= WIDTH
            assert -0.05 <= y <= HEIGHT + 0.05
    assert 0 <= float(found["at"]) <= WIDTH


def test_a_peak_of_one_step_is_never_thinned_away() -> None:
    values = [1.0] * 5000
    values[3210] = 9.0
    line = points(drawn(seen(values, 3000, 0.5, 1.5))["line"])
    assert min(y for _, y in line) == 0.0
    assert len(line) <= 200


def test_dots_are_what_left_the_band_from_the_onset_on() -> None:
    found = drawn(seen([9, 1, 1, 9, 1, 9], 2, 0, 2))
    assert [round(x / WIDTH * 5) for x, _ in points(found["dots"])] == [3, 5]
    assert found["after"] == "9 s"
    assert found["expected"] == "0 – 2 s"
    assert not found["stayed"]
    assert drawn(seen([9, 1, 1, 1], 1, 0, 2))["stayed"], "before the onset nothing counts"
    assert not drawn(seen([9, 1, 1, 1], 1, np.nan, np.nan))["stayed"], "nothing was expected"


def test_a_wide_band_does_not_flatten_what_was_measured() -> None:
    line = points(drawn(seen([1, 2, 1, 2], 2, -1000, 1000))["line"])
    heights = [y for _, y in line]
    assert max(heights) - min(heights) > HEIGHT / 4


def test_a_gap_is_not_bridged() -> None:
    assert drawn(seen([1, 1, np.nan, 1, 1], 3, 0, 2))["line"].count("M") == 2


def test_without_a_band_what_was_usual_stands_in() -> None:
    low, middle, high = usual_band(np.array([1.0, 2.0, 3.0, np.nan]), 4)
    assert low[0] < middle[0] == 2.0 < high[0]
    assert np.isnan(usual_band(np.array([]), 2)[0]).all()


# ---- from the tables


def test_the_band_is_the_one_that_was_scored_then() -> None:
    (plot, _), _ = plots(sample()).values()
    assert plot["scored"]
    assert plot["expected"] == "100 – 200 ms"
    assert plot["onset"]["text"] == "Sun 7 Jun 19:00"
    assert plot["dots"].count("M") == 5, "the five hours of the incident"


def test_where_nothing_was_scored_the_day_before_says_what_is_usual() -> None:
    data = sample()
    blind = dataclasses.replace(data, scores=data.scores[:0])
    (plot, _), _ = plots(blind).values()
    assert not plot["scored"]
    assert "usual the day before" in section(render_report(blind), "incidents")


def test_a_cause_that_was_not_measured_has_no_plot() -> None:
    (_, errors), _ = plots(sample()).values()
    assert errors is None
    assert plots(dataclasses.replace(sample(), history=None)) == {}


def test_an_incident_from_before_the_window_has_no_plot() -> None:
    data = sample()
    early = data.incidents.assign(started_at=AS_OF - pd.Timedelta(days=400))
    assert [p for row in plots(dataclasses.replace(data, incidents=early)).values() for p in row] \
        == [None, None, None]  # fmt: skip


@pytest.mark.parametrize("most", [0, 1, 150])
def test_so_many_incidents_have_plots_the_open_ones_first(most: int) -> None:
    part = section(render_report(sample(), ReportParams(evidence_incidents=most)), "incidents")
    with_plots = ["<svg" in row for row in part.split("<details")[1:]]
    assert with_plots == [most > 0, most > 1]


def test_the_open_incident_shows_its_first_cause_where_a_person_looks_first() -> None:
    urgent = section(render_report(sample()), "urgent")
    assert urgent.count('<svg class="evidence"') == 1
    assert "Latency p99 of payments" in urgent


def test_names_in_the_drawing_are_text() -> None:
    evil = '"><script>alert(1)</script>'
    data = sample((f"prod/shop/Deployment/{evil.replace('/', '%2F')}", *WORKLOADS[1:]))
    cause = {"workload": SLOW, "metric": P99, "score": 1.0, "evidence": evil}
    hostile = data.incidents.assign(causes=[[cause], [cause]], title=evil)
    assert "<script>alert" not in render_report(dataclasses.replace(data, incidents=hostile))
