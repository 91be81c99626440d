from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipelines.report.lines import encode, thin
from pipelines.report.text import decimal, duration, quantity, unit_of


def values(trace: dict[str, Any]) -> list[float | None]:
    if "r" not in trace:
        return trace["v"]
    pairs = zip(trace["r"][::2], trace["r"][1::2], strict=True)
    return [value for value, count in pairs for _ in range(count)]


@given(
    arrays(np.float64, st.integers(1, 400), elements=st.floats(-1e6, 1e6) | st.just(np.nan)),
    st.integers(2, 120),
)
def test_thinned_line_is_short_and_keeps_both_extremes(line: np.ndarray, most: int):
    thinned, factor = thin(line, most)
    assert len(thinned) <= most
    assert (len(thinned) - 1) * factor < len(line) + 2 * factor
    if np.isfinite(line).any():
        assert np.nanmin(thinned) == np.nanmin(line)
        assert np.nanmax(thinned) == np.nanmax(line)
    else:
        assert np.isnan(thinned).all()


@given(
    arrays(
        np.float64,
        st.integers(0, 60),
        elements=st.sampled_from([0.0, 1.5, 12345.6, np.nan, np.inf, -np.inf]),
    )
)
def test_encoded_line_reads_back_to_four_digits(line: np.ndarray):
    packed = json.loads(
        b"{"
        + b",".join(b'"%b":%b' % (k.encode(), bytes(v)) for k, v in encode(line).items())
        + b"}"
    )
    back = values(packed)
    assert len(back) == len(line)
    for got, want in zip(back, line, strict=True):
        assert got is None if not np.isfinite(want) else got == pytest.approx(want, rel=1e-3)


def test_equal_neighbours_are_written_once():
    assert bytes(encode(np.full(1000, 3.0))["r"]) == b"[3,1000]"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (45, "45 s"),
        (185, "3 min"),
        (31 * 3600, "31 h"),
        (1.5 * 3600, "1.5 h"),
        (4.2 * 86400, "4.2 days"),
        (-1, "now"),
        (float("inf"), "not in sight"),
        (float("nan"), "unknown"),
        (None, "unknown"),
        (1e10, "more than a year"),
    ],
)
def test_durations_read_well(seconds: float | None, text: str):
    assert duration(seconds) == text


def test_quantities_carry_their_unit():
    assert quantity(512 * 2**20, "memory_rss_bytes") == "512 MiB"
    assert quantity(0.12, "cpu_usage_cores") == "120 millicores"
    assert quantity(0.031, "error_ratio") == "3.1%"
    assert quantity(float("nan"), "replicas") == "–"
    assert quantity(3 * 2**20, "network_receive_bytes_per_second") == "3 MiB/s"


@given(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(["x_bytes", "x_cores", "x_ratio", "x_seconds", "x"]),
)
def test_any_number_has_a_text(value: float, metric: str):  # fmt: skip
    assert decimal(value)
    assert quantity(value, metric)
    assert unit_of(metric, value)[0] > 0
