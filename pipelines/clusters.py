"""Which cluster a verb talks to: by the configuration, or by options alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from pipelines.adapters.kube import Kube, connect
from pipelines.errors import ConfigError
from pipelines.rungs.params import RungParams

__all__ = ["Reach", "reach"]

_RUNGS = RungParams()
MOUNTED: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where every pod with a service account finds it. Source: Kubernetes documentation, "Accessing the
Kubernetes API from a Pod"."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How a cluster is reached, and what the samples call it; ``how`` may be ``no``."""

    how: Literal["no", "kubeconfig", "in_cluster"]
    name: str
    kubeconfig: str = ""
    context: str = ""
    timeout_s: float = 30.0
    rungs: RungParams = _RUNGS
    """Where room is installed, and what may hold it."""

    def open(self) -> Kube:
        """A client; whoever opens closes it.

        Raises
        ------
        ConfigError
            No cluster is configured.
        """
        if self.how == "no":
            raise ConfigError(
                "cluster.connect is no: set it to kubeconfig or in_cluster, or give "
                "--kubeconfig or --in-cluster"
            )
        return connect(self.how, self.kubeconfig, self.context, self.timeout_s)


def reach(
    config: str | None,
    *,
    kubeconfig: str | None = None,
    context: str | None = None,
    in_cluster: bool = False,
    cluster: str | None = None,
    namespace: str | None = None,
    mounted: Path = MOUNTED,
) -> Reach:
    """The cluster of the options where one is given, else that of the configuration.

    Options alone read no configuration: the release has none. In a cluster Foretide's own namespace
    is the pod's, by the file ``mounted``, where it is not given.

    Raises
    ------
    ConfigError
        The options contradict each other, or the configuration is wrong.
    """
    if in_cluster and (kubeconfig or context):
        raise ConfigError("--in-cluster and --kubeconfig or --context: give one of them")
    own = _own_namespace(mounted) if in_cluster else ""
    rungs = RungParams(namespace=namespace or own or _RUNGS.namespace)
    if in_cluster:
        return Reach("in_cluster", cluster or "default", rungs=rungs)
    if kubeconfig or context:
        name = cluster or "default"
        return Reach("kubeconfig", name, kubeconfig or "", context or "", rungs=rungs)
    from pipelines.settings import load_settings  # takes a second: only where it is needed

    settings = load_settings(config)
    s = settings.cluster
    name = cluster or s.name or settings.source.cluster
    rungs = settings.prescale.rungs
    rungs = replace(rungs, namespace=namespace or rungs.namespace)
    return Reach(s.connect, name, s.kubeconfig, s.context, s.timeout_s, rungs)


def _own_namespace(mounted: Path) -> str:
    """Of the pod that this runs in; empty where it is not said."""
    try:
        return mounted.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
