"""PutMetricData: against botocore's Stubber, which checks every request, and moto's server."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from botocore.stub import ANY, Stubber
from cloudwatch_harness import client as client_of
from cloudwatch_harness import serving

from pipelines.adapters.cloudwatch_metrics import PutParams, put_metrics, summed_up

NOW = pd.Timestamp("2026-06-08T12:00Z")


@dataclass(frozen=True)
class One:
    name: str
    help: str
    labels: pd.DataFrame
    values: np.ndarray


def family(n: int = 4) -> One:
    labels = pd.DataFrame(
        {"cluster": ["a", "b"] * (n // 2), "name": [f"w{i}" for i in range(n)]}, dtype="str"
    )
    return One("foretide_x", "h", labels, np.arange(float(n)))


def test_many_series_become_one_number_a_combination() -> None:
    total = summed_up(family(), ["cluster", "severity"], "sum").set_index("cluster")["value"]
    assert total.to_dict() == {"a": 2.0, "b": 4.0}
    assert summed_up(family(), ["cluster"], "max")["value"].tolist() == [2.0, 3.0]
    assert summed_up(family(), ["cluster"], "min")["value"].tolist() == [0.0, 1.0]
    assert summed_up(family(), [], "sum")["value"].tolist() == [6.0]


def test_what_cloudwatch_does_not_take_is_left_out() -> None:
    odd = One("foretide_x", "h", family(4).labels, np.array([np.nan, np.inf, 2.0**361, 1.0]))
    assert summed_up(odd, ["cluster"], "sum").to_dict("records") == [{"cluster": "b", "value": 1}]
    nothing = One("foretide_x", "h", family(2).labels, np.full(2, np.nan))
    assert summed_up(nothing, [], "sum").empty


def test_requests_are_cut_and_a_refusal_costs_one_of_them() -> None:
    rows = pd.DataFrame({"flow": [f"f{i}" for i in range(5)], "value": np.arange(5.0)})
    cloudwatch = client_of("http://127.0.0.1:9")
    with Stubber(cloudwatch) as stub:
        asked = {"Namespace": "Foretide", "MetricData": ANY}
        stub.add_response("put_metric_data", {}, asked)
        stub.add_client_error("put_metric_data", "AccessDenied", "may not", 403)
        stub.add_response("put_metric_data", {}, asked)
        put = put_metrics(cloudwatch, {"foretide_x": rows}, namespace="Foretide", now=NOW,
                          params=PutParams(metrics_per_request=2))  # fmt: skip
        stub.assert_no_pending_responses()
    assert (put.taken, put.requests) == (3, 3)
    (error,) = put.errors
    assert error.startswith("2 of 5 metrics not taken: CloudWatch: ")
    assert "allow cloudwatch:PutMetricData" in error


def test_requests_keep_to_their_size() -> None:
    long = pd.DataFrame({"reason": [f"{i}{'é' * 2000}" for i in range(40)], "value": 1.0})
    sizes: list[int] = []

    class Client:
        def put_metric_data(self, **request: object) -> dict[str, object]:
            sizes.append(len(str(request)))
            return {}

    params = PutParams(bytes_per_request=30_000)
    put = put_metrics(Client(), {"foretide_x": long}, namespace="F", now=NOW, params=params)
    assert put.taken == 40
    assert len(sizes) > 1
    assert max(sizes) <= 30_000


def test_a_real_server_shows_it() -> None:
    odd = ["plain", "ünï\n", "x" * 2000, "x" * 2001]
    rows = pd.DataFrame({"flow": odd, "value": [1.0, 2.0, 3.0, 4.0]})
    with serving() as there:
        cloudwatch = client_of(there.url)
        put = put_metrics(cloudwatch, {"foretide_run_failed": rows}, namespace="Foretide",
                          now=NOW, params=PutParams())  # fmt: skip
        found = cloudwatch.list_metrics(Namespace="Foretide")["Metrics"]
        one = cloudwatch.get_metric_statistics(
            Namespace="Foretide", MetricName="foretide_run_failed", Period=60,
            Dimensions=[{"Name": "flow", "Value": "plain"}], Statistics=["Maximum"],
            StartTime=NOW - pd.Timedelta("1min"), EndTime=NOW + pd.Timedelta("1min"),
        )["Datapoints"]  # fmt: skip
    assert (put.taken, put.requests, put.errors) == (4, 1, ())
    values = [m["Dimensions"][0]["Value"] for m in found]
    assert len(set(values)) == 4
    assert all(v.isascii() and v.isprintable() and len(v) <= 1024 for v in values)
    assert [p["Maximum"] for p in one] == [1.0]


@pytest.mark.parametrize("values", [{"metrics_per_request": 1001}, {"bytes_per_request": 2**21}])
def test_cloudwatchs_own_bounds_hold(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        PutParams(**values)
