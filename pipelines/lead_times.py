"""Starts of pods and nodes, as the cluster and its metrics have seen them."""

from __future__ import annotations

from contextlib import closing

import pandas as pd

from models.lead_times import node_starts, start_times
from pipelines.errors import ClusterError, HistoryError
from pipelines.hpa_specs import Opener, open_cluster
from pipelines.run import Run

__all__ = ["cluster_starts", "measured_node_starts"]

NODE_START = "node_start_seconds"


def cluster_starts(
    run: Run, *, opener: Opener = open_cluster
) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """``models.lead_times.start_times`` of the configured cluster, workloads with its name in
    front; nothing where none is configured or it does not answer, and a line that says so."""
    settings = run.settings
    try:
        kube = opener(settings)
        if kube is None:
            return None, ()
        from pipelines.adapters.kube import NODE_CLAIM, POD

        with closing(kube):
            claims = list(kube.list(NODE_CLAIM)) if kube.serves(NODE_CLAIM) else []
            starts = start_times(kube.list(POD), claims)
    except ClusterError as error:
        return None, (f"  start times not read from the cluster ({error}); taken from metrics",)
    name = settings.cluster.name or settings.source.cluster
    return starts.assign(workload=f"{name}/" + starts["workload"]), ()


def measured_node_starts(run: Run) -> dict[str, float]:
    """Cluster → node launch in seconds, by the samples of the history."""
    try:
        samples = run.samples(run.history_start, run.as_of, {NODE_START})
    except HistoryError:
        return {}
    return node_starts(samples, run.settings.prescale.capacity)
