"""Where the workloads' autoscalers are read from: the cluster, or a file of manifests.

The cluster is asked where ``cluster.connect`` says how; ``prescale.hpa_file`` answers where it is
not asked or does not answer. Whoever is in neither scales as the samples say: on CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from models.hpa_manifest import Autoscalers, autoscalers
from models.hpa_spec import HpaSpec
from pipelines.errors import ClusterError, ConfigError
from pipelines.run import Run
from pipelines.settings import Settings

if TYPE_CHECKING:
    from pipelines.adapters.kube import Kube

__all__ = ["KnownSpecs", "known_specs", "match_specs", "open_cluster", "read_autoscalers"]

Opener = Callable[[Settings], "Kube | None"]


@dataclass(frozen=True, slots=True)
class KnownSpecs:
    """The autoscalers of some workloads.

    Attributes
    ----------
    specs : workload → its HPA, as it would scale it
    refused : workload → why its autoscaler is not understood
    notes : what a person should know of the reading, a line each
    """

    specs: Mapping[str, HpaSpec] = field(default_factory=dict[str, HpaSpec])
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()


def open_cluster(settings: Settings) -> Kube | None:
    """The configured cluster's client, which the caller closes; nothing where none is
    configured."""
    reach = settings.cluster
    if reach.connect == "no":
        return None
    from pipelines.adapters.kube import connect  # takes half a second: only where it is needed

    return connect(reach.connect, reach.kubeconfig, reach.context, reach.timeout_s)


def known_specs(
    run: Run, workloads: Collection[str], *, opener: Opener = open_cluster
) -> KnownSpecs:
    """The autoscalers of the given workloads, by the cluster, else by the file.

    Raises
    ------
    ConfigError
        The file cannot be read.
    """
    found, cluster, notes = read_autoscalers(run.settings, opener=opener)
    return match_specs(found, workloads, cluster, notes)


def read_autoscalers(
    settings: Settings, *, opener: Opener = open_cluster
) -> tuple[Autoscalers, str, tuple[str, ...]]:
    """All autoscalers, the cluster that they are of (empty for any), and lines for a person.

    Raises
    ------
    ConfigError
        The file cannot be read.
    """
    file = settings.prescale.hpa_file
    notes: tuple[str, ...] = ()
    try:
        kube = opener(settings)
        if kube is not None:
            with closing(kube):
                found = autoscalers(_of_cluster(kube))
            return found, settings.cluster.name or settings.source.cluster, ()
    except ClusterError as error:
        instead = f"prescale.hpa_file {file}" if file else "the samples: HPAs on CPU"
        notes = (f"  autoscalers not read from the cluster ({error}); taken from {instead}",)
    found = autoscalers(_of_file(file)) if file else Autoscalers({}, {})
    return found, settings.cluster.name, notes


def match_specs(
    found: Autoscalers, workloads: Collection[str], cluster: str, notes: tuple[str, ...] = ()
) -> KnownSpecs:
    """What was found, by workload; manifests name no cluster: without one any cluster's workload is
    meant."""
    suffix: dict[str, str] = {}
    for workload in workloads:
        own, _, rest = workload.partition("/")
        if own == cluster or not cluster:
            suffix[workload] = rest
    return KnownSpecs(
        {w: found.specs[rest] for w, rest in suffix.items() if rest in found.specs},
        {w: found.refused[rest] for w, rest in suffix.items() if rest in found.refused},
        notes,
    )


def _of_cluster(kube: Kube) -> Iterator[dict[str, Any]]:
    from pipelines.adapters.kube import HPA, SCALED_OBJECT

    for kind in (HPA, SCALED_OBJECT):
        if kind is HPA or kube.serves(kind):
            for each in kube.list(kind):  # items of a list do not say their kind
                yield {**each, "kind": kind.kind}


def _of_file(path: str) -> list[Any]:
    """All documents of a YAML or JSON file."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            return list(yaml.load_all(file, Loader=_LOADER))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"prescale.hpa_file: {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())
        raise ConfigError(f"prescale.hpa_file: {path} is not valid YAML: {told}") from None


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The compiled one, where PyYAML has it: ten times as fast, for a cluster's dump."""
