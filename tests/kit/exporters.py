"""Series with the labels that exporters really give them: kube-state-metrics, cAdvisor, kubelet,
Karpenter 1, Istio, ingress-nginx.

kube-state-metrics runs twice and the kubelets are scraped by two jobs, so all of theirs is there
twice. Time is cut into ``STEPS`` steps and scraped every 30 s; within a step gauges and rates are
constant. A series that ends gets Prometheus' stale marker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Labels = dict[str, str]
Series = tuple[Labels, np.ndarray, np.ndarray]
"""Labels, stamps (n,) in Unix milliseconds, values (n,)."""
Values = Callable[[np.ndarray], np.ndarray] | float
"""Steps (n,) → values (n,), or one value."""

STEP_S, STEPS, SCRAPE_S = 300, 24, 30
END_S = STEP_S * STEPS
STALE = np.array([0x7FF0000000000002], np.uint64).view(np.float64)[0]

OPERATOR = {"job": "kube-state-metrics", "service": "kps-kube-state-metrics", "endpoint": "http"}


@dataclass(frozen=True)
class Life:
    """From and to, in seconds after the start."""

    start_s: int = 0
    end_s: int = END_S

    def at(self, step: int) -> bool:
        """Whether it is there at the end of a step."""
        return self.start_s <= (step + 1) * STEP_S <= self.end_s

    def within(self, step: int) -> bool:
        """Whether it is there during a step."""
        return self.start_s < (step + 1) * STEP_S and self.end_s > step * STEP_S


ALWAYS = Life()


@dataclass
class Exporters:
    cluster: str
    start_ms: int
    series: list[Series] = field(default_factory=list)

    def emit(self, name: str, labels: Labels, values: Values, life: Life, *, counts: bool) -> None:
        """A gauge with these values, or a counter that grows by them in a second."""
        at_s = np.arange(-(-life.start_s // SCRAPE_S) * SCRAPE_S, life.end_s + 1, SCRAPE_S)
        steps = np.maximum(-(-at_s // STEP_S) - 1, 0)
        shown = np.broadcast_to(values(steps) if callable(values) else values, at_s.shape)
        if counts:
            shown = 1000.0 + np.r_[0.0, np.cumsum(shown[1:] * SCRAPE_S)]
        if life.end_s < END_S:
            at_s, shown = np.r_[at_s, at_s[-1] + SCRAPE_S], np.r_[shown, STALE]
        whole = {"__name__": name, "cluster": self.cluster} | labels
        self.series.append((whole, self.start_ms + at_s * 1000, shown.astype(np.float64)))

    def kube_state(self, name: str, labels: Labels, values: Values, life: Life = ALWAYS) -> None:
        """From both replicas; the target's own labels stay where the series has none of them."""
        for replica in range(2):
            target = OPERATOR | {
                "namespace": "monitoring",
                "pod": f"kps-kube-state-metrics-{replica}",
                "instance": f"10.0.9.{replica}:8080",
            }
            self.emit(name, target | labels, values, life, counts=False)

    def kubelet(
        self,
        name: str,
        labels: Labels,
        values: Values,
        life: Life = ALWAYS,
        *,
        counts: bool = False,
        path: str = "/metrics/cadvisor",
    ) -> None:
        """From both scrape jobs."""
        for service in ("kps-kubelet", "old-kps-kubelet"):
            target = {
                "job": "kubelet",
                "service": service,
                "endpoint": "https-metrics",
                "metrics_path": path,
                "instance": "10.0.1.1:10250",
            }
            self.emit(name, target | labels, values, life, counts=counts)

    def container(
        self,
        name: str,
        pod: Labels,
        container: str,
        ident: str,
        values: Values,
        life: Life,
        *,
        counts: bool = False,
        extra: Labels | None = None,
    ) -> None:
        """A container's row in cAdvisor, with the rows of its pod and of the pause container."""
        slice_ = f"/kubepods.slice/kubepods-burstable.slice/pod{pod['pod']}.slice"
        mine = pod | {
            "container": container,
            "id": f"{slice_}/cri-containerd-{ident}.scope",
            "image": "registry.example/shop/app:1.2",
            "name": ident,
        } | (extra or {})  # fmt: skip
        self.kubelet(name, mine, values, life, counts=counts)
        if container == "app":
            whole = pod | {"id": slice_} | (extra or {})
            self.kubelet(name, whole | {"container": ""}, 1e12, life, counts=counts)
            pause = {"container": "POD", "id": f"{slice_}/pause", "image": "pause:3.9"}
            self.kubelet(name, whole | pause, 3e12, life, counts=counts)

    def network(self, name: str, pod: Labels, values: Values, life: Life) -> None:
        """A pod's interfaces: cAdvisor has them on the pod's sandbox, whose container is none."""
        sandbox = pod | {
            "id": f"/kubepods.slice/pod{pod['pod']}-{life.start_s}.slice/sandbox",
            "image": "pause",
        }
        for interface, shown in (("eth0", values), ("lo", 1e9)):
            self.kubelet(name, sandbox | {"interface": interface}, shown, life, counts=True)

    def karpenter(
        self, name: str, labels: Labels, values: Values, life: Life = ALWAYS, *, counts=False
    ) -> None:
        """From the one replica that leads."""
        target = {
            "namespace": "kube-system",
            "pod": "karpenter-5d7-abcde",
            "job": "karpenter",
            "instance": "10.0.3.3:8080",
        }
        self.emit(name, target | labels, values, life, counts=counts)

    def histogram(
        self, name: str, labels: Labels, rate: Values, lower: float, upper: float, life: Life
    ) -> None:
        """All requests between two bounds, evenly: so the quantiles are known."""
        for bound in (lower, upper, upper * 2, np.inf):
            there = labels | {"le": "+Inf" if np.isinf(bound) else repr(bound)}
            self.emit(f"{name}_bucket", there, 0.0 if bound == lower else rate, life, counts=True)
