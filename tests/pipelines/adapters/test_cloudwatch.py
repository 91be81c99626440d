"""What moto does not do: pages, math, percentiles, throttling, partial answers, age, accounts."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from cloudwatch_fake import FakeCloudWatch, refusal
from cloudwatch_harness import pod_query
from hypothesis import given, settings
from hypothesis import strategies as st

from features.metrics import Metric
from pipelines.adapters.catalog import load_catalog
from pipelines.adapters.cloudwatch import CloudWatchParams, CloudWatchSource, client_config
from pipelines.adapters.source import Chunk, FetchReport, Spec, Window
from pipelines.errors import AccessDenied, ConfigError, QueryFailed, SourceUnreachable

DAY_MS, HOUR_MS, MINUTE_MS = 86_400_000, 3_600_000, 60_000
NOW_MS = pd.Timestamp("2026-06-30T10:00Z").value // 10**6
STEP_MS = 300_000
START_MS = NOW_MS - 2 * DAY_MS
WINDOW = Window(START_MS, NOW_MS, STEP_MS)
QUICK = CloudWatchParams(attempts=3, retry_wait_s=0, retry_wait_max_s=0)
CHECKOUT = {"Namespace": "shop", "PodName": "checkout"}
CART = {"Namespace": "pay", "PodName": "cart"}


def fake(**more: Any) -> FakeCloudWatch:
    return FakeCloudWatch(NOW_MS, **more)


def source(client: Any, **more: Any) -> CloudWatchSource:
    settings_ = {"cluster": "prod", "params": QUICK, "now": lambda: NOW_MS / 1000} | more
    return CloudWatchSource(client, **settings_)


def spec(name: str = "cpu", select: dict | None = None, **query: Any) -> Spec:
    return Spec(Metric("value", query=pod_query(name, **query)), select or {})


def expression(inputs: dict[str, dict], text: str, **more: Any) -> Spec:
    with_sum = {name: {"statistic": "Sum"} | one for name, one in inputs.items()}
    query = {"statistic": "", "inputs": with_sum, "expression": text}
    return Spec(Metric("value", query=pod_query("", **(query | more))))


def every_minute(hours: float = 48) -> np.ndarray:
    return np.arange(NOW_MS - round(hours * HOUR_MS), NOW_MS, MINUTE_MS)


def pulled(chunks: list[Chunk]) -> dict[str, pd.Series]:
    frame = pa.concat_tables([c.samples for c in chunks]).to_pandas()
    ms = frame["ts"].dt.as_unit("ms").astype("int64")
    return {
        str(name): pd.Series(part["value"].to_numpy(), ms[part.index])
        for name, part in frame.groupby("name", observed=True)
    }


def total(chunks: list[Chunk]) -> FetchReport:
    return sum((c.report for c in chunks), FetchReport())


def test_a_listing_of_many_pages_is_read_to_its_end_and_counted():
    client = fake(page=7)
    for number in range(40):
        client.put("cpu", {"Namespace": "shop", "PodName": f"w{number}"}, [START_MS], number)
    estimate = source(client).estimate(spec(), WINDOW)
    assert (estimate.series, estimate.list_requests, len(client.lists)) == (40, 6, 6)
    assert estimate.report.list_requests == 6
    assert not client.asked


def test_a_listing_is_used_again_until_it_is_too_old():
    client, clock = fake(), [NOW_MS / 1000]
    client.put("cpu", CHECKOUT, every_minute(), 1)
    one = source(client, now=lambda: clock[0])
    one.estimate(spec(), WINDOW)
    report = total(list(one.fetch(spec(), WINDOW)))
    assert (report.list_requests, len(client.lists)) == (0, 1)
    clock[0] += 600
    assert total(list(one.fetch(spec(), WINDOW))).list_requests == 1


@pytest.mark.parametrize("descending", [False, True])
def test_an_answer_of_many_pages_is_put_together_whatever_its_order(descending: bool):
    client = fake(datapoints_a_page=100, descending=descending)
    ts = np.arange(START_MS, NOW_MS, STEP_MS)
    client.put("cpu", CHECKOUT, ts, np.arange(len(ts)))
    client.put("cpu", CART, ts, -np.arange(len(ts)))
    chunks = list(source(client).fetch(spec(), WINDOW))
    got = pulled(chunks)
    assert got["checkout"].index.tolist() == ts.tolist()
    assert got["checkout"].tolist() == list(range(len(ts)))
    assert got["cart"].tolist() == [-i for i in range(len(ts))]
    report = total(chunks)
    assert (report.samples, report.partial, report.out_of_order) == (2 * len(ts), 0, 0)
    assert report.queries == len(client.asked) + len(client.lists)
    assert report.metrics_requested == 2 * len(client.asked)


def test_percentiles_are_asked_for_as_they_are():
    client = fake()
    ts = np.repeat(np.arange(START_MS, NOW_MS, STEP_MS), 100)
    client.put("latency", CHECKOUT, ts, np.tile(np.arange(100.0), len(ts) // 100))
    got = pulled(list(source(client).fetch(spec("latency", statistic="p99"), WINDOW)))
    assert got["checkout"].tolist() == pytest.approx([98.01] * (len(ts) // 100))


@pytest.mark.parametrize("there", [[], [START_MS + STEP_MS], "never listed"])
def test_errors_are_zero_where_there_are_none(there: Any):
    client = fake()
    ts = np.arange(START_MS, NOW_MS, STEP_MS)
    client.put("requests", CHECKOUT, ts, 10)
    if not isinstance(there, str):
        client.put("errors", CHECKOUT, there, 5)
    inputs = {"r": {"metric": "requests"}, "e": {"metric": "errors", "missing": 0}}
    got = pulled(list(source(client).fetch(expression(inputs, "e / r"), WINDOW)))["checkout"]
    assert got.index.tolist() == ts.tolist()
    assert got[got != 0].to_dict() == ({} if isinstance(there, str) else dict.fromkeys(there, 0.5))


def test_inputs_meet_by_their_labels_and_one_of_the_cluster_serves_all():
    client = fake()
    for dimensions, factor in ((CHECKOUT, 2.0), (CART, 3.0)):
        client.put("used", dimensions, every_minute(), factor)
    client.put("capacity", {"ClusterName": "prod"}, every_minute(), 8)
    inputs = {
        "used": {"metric": "used", "statistic": "Average"},
        "all": {"metric": "capacity", "statistic": "Average", "dimensions": ["ClusterName"],
                "labels": {}},
    }  # fmt: skip
    chunks = list(source(client).fetch(expression(inputs, "used / all"), WINDOW))
    got = pulled(chunks)
    assert {name: set(values) for name, values in got.items()} == {
        "checkout": {0.25}, "cart": {0.375},
    }  # fmt: skip
    # one request, the shared input in it once
    assert total(chunks).metrics_requested == 3
    selected = expression(inputs, "used / all")
    only = Spec(selected.metric, {"namespace": ("pay",)})
    assert list(pulled(list(source(client).fetch(only, WINDOW)))) == ["cart"]


def test_a_workload_that_lacks_an_input_is_said():
    client = fake()
    client.put("used", CHECKOUT, every_minute(), 1)
    client.put("used", CART, every_minute(), 1)
    client.put("limit", CART, every_minute(), 1)
    inputs = {"used": {"metric": "used"}, "limit": {"metric": "limit"}}
    chunks = list(source(client).fetch(expression(inputs, "used / limit"), WINDOW))
    assert list(pulled(chunks)) == ["cart"]
    assert "1 workloads have no limit" in total(chunks).warnings[0]


@pytest.mark.parametrize(("how", "both"), [("sum", 12), ("max", 10), ("min", 2), ("mean", 6)])
def test_several_metrics_of_a_workload_become_one(how: str, both: float):
    client = fake()
    dimensions = ["Group", "Namespace", "PodName"]
    first = np.arange(START_MS, NOW_MS, STEP_MS)
    client.put("n", CHECKOUT | {"Group": "a"}, first, 10)
    client.put("n", CHECKOUT | {"Group": "b"}, first[1:], 2)
    plain = spec("n", dimensions=dimensions, combine=how)
    chunks = list(source(client).fetch(plain, WINDOW))
    got = pulled(chunks)["checkout"]
    assert (got.iloc[0], set(got.iloc[1:])) == (10, {both})
    assert (total(chunks).duplicates, total(chunks).series) == (0, 1)
    math = expression({"n": {"metric": "n", "combine": how}}, "n * 1", dimensions=dimensions)
    assert pulled(list(source(client).fetch(math, WINDOW)))["checkout"].tolist() == got.tolist()


def test_a_metric_with_other_dimensions_is_another_metric():
    client = fake()
    client.put("cpu", CHECKOUT, every_minute(), 1)
    client.put("cpu", CHECKOUT | {"FullPodName": "checkout-1"}, every_minute(), 100)
    client.put("cpu", {"Namespace": "shop"}, every_minute(), 1000)
    got = pulled(list(source(client).fetch(spec(), WINDOW)))
    assert set(got["checkout"]) == {1}


def test_totals_of_one_sample_a_minute_and_pod():
    client = fake()
    for pods in range(3):  # three pods of one controller write into one metric
        client.put("rx", CHECKOUT, every_minute(), 1000 * (pods + 1))
    rate = spec("rx", statistic="Sum", per_second=True, scale=60)
    assert set(pulled(list(source(client).fetch(rate, WINDOW)))["checkout"]) == {6000}
    count = spec("rx", statistic="SampleCount", per_second=True, scale=60)
    assert set(pulled(list(source(client).fetch(count, WINDOW)))["checkout"]) == {3}


def test_target_groups_get_the_full_name_where_only_one_fits():
    client = fake()
    names = {"namespace": "CI", "metric": "cpu", "length": 8,
             "labels": {"Namespace": "namespace", "PodName": "name"}}  # fmt: skip
    full = [("pay-ments-eu", "cart-service"), ("shop", "checkout"), ("shop", "checkout-api"),
            ("shop", "web")]  # fmt: skip
    for namespace, name in full:
        client.put("cpu", {"Namespace": namespace, "PodName": name}, [START_MS], 1, namespace="CI")
    for group in ("payments-cartserv", "shop-checkout",
                  "shop-web", "else-where"):  # fmt: skip
        client.put("n", {"TG": f"k8s-{group}-0123456789"}, every_minute(), 1)
    asked = spec("n", dimensions=["TG"], labels={}, names_from=names,
                 parse={"TG": r"k8s-(?P<namespace>\w+)-(?P<name>\w+)-\w{10}"})  # fmt: skip
    chunks = list(source(client).fetch(asked, WINDOW))
    assert set(pulled(chunks)) == {"cart-service", "web"}
    assert chunks[0].samples["namespace"].unique().to_pylist() == ["pay-ments-eu", "shop"]
    report = total(chunks)
    assert report.unlabelled == 2
    assert "2 metrics name no workload" in report.warnings[0]


def test_whole_names_keep_out_who_is_no_workload():
    client = fake()
    client.put("cpu", CHECKOUT, every_minute(), 1)
    client.put("replicas", CHECKOUT, every_minute(), 3)
    client.put("replicas", CHECKOUT | {"PodName": "checkout-6d5f"}, every_minute(), 3)
    names = {"namespace": "ContainerInsights", "metric": "cpu",
             "labels": {"Namespace": "namespace", "PodName": "name"}}  # fmt: skip
    chunks = list(source(client).fetch(spec("replicas", names_from=names), WINDOW))
    assert list(pulled(chunks)) == ["checkout"]
    assert total(chunks).warnings == ()


def test_a_selection_goes_to_the_listing_as_a_value_of_its_own():
    client = fake()
    client.put("cpu", CHECKOUT, every_minute(), 1)
    client.put("cpu", CART, every_minute(), 1)
    chunks = list(source(client).fetch(spec(select={"namespace": ("pay",)}), WINDOW))
    assert list(pulled(chunks)) == ["cart"]
    assert {"Name": "Namespace", "Value": "pay"} in client.lists[0]["Dimensions"]
    # a value that no dimension can have is not sent: CloudWatch would refuse the request
    impossible = spec(select={"namespace": ("", "é", "a\nb", "x" * 1025)})
    assert not pulled(list(source(client).fetch(impossible, WINDOW)))
    assert len(client.lists) == 1
    elsewhere = spec(select={"cluster": ("staging",)})
    assert not pulled(list(source(client).fetch(elsewhere, WINDOW)))
    assert len(pulled(list(source(client).fetch(spec(select={"cluster": ("prod",)}), WINDOW)))) == 2


def test_linked_accounts_are_listed_and_asked_by_their_ids():
    client = fake()
    client.put("cpu", CHECKOUT, every_minute(), 1, account="111111111111")
    client.put("cpu", CART, every_minute(), 2, account="222222222222")
    client.put("cpu", {"Namespace": "x", "PodName": "third"}, every_minute(), 3,
               account="333333333333")  # fmt: skip
    assert not pulled(list(source(client).fetch(spec(), WINDOW)))
    linked = CloudWatchParams(include_linked_accounts=True)
    everything = pulled(list(source(client, params=linked).fetch(spec(), WINDOW)))
    assert {name: set(v) for name, v in everything.items()} == {
        "checkout": {1}, "cart": {2}, "third": {3},
    }  # fmt: skip
    two = CloudWatchParams(account_ids=("111111111111", "222222222222"))
    client.asked.clear()
    assert set(pulled(list(source(client, params=two).fetch(spec(), WINDOW)))) == {
        "checkout", "cart",
    }  # fmt: skip
    asked = {q["AccountId"] for request in client.asked for q in request["MetricDataQueries"]}
    assert asked == {"111111111111", "222222222222"}


@pytest.mark.parametrize(("step_s", "kept", "coarser_s"), [
    (60, 15 * DAY_MS, 300),
    (300, 63 * DAY_MS, 3600),
    (10, 3 * HOUR_MS, 60),
])  # fmt: skip
def test_old_samples_come_coarser_at_their_stamps_and_it_is_said_before(
    step_s: int, kept: int, coarser_s: int
):
    client = fake()
    step_ms, coarser_ms = step_s * 1000, coarser_s * 1000
    middle = (NOW_MS - kept) // HOUR_MS * HOUR_MS + HOUR_MS  # after the margin
    window = Window(middle - 4 * HOUR_MS, middle + HOUR_MS, step_ms)
    ts = np.arange(window.first_ms, window.end_ms, min(step_ms, 60_000))
    client.put("n", CHECKOUT, ts, 1)
    one = source(client)
    estimate = one.estimate(spec("n", statistic="Sum", per_second=True), window)
    assert any("coarser" in note and f"{coarser_s} s" in note for note in estimate.notes)
    chunks = list(one.fetch(spec("n", statistic="Sum", per_second=True), window))
    assert "coarser" in chunks[0].report.warnings[0]
    got, report = pulled(chunks)["checkout"], total(chunks)
    assert report.coarser == int((np.diff(got.index) == coarser_ms).sum()) > 0
    assert report.samples == estimate.samples == len(got)
    assert (report.off_grid, report.outside_window, report.duplicates) == (0, 0, 0)
    assert got.index.is_monotonic_increasing
    assert got.index[0] == window.first_ms
    # no second is lost, none is counted twice: the rate is what it was all the way
    assert got.tolist() == pytest.approx([1000 / min(step_ms, 60_000)] * len(got))
    # and a sum that nobody divides is its share of a step
    totals = pulled(list(one.fetch(spec("n", statistic="Sum"), window)))["checkout"]
    assert totals.tolist() == pytest.approx([step_ms / min(step_ms, 60_000)] * len(got))


def test_what_is_older_than_everything_kept_is_covered_empty_and_said():
    client = fake()
    client.put("cpu", CHECKOUT, [NOW_MS - 500 * DAY_MS], 1)
    window = Window(NOW_MS - 500 * DAY_MS, NOW_MS - 499 * DAY_MS, STEP_MS)
    chunks = list(source(client).fetch(spec(), window))
    assert [(c.window, len(c.samples)) for c in chunks] == [(window, 0)]
    assert not client.asked
    assert "not asked" in total(chunks).warnings[0]


def test_a_start_that_is_no_multiple_of_the_period_shifts_and_doubles_nothing():
    client = fake()
    ts = np.arange(NOW_MS - 70 * DAY_MS, NOW_MS - 69 * DAY_MS, STEP_MS)
    client.put("n", CHECKOUT, ts, 1)
    cuts = [ts[0], ts[0] + 7 * STEP_MS, ts[0] + 100 * STEP_MS, ts[-1] + STEP_MS]
    one = source(client)
    parts: list[int] = []
    for first, end in pairwise(cuts):
        chunks = list(one.fetch(spec("n"), Window(int(first), int(end), STEP_MS)))
        parts += pulled(chunks).get("checkout", pd.Series()).index.tolist()
    whole = pulled(list(one.fetch(spec("n"), Window(int(cuts[0]), int(cuts[-1]), STEP_MS))))
    assert parts == whole["checkout"].index.tolist() == list(range(ts[0], ts[-1], HOUR_MS))


def test_samples_outside_the_window_are_counted_and_dropped():
    client = fake()
    client.put("cpu", CHECKOUT, np.arange(START_MS, NOW_MS, STEP_MS), 1)

    def early(answer: dict[str, Any]) -> dict[str, Any]:
        result = answer["MetricDataResults"][0]
        result["Timestamps"].insert(0, result["Timestamps"][0] - pd.Timedelta("5min"))
        result["Values"].insert(0, 99.0)
        return answer

    client.script = [lambda answer: answer, early]
    chunks = list(source(client).fetch(spec(), WINDOW))
    assert total(chunks).outside_window == 1
    assert set(pulled(chunks)["checkout"]) == {1}


def change_status(status: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(answer: dict[str, Any]) -> dict[str, Any]:
        answer["MetricDataResults"][0]["StatusCode"] = status
        answer["MetricDataResults"][0]["Messages"] = [{"Code": "Odd", "Value": "a reason"}]
        return answer

    return change


@pytest.mark.parametrize("status", ["PartialData", "InternalError"])
def test_an_incomplete_result_is_kept_and_asked_for_again(status: str):
    client = fake(script=[lambda answer: answer, change_status(status)])
    client.put("cpu", CHECKOUT, every_minute(), 1)
    chunks = list(source(client).fetch(spec(), WINDOW))
    assert [c.complete for c in chunks] == [False]
    assert len(pulled(chunks)["checkout"]) == WINDOW.steps
    assert any(status in text for text in total(chunks).warnings)
    assert any("Odd: a reason" in text for text in total(chunks).warnings)


def test_a_forbidden_result_is_no_empty_one():
    client = fake(script=[lambda answer: answer, change_status("Forbidden")])
    client.put("cpu", CHECKOUT, every_minute(), 1)
    with pytest.raises(AccessDenied, match=r"role/reader.*cloudwatch:GetMetricData"):
        list(source(client, principal="role/reader").fetch(spec(), WINDOW))


@pytest.mark.parametrize("passing", [
    refusal("Throttling"),
    refusal("ThrottlingException", 429),
    refusal("InternalServiceFault", 500),
    refusal("Whatever", 503),
    EndpointConnectionError(endpoint_url="http://x"),
])  # fmt: skip
def test_a_passing_failure_is_overcome_and_counted(passing: Exception):
    client = fake(script=[passing, lambda answer: answer, passing, passing])
    client.put("cpu", CHECKOUT, every_minute(), 1)
    chunks = list(source(client).fetch(spec(), WINDOW))
    report = total(chunks)
    assert (report.retries, report.queries, report.samples) == (3, 2, WINDOW.steps)


@pytest.mark.parametrize(("failure", "kind", "says"), [
    (refusal("Throttling"), QueryFailed, r"Throttling.*3 attempts"),
    (EndpointConnectionError(endpoint_url="http://x"), SourceUnreachable, "no answer"),
    (refusal("AccessDenied", 403), AccessDenied, "role/reader may not do cloudwatch:ListMetrics"),
    (refusal("AccessDeniedException", 400), AccessDenied, "cloudwatch:ListMetrics"),
    (refusal("ExpiredToken", 403), AccessDenied, "does not accept role/reader"),
    (refusal("InvalidClientTokenId", 403), AccessDenied, "check the credentials"),
    (NoCredentialsError(), AccessDenied, "no AWS credentials"),
    (refusal("ValidationError", 400, "bad"), QueryFailed, "ValidationError: bad"),
])  # fmt: skip
def test_a_lasting_failure_is_told_apart(failure: Exception, kind: type[Exception], says: str):
    client = fake(script=[failure] * 9)
    with pytest.raises(kind, match=says):
        list(source(client, principal="role/reader").fetch(spec(), WINDOW))


def test_a_token_that_does_not_change_ends_in_an_error():
    client = fake()
    client.put("cpu", CHECKOUT, [START_MS], 1)
    client.script = [lambda answer: answer | {"NextToken": "0"}] * 3
    with pytest.raises(QueryFailed, match="same NextToken"):
        list(source(client).fetch(spec(), WINDOW))


def test_a_step_that_is_no_period_is_refused_before_anything_is_asked():
    client = fake()
    with pytest.raises(ConfigError, match="45 s"):
        source(client).fetch(spec(), Window(0, 45_000, 45_000))
    assert not client.lists


@settings(max_examples=25)
@given(
    series=st.integers(1, 6),
    hours=st.integers(1, 8),
    points=st.sampled_from([60, 500, 2_000_000]),
    pages=st.sampled_from([37, 100_800]),
    math=st.booleans(),
)
def test_the_estimate_is_what_is_billed_and_what_comes(
    series: int, hours: int, points: int, pages: int, math: bool
):
    client = fake(datapoints_a_page=pages)
    ts = np.arange(NOW_MS - hours * HOUR_MS, NOW_MS, STEP_MS)
    for number in range(series):
        client.put("a", {"Namespace": "n", "PodName": f"w{number}"}, ts, number)
        client.put("b", {"Namespace": "n", "PodName": f"w{number}"}, ts, 2)
    asked = expression({"a": {"metric": "a"}, "b": {"metric": "b"}}, "a / b") if math else spec("a")
    params = CloudWatchParams(max_points_per_chunk=points)
    window = Window(int(ts[0]), NOW_MS, STEP_MS)
    one = source(client, params=params)
    estimate = one.estimate(asked, window)
    chunks = list(one.fetch(asked, window))
    report = total(chunks)
    assert (estimate.series, estimate.samples) == (series, series * len(ts))
    assert (report.series, report.samples) == (series, series * len(ts))
    paged = len(client.asked) > estimate.queries
    assert report.metrics_requested >= estimate.metrics_requested
    assert paged or report.metrics_requested == estimate.metrics_requested
    billed = sum(
        sum("MetricStat" in query for query in request["MetricDataQueries"])
        for request in client.asked
    )
    assert report.metrics_requested == billed
    assert all(c.window.steps * series <= points or c.window.steps == 1 for c in chunks)


def test_the_catalog_gives_a_clusters_true_figures():
    """Two nodes of 4 cores; two pods that use 0.5 and 1.5 cores and may have 1 GiB of memory."""
    client, gib = fake(), 2.0**30
    ts = every_minute()
    pod = {"ClusterName": "eks", "Namespace": "shop", "PodName": "checkout"}
    group = {"TargetGroup": "targetgroup/k8s-shop-checkout-0123456789/0f", "LoadBalancer": "app/x"}
    pods = {
        "pod_cpu_utilization": (12.5, 37.5), "pod_cpu_request": (1000, 1000),
        "pod_cpu_reserved_capacity": (25, 25), "pod_cpu_limit": (2000, 2000),
        "pod_memory_utilization_over_pod_limit": (50, 75), "pod_memory_limit": (gib, gib),
        "pod_network_rx_bytes": (100, 200), "pod_status_pending": (0, 1),
        "pod_number_of_container_restarts": (0, 1),
    }  # fmt: skip
    for name, values in pods.items():
        for value in values:
            client.put(name, pod, ts, value)
            client.put(name, {"ClusterName": "eks"}, ts, value)
    client.put("replicas_desired", pod, ts, 3)
    client.put("replicas_desired", pod | {"PodName": "checkout-6d5f"}, ts, 3)
    client.put("cluster_node_count", {"ClusterName": "eks"}, ts, 2)
    for _ in range(2):
        client.put("node_cpu_limit", {"ClusterName": "eks"}, ts, 4000)
    for name, stamps, value in (
        ("RequestCount", ts, 60), ("HTTPCode_Target_5XX_Count", ts[::5], 15),
        ("TargetResponseTime", ts, 0.25),
    ):  # fmt: skip
        client.put(name, group, stamps, value, namespace="AWS/ApplicationELB")
    true = {
        "cpu_usage_cores": 2, "cpu_request_cores": 2, "cpu_limit_cores": 4, "replicas": 2,
        "memory_working_set_bytes": 0.75 * gib, "memory_limit_bytes": gib, "desired_replicas": 3,
        "network_receive_bytes_per_second": 300, "pending_pods": 1, "container_restarts": 5,
        "requests_per_second": 1, "error_ratio": 0.05, "latency_p99_seconds": 0.25,
        "nodes": 2, "node_capacity_cpu_cores": 8, "requested_cpu_cores": 2,
    }  # fmt: skip
    folder = Path(__file__).parents[3] / "config" / "metrics"
    read = lambda name: (folder / f"{name}.yaml").read_text(encoding="utf-8")  # noqa: E731
    catalog = load_catalog(read("cloudwatch"), read=read)
    for name, value in true.items():
        chunks = list(source(client).fetch(Spec(catalog[name]), WINDOW))
        table = pa.concat_tables([c.samples for c in chunks])
        whose = {tuple(str(row[p]) for p in ("cluster", "namespace", "kind", "name"))
                 for row in table.slice(0, 5).to_pylist()}  # fmt: skip
        cluster_wide = name.startswith(("node", "requested"))
        assert whose == {
            ("eks", "_cluster", "Cluster", "all") if cluster_wide
            else ("eks", "shop", "Deployment", "checkout")
        }  # fmt: skip
        assert set(np.round(table["value"].to_numpy(), 9)) == {value}, name
        assert len(table) == WINDOW.steps


@pytest.mark.parametrize(("key", "value"), [
    ("account_ids", ("12345",)), ("attempts", 0), ("max_points_per_chunk", 0),
    ("retention_margin_s", -1.0), ("list_reuse_s", float("inf")), ("retry_total_s", 0.0),
])  # fmt: skip
def test_wrong_parameters_are_refused_by_name(key: str, value: Any):
    with pytest.raises(ValueError, match=key):
        CloudWatchParams(**{key: value})


def test_the_clients_own_retries_slow_down_when_throttled():
    assert client_config().retries == {"mode": "adaptive", "max_attempts": 5}
