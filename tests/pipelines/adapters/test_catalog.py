import json
import re
from dataclasses import replace

import pytest
from catalogs import CONFIG, shipped
from hypothesis import given
from hypothesis import strategies as st

from features.metrics import Metric
from pipelines.adapters.catalog import load_catalog
from pipelines.errors import ConfigError

PROMQL = ("prometheus", "istio", "nginx-ingress", "plain")
SHIPPED = sorted(p.stem for p in CONFIG.glob("*.yaml"))
SELECTOR = re.compile(
    r"\b(?:kube|container|kubelet|karpenter|istio|http|hikaricp)_\w+(?:\{([^}]*)\}|)(?=[ \[])"
)
OF_THE_WHOLE_CLUSTER = (
    "kube_pod_container_resource_requests{resource",
    "kube_pod_status_phase{phase=~",
)
BOUNDS_OF_A_RESOURCE = {m.limit for m in shipped("base").metrics.values() if m.limit}
"""0 of these is no limit."""
NOT_EXPOSED = {"memory_anon_bytes"}


def files(**texts: str):
    """A ``read`` that knows these texts: name or path → text."""

    def read(name: str) -> str:
        if name not in texts:
            raise FileNotFoundError(2, "No such file or directory", name)
        return texts[name]

    return read


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_catalog_loads_whole_and_every_query_is_whole(name):
    for metric in shipped(name).metrics.values():
        assert "${" not in (metric.query or "")
        assert metric.unit
        assert metric.minimum == (1 if metric.name in BOUNDS_OF_A_RESOURCE else 0)
        assert (metric.limit is not None) == (metric.role == "resource")


@pytest.mark.parametrize("name", [n for n in SHIPPED if n != "base"])
def test_a_shipped_catalog_says_of_a_metric_what_the_base_says_but_for_the_query(name):
    base = shipped("base").metrics
    assert not any(m.query for m in base.values())
    own = shipped(name).metrics
    assert [replace(own[m], query=None) for m in base] == list(base.values())
    assert name not in PROMQL or own.keys() == base.keys()


@pytest.mark.parametrize("name", PROMQL)
def test_a_promql_catalog_has_a_query_for_everything_and_restricts_what_it_reads(name):
    for metric in shipped(name).metrics.values():
        if name != "plain" and metric.name in NOT_EXPOSED:
            assert metric.query is None
            continue
        assert metric.query is not None
        assert metric.query.count("(") == metric.query.count(")")
        assert "$__select" in metric.query
        for found in SELECTOR.finditer(metric.query):
            if not found[0].startswith(OF_THE_WHOLE_CLUSTER):
                assert (found[1] or "").startswith("$__select"), (metric.name, found[0])
            after = metric.query[found.end() :].removeprefix("[$__rate_interval]")
            after = after.removeprefix("[$__interval]")
            assert name == "plain" or after.startswith(" offset -$__interval"), found[0]


def test_plain_queries_are_the_metrics_names():
    assert {n: m.query for n, m in shipped("plain").metrics.items()} == {
        n: f"{n}{{$__select}}" for n in shipped("base").metrics
    }


def test_definitions_are_put_in_where_they_are_named():
    text = """
definitions: {a: 'x{${b}}', b: k="$1"}
metrics: {m: {query: 'f(${a}, ${b}) $__interval'}}
"""
    assert load_catalog(text)["m"].query == 'f(x{k="$1"}, k="$1") $__interval'


