"""A selection is data: one string literal a label, whatever the label values are."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.adapters.prometheus.select import fill_in, matchers, selects
from pipelines.errors import ConfigError

LITERAL = r'"((?:[^"\\\n]|\\(?:[\\"]|x[0-9a-f]{2}))*)"'
TERM = re.compile(rf"(cluster|namespace)(=~|=){LITERAL}, ")
hostile = st.text(min_size=1, max_size=12) | st.text('"\\n{}=~.*+|,$_ ', min_size=1, max_size=12)
values = st.lists(hostile, min_size=1, max_size=3).map(tuple)


def meant(operator: str, literal: str, text: str) -> bool:
    """Whether a matcher takes the text, as Prometheus reads it: unquoted, anchored."""
    inside = re.sub(
        r"\\(?:x(..)|(.))", lambda m: chr(int(m[1], 16)) if m[1] else m[2], literal, flags=re.DOTALL
    )
    return inside == text if operator == "=" else re.fullmatch(inside, text) is not None


@given(namespaces=values, clusters=values, other=hostile | st.just(""))
def test_a_matcher_takes_exactly_its_values(namespaces, clusters, other):
    text = matchers({"namespace": namespaces, "cluster": clusters}, "prod")
    terms = TERM.findall(text)
    assert "".join(f'{label}{op}"{lit}", ' for label, op, lit in terms) == text
    for (label, op, lit), wanted in zip(terms, (namespaces, clusters), strict=True):
        own = {"cluster": "prod", "namespace": "default"}[label]
        assert all(meant(op, lit, value) for value in wanted)
        assert meant(op, lit, other) == (other in wanted or (other == "" and own in wanted))


@given(value=hostile)
def test_what_is_filled_in_is_not_looked_at_again(value):
    value += "$__interval $__select"
    got = fill_in(
        "x{$__select a!=''}[$__interval]",
        step_ms=60_000, rate_ms=1, select={"namespace": (value,)}, cluster="prod",
    )  # fmt: skip
    assert got == "x{" + matchers({"namespace": (value,)}, "prod") + "a!=''}[60s]"


def test_it_reads_as_written_in_the_catalog():
    select = {"namespace": ("shop", "pay")}
    fill = {"step_ms": 300_000, "rate_ms": 600_000, "cluster": "prod"}
    query = '{$__select container!=""}[$__rate_interval]'
    assert fill_in(query, select=select, **fill) == ('{namespace=~"shop|pay", container!=""}[600s]')
    assert fill_in(query, select={}, **fill) == '{ container!=""}[600s]'
    assert matchers({"namespace": ("shop",)}, "prod") == 'namespace="shop", '
    assert matchers({"cluster": ("prod",)}, "prod") == 'cluster=~"prod|", '
    assert selects(query)
    assert not selects("x{$__selected}")


@pytest.mark.parametrize(
    "select", [{"namespace": ()}, {"pod": ("x",)}, {'x"}': ("y",)}, {"namespace": ("\ud800",)}]
)
def test_what_cannot_be_selected_is_said(select):
    with pytest.raises(ConfigError, match="selection"):
        matchers(select, "prod")
