"""What a forecast's capacity needs beside samples and forecasts: autoscalers and start times.

They are read once a run and laid aside for its shards, so that a cluster is asked once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field

import pandas as pd
from pydantic import TypeAdapter

from models.hpa_demand import wanted_metrics
from models.hpa_manifest import Autoscalers
from models.hpa_spec import HpaSpec
from pipelines.hpa_specs import KnownSpecs, Opener, match_specs, open_cluster, read_autoscalers
from pipelines.lead_times import cluster_starts, measured_node_starts
from pipelines.run import Run
from pipelines.staging import aside

__all__ = ["CapacityFacts", "facts_aside", "gather_facts"]

_SPECS: TypeAdapter[dict[str, HpaSpec]] = TypeAdapter(dict[str, HpaSpec])
_FILE, _STARTS = "capacity-facts.json", "start-times.parquet"


@dataclass(frozen=True, slots=True)
class CapacityFacts:
    """What is known of autoscalers and starts.

    Attributes
    ----------
    autoscalers : by ``namespace/kind/name``
    cluster : whose they are; empty for any
    node_start_s : cluster → node launch, by its metrics
    starts : frame of ``models.lead_times.start_times``, or nothing
    """

    autoscalers: Autoscalers = field(default_factory=lambda: Autoscalers({}, {}))
    cluster: str = ""
    node_start_s: Mapping[str, float] = field(default_factory=dict[str, float])
    starts: pd.DataFrame | None = None

    def of(self, workloads: Collection[str]) -> KnownSpecs:
        """The autoscalers of the given workloads."""
        return match_specs(self.autoscalers, workloads, self.cluster)

    def metrics(self, run: Run) -> frozenset[str]:
        """The metrics whose forecasts an autoscaler may ask for."""
        specs = {k: s.metrics for k, s in self.autoscalers.specs.items()}
        return wanted_metrics(specs, run.settings.prescale.hpa_metrics)


def gather_facts(run: Run, *, opener: Opener = open_cluster) -> tuple[str, ...]:
    """Read everything and lay it aside, in the folder of the running forecast; gives the lines that
    a person should read.

    Raises
    ------
    ConfigError
        ``prescale.hpa_file`` cannot be read.
    """
    found, cluster, notes = read_autoscalers(run.settings, opener=opener)
    starts, more = cluster_starts(run, opener=opener)
    told = {
        "specs": {k: asdict(s) for k, s in found.specs.items()},
        "refused": dict(found.refused),
        "cluster": cluster,
        "node_start_s": measured_node_starts(run),
    }
    folder = aside(run, "forecast")
    (folder / _FILE).write_text(json.dumps(told), encoding="utf-8")
    if starts is not None:
        starts.to_parquet(folder / _STARTS)
    return (*notes, *more)


def facts_aside(run: Run) -> CapacityFacts:
    """What ``gather_facts`` laid aside; nothing where it did not."""
    folder = aside(run, "forecast")
    if not (folder / _FILE).exists():
        return CapacityFacts()
    told = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    has_starts = (folder / _STARTS).exists()
    return CapacityFacts(
        Autoscalers(_SPECS.validate_python(told["specs"]), told["refused"]),
        told["cluster"],
        told["node_start_s"],
        pd.read_parquet(folder / _STARTS) if has_starts else None,
    )