def test_every_field_of_a_metric_can_be_given_and_all_may_be_left_out():
    text = """
metrics:
  limit_bytes: {}
  used_bytes: {unit: bytes, role: resource, aggregate: max, direction: up, minimum: 0,
               maximum: 9, minimum_deviation: 2, minimum_relative_deviation: 0.5,
               limit: limit_bytes, query: used}
"""
    catalog = load_catalog(text)
    assert catalog["limit_bytes"] == Metric("limit_bytes")
    assert catalog["used_bytes"] == Metric(
        "used_bytes", "bytes", "resource", "max", "up", 0.0, 9.0, "limit_bytes", "used", 2.0, 0.5
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_every_watched_metric_of_a_shipped_catalog_has_gates_and_a_range(name):
    for metric in shipped(name).metrics.values():
        if metric.role in {"demand", "resource", "signal"}:
            assert metric.minimum_deviation > 0, metric.name
            assert metric.minimum_relative_deviation is not None, metric.name
            assert metric.maximum is not None, metric.name


def test_settings_are_laid_over_the_catalog_and_their_mistakes_are_named():
    mine = {"used_bytes": {"minimum_deviation": 5}, "queue_depth": {"direction": "up"}}
    catalog = load_catalog(BASE, over=mine)
    assert catalog["used_bytes"] == replace(load_catalog(BASE)["used_bytes"], minimum_deviation=5.0)
    assert catalog["queue_depth"] == Metric("queue_depth", direction="up")
    assert load_catalog(BASE, over={"CPU (%)": {"maximum": 100}})["CPU (%)"].maximum == 100
    assert not load_catalog(BASE, over={"requests_per_second": None}).knows("requests_per_second")
    for over, said in (
        ({"queue_depth": {"directon": "up"}}, "c.yaml: metric 'queue_depth': unknown key"),
        ({"queue_depth": None}, "c.yaml: metric 'queue_depth': it has no keys"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_catalog(BASE, over=over, over_from="c.yaml")


BASE = """
definitions: {requests: http_total, rate: 'rate(${requests}[5m])'}
metrics:
  requests_per_second: {unit: requests/s, role: demand, minimum: 0, query: 'sum(${rate})'}
  used_bytes: {unit: bytes, role: resource, limit: limit_bytes}
  limit_bytes: {unit: bytes, role: limit}
"""


def test_one_definition_given_again_changes_every_query_that_uses_it():
    mine = "extends: base\ndefinitions: {requests: istio_requests_total}"
    catalog = load_catalog(mine, read=files(base=BASE))
    assert catalog["requests_per_second"].query == "sum(rate(istio_requests_total[5m]))"
    assert catalog["requests_per_second"].role == "demand"


def test_a_metric_is_overridden_key_by_key_and_new_ones_are_added():
    mine = """
extends: base
metrics:
  requests_per_second: {query: 'my(${rate})', maximum: 50}
  mine: {role: state}
"""
    catalog = load_catalog(mine, read=files(base=BASE))
    assert catalog["requests_per_second"] == Metric(
        "requests_per_second", "requests/s", "demand", "mean", "both", 0.0, 50.0, None,
        "my(rate(http_total[5m]))",
    )  # fmt: skip
    assert list(catalog.metrics) == ["requests_per_second", "used_bytes", "limit_bytes", "mine"]


def test_nothing_takes_a_metric_or_a_key_away():
    mine = "extends: base\nmetrics: {limit_bytes: , used_bytes: {limit: , role: state}}"
    catalog = load_catalog(mine, read=files(base=BASE))
    assert list(catalog.metrics) == ["requests_per_second", "used_bytes"]
    assert catalog["used_bytes"] == Metric("used_bytes", "bytes", "state")


def test_a_chain_ends_and_paths_are_relative_to_the_file_that_names_them():
    texts = {"team/b.yaml": "extends: ../c.yaml", "team/../c.yaml": "extends: base", "base": BASE}
    read = files(**texts)
    catalog = load_catalog("extends: ./b.yaml", where="team/a.yaml", read=read)
    assert catalog.metrics == load_catalog(BASE).metrics


def test_a_file_may_be_named_as_the_shipped_one_that_it_extends():
    catalog = load_catalog("extends: base", where="mine/base.yaml", read=files(base=BASE))
    assert catalog.metrics == load_catalog(BASE).metrics


@pytest.mark.parametrize(
    ("text", "texts", "said"),
    [
        ("extends: a", {"a": "extends: b", "b": "extends: a"}, "extends: .*mine.yaml > a > b > a"),
        ("extends: ./mine.yaml", {}, "extends itself: mine.yaml > mine.yaml"),
        ("extends: nope", {}, r"mine.yaml: extends: nope cannot be read \(No such file"),
        ("extends: [a, b]", {}, "mine.yaml: extends: expected text"),
        ("extends: base\nmetrics: {gone: }", {"base": BASE}, "metric 'gone': it has no keys"),
        ("extends: base\nmetrics: {limit_bytes: }", {"base": BASE}, "'used_bytes' has limit"),
        (
            "extends: base\nmetrics: {requests_per_second: {maximum: -1}}", {"base": BASE},
            "mine.yaml: metric 'requests_per_second': minimum must be at most maximum, got 0 and",
        ),
        ("extends: b", {"b": "metrics: {a: {rolle: x}}"}, "b: metric 'a': unknown key 'rolle'"),
        ("extends: b", {"b": "metrics: {a: {query: '${c}'}}"}, "b: metric 'a': no definition 'c'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_chain_is_named_with_its_file(text, texts, said):
    with pytest.raises(ConfigError, match=said):
        load_catalog(text, where="mine.yaml", read=files(**texts))


def test_nothing_can_be_extended_where_nothing_can_be_read():
    with pytest.raises(ConfigError, match="'base' cannot be read from here"):
        load_catalog("extends: base")


def test_a_query_of_keys_becomes_json_with_definitions_in_its_texts():
    text = """
definitions: {space: ContainerInsights}
metrics:
  m:
    query: {namespace: '${space}', dims: [{name: 'x${space}'}], period: 60, b: true, a: 1.5, n: ~}
"""
    assert load_catalog(text)["m"].query == (
        '{"a":1.5,"b":true,"dims":[{"name":"xContainerInsights"}],"n":null,'
        '"namespace":"ContainerInsights","period":60}'
    )


json_texts = st.text(
    st.characters(exclude_characters="$", codec="utf-8", max_codepoint=0xFFFF), max_size=8
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | json_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(json_texts, json_values, min_size=1, max_size=4))
def test_whatever_keys_a_query_has_come_back_the_same_and_in_one_order(query):
    def text_of(value: dict) -> str:
        catalog = load_catalog(json.dumps({"metrics": {"m": {"query": value}}}))
        return catalog["m"].query or ""

    text = text_of(query)
    assert json.loads(text) == query
    assert text == text_of(dict(reversed(query.items())))


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
        ("metrics: {a: {minimum_deviation: -1}}", "minimum_deviation must be a number from 0 on"),
        ("metrics: {a: {minimum_relative_deviation: .nan}}", "minimum_relative_deviation must be"),
        ("metrics: {a: {query: }}", "metric 'a': query: expected text"),
        ("metrics: {a: {query: 5}}", "metric 'a': query: expected text, got 5"),
        ("metrics: {a: {query: {}}}", "metric 'a': query: expected text, got {}"),
        ("metrics: {a: {query: {1: x}}}", "metric 'a': query: key: expected text, got 1"),
        ("metrics: {a: {query: {x: [.nan]}}}", r"metric 'a': query: x\[0\]: expected .*nan"),
        ("metrics: {a: {query: {x: 2026-06-01}}}", "metric 'a': query: x: expected text, a number"),
        ("metrics: {a: {query: {x: '${b}'}}}", "metric 'a': query: x: no definition 'b'"),
        ("metrics: {a: {minimum: 2, maximum: 1}}", "minimum must be at most maximum, got 2 and 1"),
        ("metrics: {a: {minimum: .nan, maximum: 1}}", "minimum must be at most maximum, got nan"),
        ("metrics: {a: }", "metric 'a': it has no keys"),
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
