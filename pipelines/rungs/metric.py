"""Required replicas as a Prometheus series, for a cluster that nobody may write to.

An HPA takes the largest of its metrics, so a series that asks for N replicas can only raise. Each
series comes with the moment until which it holds: the ready-made queries ask for that, so that a
file which nobody writes any more asks for nothing. They ask for series without a label ``horizon``:
`foretide publish` sends the same name with one, which is the need before the guardrails.

Source: Prometheus documentation, "Exposition formats"; KEDA documentation, "Prometheus" scaler;
prometheus-adapter documentation, "External metrics".
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from features.workloads import split_workload

__all__ = [
    "METRIC",
    "Required",
    "adapter_rule",
    "exposition",
    "hpa_metric",
    "keda_trigger",
    "metric_manifests",
    "required_query",
    "write_exposition",
]

METRIC = "foretide_required_replicas"
_UNTIL = METRIC + "_valid_until_seconds"
_LABELS = ("cluster", "namespace", "kind", "name")
_HELD = 'horizon=""'
"""A matcher for series without that label."""


@dataclass(frozen=True, slots=True)
class Required:
    """Replicas that a workload needs until ``until``."""

    workload: str
    replicas: int
    until: pd.Timestamp


def exposition(required: Sequence[Required], *, now: pd.Timestamp) -> str:
    """Text that both Prometheus' text format and OpenMetrics read, for a textfile collector or a
    push gateway; what has expired is left out."""
    live = sorted((r for r in required if r.until > now), key=lambda r: r.workload)
    lines = [
        f"# HELP {METRIC} Replicas that must be ready, by Foretide's plan.",
        f"# TYPE {METRIC} gauge",
        *(f"{METRIC}{_selector(r.workload)} {r.replicas}" for r in live),
        f"# HELP {_UNTIL} Until when they are required, Unix time.",
        f"# TYPE {_UNTIL} gauge",
        *(f"{_UNTIL}{_selector(r.workload)} {int(r.until.timestamp())}" for r in live),
        "# EOF",
    ]
    return "".join(line + "\n" for line in lines)


def write_exposition(path: str | Path, text: str) -> None:
    """Put a text in the place of a file, whole or not at all."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    # collectors read every *.prom of the folder: the unfinished file must not be one
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(place)


def required_query(workload: str) -> str:
    """PromQL: the replicas that a workload needs, nothing once that has expired."""
    labels = _selector(workload)
    held = labels.removesuffix("}") + "," + _HELD + "}"
    on = ", ".join(_LABELS)
    return f"max({METRIC}{held} and on ({on}) ({_UNTIL}{labels} > time()))"


def keda_trigger(workload: str, server: str) -> dict[str, Any]:
    """A trigger for a ScaledObject's ``spec.triggers``; an answer of nothing counts as 0."""
    return {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": server,
            "query": required_query(workload),
            "threshold": "1",
            "activationThreshold": "0",
            "ignoreNullValues": "true",
        },
    }


def hpa_metric(workload: str) -> dict[str, Any]:
    """An entry of an HPA's ``spec.metrics``; needs ``adapter_rule``."""
    return {
        "type": "External",
        "external": {
            "metric": {"name": METRIC, "selector": {"matchLabels": _labels(workload)}},
            "target": {"type": "AverageValue", "averageValue": "1"},
        },
    }


def adapter_rule() -> dict[str, Any]:
    """An entry of prometheus-adapter's ``externalRules``.

    What has expired is 0 there and not nothing: an HPA that misses one of its metrics does not
    scale down by the others.
    """
    on = ", ".join(_LABELS)
    query = (
        f"max(<<.Series>>{{{_HELD},<<.LabelMatchers>>}} and on ({on}) "
        f"({_UNTIL}{{<<.LabelMatchers>>}} > time())) or vector(0)"
    )
    return {
        "seriesQuery": METRIC,
        # the label namespace is the workload's, also where the metric is asked for from another
        "resources": {"namespaced": False},
        "metricsQuery": query,
    }


def metric_manifests(workloads: Mapping[str, str], *, server: str) -> str:
    """Ready-made pieces for workload → rung (``hpa``, ``keda``), as YAML documents."""
    documents: list[dict[str, Any]] = [{"externalRules": [adapter_rule()]}]
    for workload, rung in sorted(workloads.items()):
        piece = (
            {"triggers": [keda_trigger(workload, server)]}
            if rung == "keda"
            else {"metrics": [hpa_metric(workload)]}
        )
        documents.append({"workload": workload, "add_to_spec": piece})
    return yaml.safe_dump_all(documents, sort_keys=False, width=10**6)


def _labels(workload: str) -> dict[str, str]:
    return dict(zip(_LABELS, split_workload(workload), strict=True))


def _selector(workload: str) -> str:
    """The labels of a series; PromQL's strings and the text format escape alike."""
    pairs = (f'{key}="{_escaped(value)}"' for key, value in _labels(workload).items())
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    # a lone surrogate has no UTF-8
    plain = value.encode("utf-8", "replace").decode()
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
