"""The query language and the catalog that is written in it."""

from pathlib import Path

import pytest
from cloudwatch_harness import pod_query

from features.metrics import Catalog, Metric
from pipelines.adapters.catalog import load_catalog
from pipelines.adapters.cloudwatch.query import read_query
from pipelines.errors import ConfigError

CATALOGS = Path(__file__).parents[3] / "config" / "metrics"


def catalog(name: str) -> Catalog:
    read = lambda other: (CATALOGS / f"{other}.yaml").read_text(encoding="utf-8")  # noqa: E731
    return load_catalog(read(name), where=name, read=read)


@pytest.mark.parametrize(("change", "says"), [
    ({"statistics": "Sum"}, "unknown field `statistics`"),
    ({"statistic": "sum"}, "statistic must be"),
    ({"statistic": "p"}, "statistic must be"),
    ({"scale": "2"}, r"\$.scale"),
    ({"combine": "median"}, r"\$.combine"),
    ({"labels": {"Pod": "name"}}, "'Pod', which is not in dimensions"),
    ({"where": {"ClusterName": "x"}}, "'ClusterName', which is not in dimensions"),
    ({"labels": {"PodName": "pod"}}, "got 'pod'"),
    ({"labels": {"Namespace": "namespace"}}, "label `name`"),
    ({"parse": {"PodName": "("}}, "parse of PodName"),
    ({"inputs": {"a": {"metric": "m", "statistic": "Sum"}}}, "either metric"),
    ({"metric": ""}, "either metric"),
    ({"expression": "a"}, "go together"),
    ({"names_from": {"namespace": "N", "metric": "m", "labels": {}, "length": -1}}, "length"),
])  # fmt: skip
def test_a_wrong_query_is_refused_by_metric_and_field(change: dict, says: str):
    with pytest.raises(ConfigError, match=f"metric 'cpu': query: .*{says}"):
        read_query(Metric("cpu", query=pod_query("m", **change)))


@pytest.mark.parametrize(("inputs", "expression", "says"), [
    ({"A": {}}, "A", "'A' must have"),
    ({"a": {}, "b": {}}, "a", "'b' is not used"),
    ({"a": {"combine": "last"}}, "a", "'last'"),
    ({"a": {"missing": 0}}, "a", "`missing`"),
    ({"a": {"missing": 0}, "b": {"missing": 0}, "c": {}}, "a + b + c", "`missing`"),
    ({"a": {"metrik": "m"}}, "a", r"unknown field `metrik` - at `\$.inputs"),
])  # fmt: skip
def test_a_wrong_expression_is_refused_by_input(inputs: dict, expression: str, says: str):
    whole = {name: {"metric": "m", "statistic": "Sum"} | one for name, one in inputs.items()}
    query = pod_query("", statistic="", inputs=whole, expression=expression)
    with pytest.raises(ConfigError, match=says):
        read_query(Metric("cpu", query=query))


@pytest.mark.parametrize("text", ["sum(rate(x[5m]))", "[]", "{", '{"namespace": "N"}'])
def test_what_is_no_query_of_cloudwatch_is_refused(text: str):
    with pytest.raises(ConfigError, match="metric 'cpu': query"):
        read_query(Metric("cpu", query=text))


@pytest.mark.parametrize("statistic", ["Average", "p99", "p99.9", "tm99", "IQM", "TM(10%:90%)"])
def test_statistics_are_cloudwatchs(statistic: str):
    query = read_query(Metric("cpu", query=pod_query("m", statistic=statistic)))
    assert query.inputs["metric"].statistic == statistic


def test_every_query_of_the_catalog_can_be_read_and_says_whose_it_is():
    with_query = [m for m in catalog("cloudwatch").metrics.values() if m.query]
    assert len(with_query) >= 20
    for metric in with_query:
        query = read_query(metric)
        names = frozenset(query.constants).union(*(s.label_names for s in query.inputs.values()))
        assert names | {"cluster"} == {"cluster", "namespace", "kind", "name"}, metric.name
        assert metric.minimum in (0, 1)


def test_the_catalog_extends_the_base_and_leaves_nothing_of_it_out():
    ours, base = catalog("cloudwatch"), catalog("base")
    for name in base.metrics:
        assert without_query(ours.metrics[name]) == without_query(base.metrics[name])


def without_query(metric: Metric) -> tuple:
    return (metric.unit, metric.role, metric.aggregate, metric.direction, metric.limit)


@pytest.mark.parametrize(("group", "parts"), [
    ("targetgroup/k8s-shop-checkout-0123456789/abcdef0123456789", ("shop", "checkout")),
    ("targetgroup/k8s-payments-cartserv-abcdef0123/1", ("payments", "cartserv")),
    ("targetgroup/my-own-group/0123456789abcdef", None),
    ("targetgroup/k8s-shop-checkout-0123456789", None),
])  # fmt: skip
def test_target_groups_of_the_load_balancer_controller_are_known(group: str, parts: tuple | None):
    metric = catalog("cloudwatch").metrics["requests_per_second"]
    match = read_query(metric).inputs["metric"].parse["TargetGroup"].fullmatch(group)
    assert (match and (match["namespace"], match["name"])) == parts
