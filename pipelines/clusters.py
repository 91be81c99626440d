"""Which cluster a verb talks to: by the configuration, or by options alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.adapters.kube import Kube, connect
from pipelines.errors import ConfigError

__all__ = ["Reach", "reach"]


@dataclass(frozen=True, slots=True)
class Reach:
    """How a cluster is reached, and what the samples call it; ``how`` may be ``no``."""

    how: Literal["no", "kubeconfig", "in_cluster"]
    name: str
    kubeconfig: str = ""
    context: str = ""
    timeout_s: float = 30.0

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
) -> Reach:
    """The cluster of the options where one is given, else that of the configuration.

    Options alone read no configuration: the release has none.

    Raises
    ------
    ConfigError
        The options contradict each other, or the configuration is wrong.
    """
    if in_cluster and (kubeconfig or context):
        raise ConfigError("--in-cluster and --kubeconfig or --context: give one of them")
    if in_cluster:
        return Reach("in_cluster", cluster or "default")
    if kubeconfig or context:
        return Reach("kubeconfig", cluster or "default", kubeconfig or "", context or "")
    from pipelines.settings import load_settings  # takes a second: only where it is needed

    settings = load_settings(config)
    s = settings.cluster
    name = cluster or s.name or settings.source.cluster
    return Reach(s.connect, name, s.kubeconfig, s.context, s.timeout_s)
