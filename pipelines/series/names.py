"""Every published name: what it says, which labels it has, how it is summed up. Written once; the
table of docs/publishing.md is printed from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.series.gauge import WORKLOAD_LABELS, Gauge

__all__ = ["NAMES", "Name", "gauge", "names_table"]

Total = Literal["sum", "max", "min"]
_W = WORKLOAD_LABELS
_VALUE = ("scope", "name", "unit")


@dataclass(frozen=True, slots=True)
class Name:
    """One family.

    Attributes
    ----------
    name, help, labels : as published
    total : what one number for many of its series is: CloudWatch is sent that
    fewer : the knobs that make it fewer series, if any do
    """

    name: str
    help: str
    labels: tuple[str, ...]
    total: Total = "max"
    fewer: tuple[str, ...] = ()

    @property
    def apart(self) -> tuple[str, ...]:
        """Labels over which one number would mean nothing: cores and bytes have no sum, and a
        figure of all clusters is not one of its own parts."""
        if self.labels == _VALUE:
            return _VALUE
        never = _APART if self.total == "sum" else _APART - {"metric"}
        return tuple(label for label in self.labels if label in never)


_APART = frozenset({"metric", "quantile", "horizon", "unit", "state"})
_METRICS = "publish.metrics"
_HORIZONS = "publish.forecast_horizons"
_QUANTILES = "publish.quantiles"

_ALL = (
    Name(
        "foretide_anomaly_score",
        "How anomalous a metric is: below 1 is normal, above 1 is an anomaly.",
        (*_W, "metric", "detector"),
        fewer=(_METRICS,),
    ),
    Name(
        "foretide_actual",
        "What was measured last, in the metric's unit.",
        (*_W, "metric"),
        "sum",
        (_METRICS,),
    ),
    Name(
        "foretide_forecast",
        "A quantile of a metric, forecast for this long ahead, in the metric's unit.",
        (*_W, "metric", "quantile", "horizon"),
        "sum",
        (_HORIZONS, _QUANTILES, _METRICS),
    ),
    Name(
        "foretide_required_replicas",
        "Pods that must be there this long ahead, so that they are ready a lead time later.",
        (*_W, "horizon"),
        "sum",
        (_HORIZONS,),
    ),
    Name("foretide_floor_replicas", "The floor that the newest plan has now.", _W, "sum"),
    Name(
        "foretide_demand_replicas",
        "Pods that the autoscaler alone would have now, at the median forecast.",
        _W,
        "sum",
    ),
    Name(
        "foretide_time_to_limit_seconds",
        "Time until a leak reaches its limit; only while it is a leak.",
        (*_W, "metric", "quantile"),
        "min",
        (_METRICS,),
    ),
    Name(
        "foretide_incidents",
        "Open incidents, each counted once, where its likeliest cause is.",
        ("cluster", "namespace", "severity"),
        "sum",
    ),
    Name(
        "foretide_incident_score",
        "Score of an open incident, at its likeliest cause.",
        (*_W, "incident"),
        fewer=("publish.incidents_max",),
    ),
    Name(
        "foretide_forecast_error_ratio",
        "WAPE of the newest evaluation: absolute error as a share of what came.",
        (*_W, "metric"),
        fewer=(_METRICS,),
    ),
    Name(
        "foretide_valid_until_timestamp_seconds",
        "Until when the newest rows of a table may be used, Unix time.",
        ("table",),
        "min",
    ),
    Name(
        "foretide_run_last_success_timestamp_seconds",
        "Clock of a flow's newest successful run, Unix time.",
        ("flow",),
        "min",
    ),
    Name("foretide_run_last_timestamp_seconds", "Clock of a flow's newest run, Unix time.",
         ("flow",), "min"),
    Name("foretide_run_duration_seconds", "How long a flow's newest run took.", ("flow",)),
    Name("foretide_run_failed", "1 where a flow's newest run failed, else 0.", ("flow",)),
    Name(
        "foretide_run_units",
        "Units of a flow's newest successful run: done, skipped or failed.",
        ("flow", "unit", "state"),
        "sum",
    ),
    Name("foretide_run_skipped", "Units that a flow's newest successful run skipped, by reason.",
         ("flow", "reason"), "sum"),
    Name("foretide_ingest_cost_usd", "What the newest ingest cost at the configured prices.", ()),
    Name("foretide_ingest_samples", "Samples that the newest ingest pulled.", ()),
    Name("foretide_model_age_seconds", "How long ago the live version of a family ended learning.",
         ("family",)),
    Name("foretide_gate_failures", "How many a gate did not let through.", ("gate",), "sum"),
    Name("foretide_gate_judged", "How many a gate has judged.", ("gate",), "sum"),
    Name("foretide_held_floors", "Floors that are held in the cluster.", ()),
    Name("foretide_held_floors_overdue", "Floors that are held past their end.", ()),
    Name("foretide_rollbacks", "Floors that were rolled back in the last day.", ()),
    Name("foretide_series_published", "Series that the newest publish sent.", ()),
    Name("foretide_series_refused", "Series that were not taken in the newest publish.", ()),
    Name("foretide_value", "A figure of the newest weekly value report.", _VALUE),
    Name("foretide_value_lower", "The lower end of the figure's interval.", _VALUE),
    Name("foretide_value_upper", "The upper end of the figure's interval.", _VALUE),
)  # fmt: skip

NAMES = {n.name: n for n in _ALL}


def gauge(name: str, labels: pd.DataFrame, values: NDArray[np.float64]) -> Gauge:
    """A family with the help and the order of labels that are written here.

    Raises
    ------
    ValueError
        The labels are others than the name has.
    """
    entry = NAMES[name]
    if set(labels.columns) != set(entry.labels):
        raise ValueError(f"{name}: expected labels {entry.labels}, got {tuple(labels.columns)}")
    return Gauge(name, entry.help, labels[list(entry.labels)], values)


def names_table(names: Sequence[Name] = _ALL) -> str:
    """The table of the documentation, in Markdown."""
    lines = ["| name | labels | says | in CloudWatch |", "|---|---|---|---|"]
    for n in names:
        labels = "workload" if n.labels == _W else ", ".join(_short(n.labels)) or "–"
        lines.append(f"| `{n.name}` | {labels} | {n.help} | {n.total} |")
    return "\n".join(lines)


def _short(labels: tuple[str, ...]) -> list[str]:
    """The four labels of a workload as one word."""
    if labels[: len(_W)] != _W:
        return list(labels)
    return ["workload", *labels[len(_W) :]]
