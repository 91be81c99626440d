from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from features.panel import Panel
from features.quality import QualityParams, judge

PARAMS = QualityParams(minimum_history_days=3)


def panel(values: np.ndarray, step_s: int = 3600) -> Panel:
    keys = pd.DataFrame(
        {"workload": [f"c/n/D/{i}" for i in range(len(values))], "metric": "m"}, dtype="str"
    )
    return Panel(
        keys, pd.Timestamp("2026-05-04", tz="UTC"), pd.Timedelta(step_s, "s"), values.astype(float)
    )


def test_each_defect_is_named():
    rng = np.random.default_rng(0)
    values = rng.random((6, 24 * 14))
    values[1, :-50] = np.nan  # started two days and two hours ago
    values[2, -30:] = np.nan  # stopped 30 h ago
    values[3, rng.permutation(24 * 14 - 2)[:230] + 1] = np.nan  # full of holes
    values[4] = np.nan
    values[5] = 7.0
    verdict = judge(panel(values), PARAMS)
    assert verdict["ok"].tolist() == [True, False, False, False, False, True]
    assert verdict["reason"].tolist() == [
        "",
        "history 2.0 d, needs 3.0 d",
        "no sample in the last 24 h",
        "covers 31 % of its steps",
        "no sample",
        "",
    ]
    assert verdict["flat"].tolist() == [False] * 5 + [True]
    assert verdict["span_h"].tolist() == [336, 50, 306, 336, 0, 336]
    assert verdict["staleness_h"].tolist() == [0, 0, 30, 0, np.inf, 0]


@settings(deadline=None)
@given(
    values=arrays(
        float,
        st.tuples(st.integers(0, 4), st.integers(0, 40)),
        elements=st.sampled_from([np.nan, np.nan, 0.0, -1.0, 1e15]),
    )
)
def test_every_series_gets_one_row_and_a_reason_exactly_when_refused(values: np.ndarray):
    verdict = judge(panel(values, 86400), PARAMS)
    assert len(verdict) == len(values)
    assert ((verdict["reason"] == "") == verdict["ok"]).all()
    assert verdict["coverage"].between(0, 1).all()
    assert not verdict.isna().any(axis=None)


@settings(deadline=None)
@given(values=arrays(float, (3, 30), elements=st.sampled_from([np.nan, 1.0, 2.0])))
def test_a_value_more_never_turns_a_good_series_bad(values: np.ndarray):
    before = judge(panel(values, 21600), PARAMS)
    values[:, -1] = 1.0
    span_grew = judge(panel(values, 21600), QualityParams(minimum_coverage=0.0))
    assert (span_grew["ok"] >= before["ok"]).all()


@pytest.mark.parametrize(
    "bad", [{"minimum_history_days": -1}, {"maximum_staleness_h": np.nan}, {"minimum_coverage": 2}]
)
def test_impossible_params_are_refused_by_name(bad: dict[str, float]):
    with pytest.raises(ValueError, match=next(iter(bad))):
        QualityParams(**bad)
