from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from features.panel import Floats, Panel
from models.backtest import PREDICTED, Backtest, BacktestParams, rolling_origin
from models.base import Forecaster
from models.combination import (
    COMBINATION,
    CombinationParams,
    combine,
    weights,
    with_combination,
)
from models.seasonal_naive import SeasonalDay, SeasonalMedian, SeasonalNaive

SAID = st.floats(-1e6, 1e6, width=32)
TIED = st.sampled_from([-2.0, 0.0, 1.0, 1.0, 5.0])
WEIGHT = st.sampled_from([0.01, 0.1, 0.25, 0.5, 1.0, 3.0])


@st.composite
def told(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """What members say, (n_members, 1, n_steps), and their weights, (1, n_members)."""
    members = draw(st.integers(1, 6))
    shape = (members, 1, draw(st.integers(1, 3)))
    said = draw(arrays(float, shape, elements=draw(st.sampled_from([SAID, TIED]))))
    return said, draw(arrays(float, (1, members), elements=WEIGHT))


# ---- what several say together


@given(case=told(), value=SAID)
def test_what_all_say_is_what_they_say_together(case: tuple[Floats, Floats], value: float):
    said, weight = case
    assert (combine(np.full_like(said, value), weight) == value).all()


@given(case=told())
def test_it_lies_between_the_least_and_the_largest(case: tuple[Floats, Floats]):
    said, weight = case
    got, slack = combine(said, weight), 1e-12 * np.abs(said).max()
    assert (said.min(axis=0) - slack <= got).all()
    assert (got <= said.max(axis=0) + slack).all()


@settings(max_examples=300)
@given(case=told(), data=st.data())
def test_it_follows_every_member_and_no_further_than_it_went(
    case: tuple[Floats, Floats], data: st.DataObject
):
    said, weight = case
    more = data.draw(arrays(float, said.shape, elements=st.floats(0, 10)))
    got, later = combine(said, weight), combine(said + more, weight)
    slack = 1e-12 * np.abs(said).max() + 1e-12
    assert (later >= got - slack).all()  # so that quantiles do not cross where the members' do not
    assert (later <= got + more.max(axis=0) + slack).all()


@given(case=told(), data=st.data())
def test_the_order_of_the_members_does_not_matter(case: tuple[Floats, Floats], data: st.DataObject):
    said, weight = case
    order = data.draw(st.permutations(range(len(said))))
    got, turned = combine(said, weight), combine(said[order], weight[:, order])
    np.testing.assert_allclose(turned, got, rtol=1e-9, atol=1e-9 * np.abs(said).max())


@given(case=told(), factor=st.floats(0.1, 100), shift=st.floats(-100, 100))
def test_the_unit_does_not_matter(case: tuple[Floats, Floats], factor: float, shift: float):
    said, weight = case
    moved = combine(said * factor + shift, weight * 7)
    atol = 1e-9 * (np.abs(said).max() * factor + abs(shift) + 1)
    np.testing.assert_allclose(moved, combine(said, weight) * factor + shift, atol=atol)


@given(case=told(), silent=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_who_is_silent_or_weighs_nothing_is_left_out(case: tuple[Floats, Floats], silent: float):
    said, weight = case
    got = combine(said, weight)
    more = np.concatenate([np.full_like(said[:1], silent), said, np.full_like(said[:1], 1e9)])
    both = np.concatenate([[[1.0]], weight, [[0.0]]], axis=1)
    np.testing.assert_array_equal(combine(more, both), got)
    assert np.isnan(combine(np.full_like(said, silent), weight)).all()


def test_one_who_is_far_off_does_not_pull():
    said = np.array([[[10.0]], [[11.0]], [[12.0]], [[1e6]]])
    assert 10 <= combine(said, np.ones((1, 4)))[0, 0] <= 12
    assert combine(said[:2], np.ones((1, 2)))[0, 0] == 10.5
    assert combine(said, np.array([[0.1, 0.1, 0.1, 10.0]]))[0, 0] > 1e5  # but for good reasons


# ---- who weighs how much

LOSSES = arrays(
    float,
    st.tuples(st.integers(1, 3), st.integers(1, 6)),
    elements=st.one_of(
        st.just(np.nan), st.floats(0, 1e30), st.sampled_from([0.0, 5e-324, 1e-300, 1.0])
    ),
)
POWER = st.floats(0, 8)


@given(loss=LOSSES, power=POWER)
def test_weights_add_up_and_the_better_never_weighs_less(loss: Floats, power: float):
    got = weights(loss, power)
    np.testing.assert_allclose(got.sum(axis=1), 1)
    assert (got >= 0).all()
    for row, weight in zip(loss, got, strict=True):
        known = np.isfinite(row)
        if known.any():
            assert (weight[~known] == 0).all()
            assert (np.diff(weight[known][np.argsort(row[known])]) <= 1e-15).all()
        else:
            np.testing.assert_allclose(weight, 1 / len(weight))


@given(loss=LOSSES.filter(lambda x: (x[np.isfinite(x)] > 1e-9).all()), power=POWER)
def test_weights_do_not_depend_on_the_unit(loss: Floats, power: float):
    np.testing.assert_allclose(weights(loss * 1024, power), weights(loss, power), atol=1e-12)


def test_twice_as_far_off_weighs_a_quarter():
    np.testing.assert_allclose(weights(np.array([[1.0, 2.0]]), 2.0), [[0.8, 0.2]])
    np.testing.assert_allclose(weights(np.array([[1.0, 2.0]]), 0.0), [[0.5, 0.5]])
    for power in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="power"):
            CombinationParams(power=power)


# ---- over a backtest

START = pd.Timestamp("2026-03-02", tz="UTC")
MODELS: tuple[Forecaster, ...] = (SeasonalNaive(), SeasonalMedian(), SeasonalDay())
NAMES = tuple(m.name for m in MODELS)


def load(seed: int = 0) -> Panel:
    rng = np.random.default_rng(seed)
    hour = np.arange(42 * 24)
    day = 100 + 50 * np.sin(2 * np.pi * hour / 24)
    week = day * np.where(hour // 24 % 7 < 5, 1, 0.3)
    rows = [day * rng.lognormal(0, 0.2, len(hour)), week * rng.lognormal(0, 0.1, len(hour))]
    rows += [np.where(hour < 1000, 0.0, 3.0), np.full(len(hour), np.nan)]
    keys = pd.DataFrame({"workload": list("abcd"), "metric": "m"}, dtype="str")
    return Panel(keys, START, pd.Timedelta("1h"), np.array(rows))


def backtested(panel: Panel) -> Backtest:
    return rolling_origin(panel, MODELS, BacktestParams(origins=4), keep=NAMES)


def test_nothing_after_an_origin_shapes_what_is_said_there():
    done = backtested(load())
    got, _ = with_combination(done, CombinationParams())
    for o in range(len(done.origins)):
        actual = done.actual.copy()
        actual[:, o:] = actual[:, o:] * 100 + 7
        scores = done.scores.copy()
        scores[..., o:] = scores[..., o:] * 100 + 7
        planted = replace(done, actual=actual, scores=scores)
        told, weight = with_combination(planted, CombinationParams())
        np.testing.assert_array_equal(
            told.point[COMBINATION][:, : o + 1], got.point[COMBINATION][:, : o + 1]
        )
        assert weight.shape == (4, len(MODELS))


def test_at_the_first_origin_all_weigh_alike():
    done = backtested(load())
    got, _ = with_combination(done, CombinationParams(power=8.0))
    alike = np.ones((4, len(MODELS)))
    first = combine([done.quantiles[m][0, :, 0] for m in NAMES], alike)
    np.testing.assert_allclose(got.point[COMBINATION][:, 0], first, rtol=1e-6)


def test_the_weights_are_learned_from_all_origins_whatever_the_unit():
    done = backtested(load())
    _, weight = with_combination(done, CombinationParams())
    np.testing.assert_allclose(weight.sum(axis=1), 1)
    loss = done.score("pinball_q50")[:2].sum(axis=2)
    assert (weight[:2].argmax(axis=1) == loss.argmin(axis=1)).all()
    assert (weight[3] == weight[3, 0]).all()  # nobody was ever compared
    large = load().with_values(load().values * 1024)
    _, again = with_combination(backtested(large), CombinationParams())
    np.testing.assert_allclose(again, weight, rtol=1e-9)


def test_an_origin_at_which_most_were_right_counts_in_any_unit():
    """Half of the members without an error leave no unit but the others' own errors."""
    done = backtested(load())
    loss = done.score("pinball_q50").copy()
    loss[0] = np.array([[0.0, 1.0, 2.0, 3.0], [0.0, 2.0, 1.0, 4.0], [8.0, 3.0, 3.0, 3.0]])
    found: list[Floats] = []
    for unit in (1.0, 1000.0):
        scores = done.scores.copy()
        scores[2] = loss * unit
        assert (replace(done, scores=scores).score("pinball_q50") == loss * unit)[0].all()
        found.append(with_combination(replace(done, scores=scores), CombinationParams())[1])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)


def test_the_joined_backtest_has_one_more_model():
    done = backtested(load())
    got, _ = with_combination(done, CombinationParams())
    assert got.models == (*NAMES, COMBINATION)
    assert got.points.shape == (4, len(MODELS) + 1, 4)
    np.testing.assert_array_equal(got.scores[:, :, :-1], done.scores)
    one = backtested(load().select(np.array([1])))
    alone, _ = with_combination(one, CombinationParams())
    np.testing.assert_array_equal(alone.point[COMBINATION][0], got.point[COMBINATION][1])
    assert len(PREDICTED) == 3
