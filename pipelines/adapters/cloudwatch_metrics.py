"""CloudWatch's ``PutMetricData``: a few numbers, since each metric costs money by the month.

A family with many series is summed up to the dimensions that are wanted: one number a combination,
its sum, largest or smallest. botocore retries; what CloudWatch still refuses is counted.

Source: Amazon CloudWatch API Reference, "PutMetricData" and "Dimension": 1,000 metrics and 1 MB a
request, values finite and within ±2^360, dimension values ASCII of at most 1,024 characters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from pipelines.adapters.label_text import fitted
from pipelines.adapters.remote_write_wire import Family
from pipelines.adapters.source import shorten

__all__ = ["MetricsClient", "Put", "PutParams", "put_metrics", "summed_up"]

Total = Literal["sum", "max", "min"]
_LARGEST = 2.0**360
_LONGEST = 1024
_DATUM_BYTES = 400
"""What a datum takes on the wire besides its text, generously."""


class MetricsClient(Protocol):
    """What we use of boto3's ``client("cloudwatch")``."""

    def put_metric_data(self, **request: Any) -> Mapping[str, Any]:
        """Up to 1,000 metrics."""
        ...


@dataclass(frozen=True, slots=True)
class PutParams:
    """How metrics are cut into requests: CloudWatch's own bounds, or less."""

    metrics_per_request: int = 1000
    bytes_per_request: int = 1_000_000

    def __post_init__(self) -> None:
        """Refuse what CloudWatch would refuse."""
        for key, low, high in (
            ("metrics_per_request", 1, 1000),
            ("bytes_per_request", 10_000, 1_048_576),
        ):
            if not low <= getattr(self, key) <= high:
                got = getattr(self, key)
                raise ValueError(f"{key} must be from {low} to {high}, got {got}")


@dataclass(frozen=True, slots=True)
class Put:
    """What became of the metrics."""

    taken: int
    requests: int
    errors: tuple[str, ...] = ()


def summed_up(family: Family, dimensions: Iterable[str], total: Total) -> pd.DataFrame:
    """One row a combination of the wanted labels that the family has, and ``value``.

    What CloudWatch would refuse, not finite or too large, is left out before.
    """
    values = np.asarray(family.values, dtype=np.float64)
    ok = np.isfinite(values) & (np.abs(values) < _LARGEST)
    by = [d for d in dimensions if d in family.labels.columns]
    rows = family.labels.loc[ok, by].astype("str").assign(value=values[ok])
    if by:
        return rows.groupby(by, sort=True)["value"].agg(total).reset_index()
    return pd.DataFrame({"value": [rows["value"].agg(total)]}) if len(rows) else rows


def put_metrics(
    client: MetricsClient,
    tables: Mapping[str, pd.DataFrame],
    *,
    namespace: str,
    now: pd.Timestamp,
    params: PutParams,
) -> Put:
    """Send name → ``summed_up`` rows, all stamped ``now``."""
    from botocore.exceptions import BotoCoreError, ClientError

    data = [d for name, rows in tables.items() for d in _data(name, rows, now)]
    taken, requests, refused = 0, 0, Counter[str]()
    for batch in _batches(data, params):
        try:
            requests += 1
            client.put_metric_data(Namespace=namespace, MetricData=batch)
            taken += len(batch)
        except (ClientError, BotoCoreError) as error:
            refused[_why(error)] += len(batch)
    errors = tuple(f"{n} of {len(data)} metrics not taken: {why}" for why, n in refused.items())
    return Put(taken, requests, errors)


def _data(name: str, rows: pd.DataFrame, now: pd.Timestamp) -> Iterator[dict[str, Any]]:
    dimensions = [str(c) for c in rows.columns if c != "value"]
    for row in rows.to_dict("records"):
        told = [(d, fitted(str(row[d]), _LONGEST, ascii_only=True)) for d in dimensions]
        yield {
            "MetricName": name,
            # a value of blanks alone is refused, and stands for no label
            "Dimensions": [{"Name": d, "Value": v} for d, v in told if v.strip()],
            "Timestamp": now.to_pydatetime(),
            "Value": float(row["value"]),
        }


def _batches(data: Sequence[dict[str, Any]], params: PutParams) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for datum in data:
        text = sum(len(d["Name"]) + 3 * len(d["Value"]) for d in datum["Dimensions"])
        own = _DATUM_BYTES + text  # of a value each character may have to be escaped
        if batch and (len(batch) >= params.metrics_per_request
                      or size + own > params.bytes_per_request):  # fmt: skip
            yield batch
            batch, size = [], 0
        batch.append(datum)
        size += own
    if batch:
        yield batch


def _why(error: Exception) -> str:
    """CloudWatch's own words, and the way out where that is plain."""
    response: Mapping[str, Any] = getattr(error, "response", {})
    code = str(response.get("Error", {}).get("Code", ""))
    hint = "; allow cloudwatch:PutMetricData in its IAM policy" if "AccessDenied" in code else ""
    return f"CloudWatch: {shorten(str(error), 200)}{hint}"
