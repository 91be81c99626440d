from dataclasses import replace
from pathlib import Path

import pytest

from features.metrics import Metric
from pipelines.adapters.catalog import load_catalog
from pipelines.errors import ConfigError

CONFIG = Path(__file__).parents[3] / "config" / "metrics"
SHIPPED = ("prometheus.yaml", "plain.yaml")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_catalog_loads_whole(name):
    catalog = load_catalog((CONFIG / name).read_text(), where=name)
    for metric in catalog.metrics.values():
        assert metric.query
        assert "${" not in metric.query
        assert metric.unit
        assert metric.minimum == 0
        assert metric.query.count("(") == metric.query.count(")")
        assert (metric.limit is not None) == (metric.role == "resource")


def test_the_shipped_catalogs_say_the_same_but_for_the_query():
    one, two = (load_catalog((CONFIG / name).read_text()) for name in SHIPPED)
    assert [replace(m, query=None) for m in one.metrics.values()] == [
        replace(m, query=None) for m in two.metrics.values()
    ]
    assert all(m.query == name for name, m in two.metrics.items())


def test_definitions_are_put_in_where_they_are_named():
    text = """
definitions: {a: 'x{${b}}', b: k="$1"}
metrics: {m: {query: 'f(${a}, ${b}) $__interval'}}
"""
    assert load_catalog(text)["m"].query == 'f(x{k="$1"}, k="$1") $__interval'


def test_every_field_of_a_metric_can_be_given_and_all_may_be_left_out():
    text = """
metrics:
  limit_bytes:
  used_bytes: {unit: bytes, role: resource, aggregate: max, direction: up, minimum: 0,
               limit: limit_bytes, query: used}
"""
    catalog = load_catalog(text)
    assert catalog["limit_bytes"] == Metric("limit_bytes")
    assert catalog["used_bytes"] == Metric(
        "used_bytes", "bytes", "resource", "max", "up", 0.0, "limit_bytes", "used"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected keys with values, got nothing"),
        ("metrics: [a]", "metrics: expected keys"),
        ("metrics: {a: {query: [}}", "not readable as YAML"),
        ("metrics: {}\nqueries: {}", "unknown key 'queries'"),
        ("metrics: {a: {}, a: {}}", "key 'a' is there twice"),
        ("metrics: {a: {rolle: demand}}", "metric 'a': unknown key 'rolle'; it has unit, role"),
        ("metrics: {a: {role: load}}", "metric 'a': role must be one of demand"),
        ("metrics: {a: {minimum: none}}", "metric 'a': minimum: expected a number, got 'none'"),
        ("metrics: {a: {minimum: true}}", "expected a number"),
        ("metrics: {a: {query: }}", "metric 'a': query: expected text"),
        ("metrics: {a: {query: 5}}", "metric 'a': query: expected text, got 5"),
        ("metrics: {a: 5}", "metric 'a': expected keys"),
        ("metrics: {1: {}}", "metrics: key: expected text, got 1"),
        ("metrics: {a-b: {}}", "metric 'a-b': a name has"),
        ("metrics: {a: {limit: b}}", "metric 'a' has limit 'b'"),
        ("metrics: {a: {query: '${b}'}}", "metric 'a': no definition 'b'; there are none"),
        (
            "definitions: {b: '${c}', c: '${b}'}\nmetrics: {a: {query: '${b}'}}",
            "metric 'a': definition 'b' uses itself: b > c",
        ),
        ("definitions: {b: 5}\nmetrics: {}", "definition 'b': expected text, got 5"),
        ("metrics: {a: {query: !!python/object:os.system x}}", "not readable as YAML"),
    ],
)
def test_a_mistake_is_named(text, said):
    with pytest.raises(ConfigError, match=said) as error:
        load_catalog(text, where="mine.yaml")
    assert str(error.value).startswith("mine.yaml")
