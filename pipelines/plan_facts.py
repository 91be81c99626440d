"""What a plan is checked against: autoscalers, and what the clusters can hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import pandas as pd

from features.panel import Panel
from features.workloads import split_workload
from models.actions import Floor, Shortfall
from models.cluster_facts import ClusterFacts
from models.headroom import shortfalls
from models.hpa_spec import HpaSpec
from pipelines.errors import ClusterError
from pipelines.hpa_specs import Opener, known_specs, open_cluster
from pipelines.run import Run
from pipelines.settings import Settings

__all__ = ["PlanFacts", "no_cluster", "plan_facts"]


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What is known of clusters at the plan's moment.

    Attributes
    ----------
    specs : workload → its autoscaler, where one was read
    clusters : what each can hold
    notes : what could not be read, a line each
    """

    specs: Mapping[str, HpaSpec]
    clusters: tuple[ClusterFacts, ...]
    notes: tuple[str, ...] = ()

    def placed(self, state: pd.DataFrame) -> pd.DataFrame:
        """Settings of workloads, with the NodePool that their pods are on; empty where nobody
        knows it."""
        home = {p.workload: p.nodepool or "" for c in self.clusters for p in c.pods}
        return state.assign(nodepool=[home.get(str(w), "") for w in state["workload"]])

    def limits(
        self, floors: Sequence[Floor], pods: pd.DataFrame, as_of: pd.Timestamp
    ) -> list[Shortfall]:
        """What of the floors no cluster can hold."""
        return [s for facts in self.clusters for s in shortfalls(floors, pods, facts, as_of)]


def plan_facts(
    run: Run, panel: Panel, planned: Collection[str], *, opener: Opener = open_cluster
) -> PlanFacts:
    """Read the configured cluster; of any other, and where it does not answer, the samples tell.

    Raises
    ------
    ConfigError
        ``prescale.hpa_file`` cannot be read.
    """
    known = known_specs(run, planned, opener=opener)
    name = run.settings.cluster.name or run.settings.source.cluster
    there = sorted({split_workload(w)[0] for w in planned})
    live, notes = _asked(run.settings, name, opener) if name in there else (None, ())
    clusters = tuple(
        live if live is not None and cluster == name else _told(panel, cluster) for cluster in there
    )
    return PlanFacts(known.specs, clusters, (*known.notes, *notes))


def no_cluster(_settings: Settings) -> None:
    """Opens none: what stands in a cluster now says nothing of another moment."""


def _asked(
    settings: Settings, name: str, opener: Opener
) -> tuple[ClusterFacts | None, tuple[str, ...]]:
    """The facts of the configured cluster, if there is one that answers."""
    from pipelines.cluster_facts import read_facts

    try:
        kube = opener(settings)
        if kube is None:
            return None, ()
        with closing(kube):
            facts = read_facts(kube, name)
    except ClusterError as error:
        return None, (f"limits of {name} not read from the cluster ({error}): the samples tell",)
    return facts, tuple(f"limits of {name}: {problem}" for problem in facts.problems)


def _told(panel: Panel, cluster: str) -> ClusterFacts:
    from pipelines.cluster_facts import facts_of_panel

    return facts_of_panel(panel, cluster)
