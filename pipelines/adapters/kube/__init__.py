"""The Kubernetes API: what is read and written there, and by whom we are allowed to."""

from __future__ import annotations

from pipelines.adapters.kube.client import MANAGER, Kube
from pipelines.adapters.kube.connecting import connect
from pipelines.adapters.kube.kinds import (
    CAPACITY_BUFFER,
    DAEMON_SET,
    DEPLOYMENT,
    EVENT,
    HPA,
    KINDS,
    NAMESPACE,
    NODE,
    NODE_CLAIM,
    NODE_POOL,
    POD,
    POD_DISRUPTION_BUDGET,
    POD_TEMPLATE,
    PRIORITY_CLASS,
    REPLICA_SET,
    RESOURCE_QUOTA,
    SCALED_OBJECT,
    STATEFUL_SET,
    Kind,
)
from pipelines.adapters.kube.objects import holds
from pipelines.adapters.kube.wire import RetryParams

__all__ = [
    "CAPACITY_BUFFER",
    "DAEMON_SET",
    "DEPLOYMENT",
    "EVENT",
    "HPA",
    "KINDS",
    "MANAGER",
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
    "Kube",
    "RetryParams",
    "connect",
    "holds",
]
