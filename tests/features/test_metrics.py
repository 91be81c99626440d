from typing import Any, get_args

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
