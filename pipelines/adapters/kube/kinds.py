"""The kinds of objects that pre-scaling reads or writes, by group, version and plural."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "CAPACITY_BUFFER",
    "DAEMON_SET",
    "DEPLOYMENT",
    "EVENT",
    "HPA",
    "KINDS",
    "NAMESPACE",
    "NODE",
    "NODE_CLAIM",
    "NODE_POOL",
    "POD",
    "POD_DISRUPTION_BUDGET",
    "POD_TEMPLATE",
    "PRIORITY_CLASS",
    "REPLICA_SET",
    "RESOURCE_QUOTA",
    "SCALED_OBJECT",
    "STATEFUL_SET",
    "Kind",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object, as the API serves it; ``group`` is empty for the core ones."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As manifests write it: ``autoscaling/v2``, ``v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """As the API server calls it in messages: ``horizontalpodautoscalers.autoscaling``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def root(self) -> str:
        """The path of its group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


HPA = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
SCALED_OBJECT = Kind("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject")
NODE_POOL = Kind("karpenter.sh", "v1", "nodepools", "NodePool", namespaced=False)
NODE_CLAIM = Kind("karpenter.sh", "v1", "nodeclaims", "NodeClaim", namespaced=False)
CAPACITY_BUFFER = Kind("autoscaling.x-k8s.io", "v1beta1", "capacitybuffers", "CapacityBuffer")
POD_TEMPLATE = Kind("", "v1", "podtemplates", "PodTemplate")
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
STATEFUL_SET = Kind("apps", "v1", "statefulsets", "StatefulSet")
DAEMON_SET = Kind("apps", "v1", "daemonsets", "DaemonSet")
REPLICA_SET = Kind("apps", "v1", "replicasets", "ReplicaSet")
POD = Kind("", "v1", "pods", "Pod")
NODE = Kind("", "v1", "nodes", "Node", namespaced=False)
NAMESPACE = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
RESOURCE_QUOTA = Kind("", "v1", "resourcequotas", "ResourceQuota")
POD_DISRUPTION_BUDGET = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
PRIORITY_CLASS = Kind(
    "scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False
)
EVENT = Kind("", "v1", "events", "Event")

KINDS = (
    HPA,
    SCALED_OBJECT,
    NODE_POOL,
    NODE_CLAIM,
    CAPACITY_BUFFER,
    POD_TEMPLATE,
    DEPLOYMENT,
    STATEFUL_SET,
    DAEMON_SET,
    REPLICA_SET,
    POD,
    NODE,
    NAMESPACE,
    RESOURCE_QUOTA,
    POD_DISRUPTION_BUDGET,
    PRIORITY_CLASS,
    EVENT,
)
