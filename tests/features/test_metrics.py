from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.metrics import Aggregate, Catalog, Direction, Metric, Role

WORDS: dict[str, tuple[str, ...]] = {
    "role": get_args(Role),
    "aggregate": get_args(Aggregate),
    "direction": get_args(Direction),
}


@pytest.mark.parametrize("key", WORDS)
@given(word=st.text(max_size=12))
def test_only_the_vocabulary_is_taken_and_the_message_says_so(key: str, word: str):
    knobs: dict[str, Any] = {key: word}
    if word in WORDS[key]:
        assert getattr(Metric("cpu_usage_cores", **knobs), key) == word
    else:
        with pytest.raises(ValueError, match=f"cpu_usage_cores.*{key}") as error:
            Metric("cpu_usage_cores", **knobs)
        assert repr(word) in str(error.value)
        assert WORDS[key][0] in str(error.value)


@given(name=st.text())
def test_an_unknown_name_is_a_plain_signal(name: str):
    catalog = Catalog({})
    assert catalog[name] == Metric(name)
    assert (catalog[name].role, catalog[name].aggregate) == ("signal", "mean")
    assert not catalog.knows(name)


@given(roles=st.lists(st.sampled_from(get_args(Role)), max_size=12))
def test_names_are_split_by_role_in_catalog_order(roles: list[Role]):
    metrics = [Metric(f"m{i:02d}", role=role) for i, role in enumerate(roles)]
    catalog = Catalog({m.name: m for m in metrics})
    assert catalog.names(*get_args(Role)) == [m.name for m in metrics]
    assert catalog.names() == []
    for role in get_args(Role):
        assert catalog.names(role) == [m.name for m in metrics if m.role == role]


def test_a_known_name_keeps_its_meaning():
    errors = Metric("error_ratio", role="signal", aggregate="max", direction="up", minimum=0.0)
    catalog = Catalog({"error_ratio": errors})
    assert catalog["error_ratio"] is errors
    assert catalog.knows("error_ratio")
    assert catalog.aggregates() == {"error_ratio": "max"}


@given(st.lists(st.sampled_from(["error_ratio", "queue", "unknown"]), max_size=8), st.data())
def test_what_is_impossible_is_what_lies_outside_a_metrics_own_range(names, data):
    catalog = Catalog(
        {
            "error_ratio": Metric("error_ratio", minimum=0.0, maximum=1.0),
            "queue": Metric("queue", minimum=0.0),
        }
    )
    value = np.array(data.draw(st.lists(st.floats(), min_size=len(names), max_size=len(names))))
    wrong = catalog.impossible(pd.Series(names, dtype="category"), value)
    for name, v, said in zip(names, value, wrong, strict=True):
        low, high = {"error_ratio": (0, 1), "queue": (0, np.inf)}.get(name, (-np.inf, np.inf))
        assert said == (v < low or v > high)


def test_gates_are_in_the_series_order_and_an_unknown_metric_has_none():
    own = Metric("queue", direction="up", minimum_deviation=5, minimum_relative_deviation=0.0)
    gates = Catalog({"queue": own}).gates(["other", "queue"])
    assert gates.directions == ("both", "up")
    assert gates.minimum_deviation.tolist() == [0.0, 5.0]
    assert np.isnan(gates.minimum_relative[0])
    assert gates.minimum_relative[1] == 0
    nothing = Catalog({}).gates([])
    assert nothing.minimum_deviation.dtype == nothing.minimum_relative.dtype == np.float64


@pytest.mark.parametrize("key", ["minimum_deviation", "minimum_relative_deviation"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_gate_that_means_nothing_is_refused_by_name(key: str, value: float):
    with pytest.raises(ValueError, match=f"'queue': {key} must be a number from 0 on"):
        Metric("queue", **{key: value})
