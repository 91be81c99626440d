"""A fake cluster with workloads, a store with a plan for them, and time that a test lets pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from kube_server import KubeServer, serve_kube

from features.frames import CAPACITY, LEDGER
from models.actions import Floor, Plan
from models.modes import Mode
from pipelines.adapters.kube import DEPLOYMENT, HPA, SCALED_OBJECT, STATEFUL_SET, Kube
from pipelines.adapters.store import Store
from pipelines.apply import one_round
from pipelines.ledger import Entry
from pipelines.release import Released, release
from pipelines.round import Round, done_by
from pipelines.run import Run, RunRef

__all__ = ["NOW", "NO_STAGES", "World", "a_floor", "a_plan", "a_world", "keep_plan"]

NOW = pd.Timestamp("2026-06-08T07:00Z").as_unit("ms")
"""A Monday; the floors begin here."""
_MADE = NOW - pd.Timedelta(20, "min")
CLUSTER = "prod"
NO_STAGES = {
    "canary": {"trusted_days": 0},
    "approve_above_share": 100.0,
    "step_up_share": 100.0,
    "up_per_hour_share": 100.0,
}
"""Guardrails that let a floor be raised at once."""


def a_floor(
    name: str,
    after: int,
    *,
    starts: pd.Timestamp = NOW,
    minutes: float = 120,
    original: int = 2,
    mode: Mode = "act",
    kind: str = "Deployment",
    gate: Any = "act",
) -> Floor:
    return Floor(
        workload=f"{CLUSTER}/shop/{kind}/{name}",
        hpa=name,
        original=original,
        before=original,
        after=after,
        starts_at=starts,
        ends_at=starts + pd.Timedelta(minutes, "min"),
        gate=gate,
        reason="the test's peak",
        mode=mode,
        cpu_cores=1.0,
        memory_bytes=2.0**30,
    )


def a_plan(*floors: Any, as_of: pd.Timestamp = _MADE) -> Plan:
    return Plan(as_of, as_of + pd.Timedelta(26, "h"), "act", tuple(floors), (), (), 300.0)


def keep_plan(plan: Plan, out: str, *, forecast_at: pd.Timestamp | None = None) -> Plan:
    """Store a plan, and a capacity forecast of its workloads, as ``foretide plan`` leaves
    them."""
    store = Store(out)
    text = json.dumps(plan.to_dict())
    store.put_file(f"plans/{plan.as_of:%Y%m%dT%H%M%SZ}/plan.json", text.encode())
    at = plan.as_of if forecast_at is None else forecast_at
    names = sorted({f.workload for f in plan.floors})
    rows = pd.DataFrame(
        {
            "workload": names,
            "issued_at": at,
            "ts": at,
            "replicas": 1,
            "ready_replicas": 1,
            "reactive_replicas": 1,
            "cpu_cores": 1.0,
            "memory_bytes": 1.0,
            "lead_time_s": 60.0,
            "lead_time_source": "default",
            "quantile": 0.95,
            "gate": "act",
            "gate_reason": "",
            "run_id": "test",
            "valid_until": at + pd.Timedelta(26, "h"),
        }
    )
    store.write(CAPACITY, rows, f"{at:%Y%m%dT%H%M%SZ}")
    return plan


@dataclass
class World:
    """``settings`` are laid over the configuration; ``store`` is read by any run."""

    server: KubeServer
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)

    # -- what is there

    def hpa(
        self, name: str, low: int = 2, high: int = 40, *, kind: str = "Deployment", **more: Any
    ) -> dict[str, Any]:
        """A workload with its HPA, installed by GitOps; as it is in the cluster."""
        self._target(name, low, kind)
        target = {"apiVersion": "apps/v1", "kind": kind, "name": name}
        spec = {"scaleTargetRef": target, "minReplicas": low, "maxReplicas": high}
        meta = {"name": name, "namespace": "shop", **more}
        self.server.put(HPA, {"metadata": meta, "spec": spec}, manager="helm")
        self.server.patch(
            HPA,
            name,
            {"status": {"currentReplicas": low, "desiredReplicas": low}},
            "shop",
            subresource="status",
            manager="kube-controller-manager",
        )
        return self.read(name)

    def scaled_object(self, name: str, low: int = 0, high: int = 40) -> dict[str, Any]:
        self._target(name, max(low, 1), "Deployment")
        spec = {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": low,
            "maxReplicaCount": high,
            "triggers": [{"type": "cpu", "metadata": {"value": "70"}}],
        }
        meta = {"name": name, "namespace": "shop"}
        self.server.put(SCALED_OBJECT, {"metadata": meta, "spec": spec}, manager="helm")
        return self.server.read(SCALED_OBJECT, name, "shop")

    def read(self, name: str) -> dict[str, Any]:
        return self.server.read(HPA, name, "shop")

    def floor(self, name: str) -> int:
        return int(self.read(name)["spec"]["minReplicas"])

    def notes(self, name: str) -> dict[str, str]:
        return self.read(name)["metadata"].get("annotations") or {}

    def writes(self) -> list[str]:
        """Method and path of every write that came."""
        asked = self.server.asked
        return [f"{a.method} {a.path}" for a in asked if a.method in ("PATCH", "PUT", "DELETE")]

    # -- plans and forecasts

    def keep(self, plan: Plan, *, forecast_at: pd.Timestamp | None = None) -> Plan:
        """As ``keep_plan``, in this world's store."""
        return keep_plan(plan, self.out, forecast_at=forecast_at)

    # -- verbs

    @property
    def out(self) -> str:
        return str(self.folder / "store")

    def config(self) -> str:
        kubeconfig = str(self.server.kubeconfig(self.folder, self.settings.get("user", "admin")))
        rungs = {"force_owners": ["helm"], **self.settings.get("rungs", {})}
        guard = self.settings.get("guard", NO_STAGES)
        prescale = {"guard": guard, "rungs": rungs, "apply": self.settings.get("apply", {})}
        prescale["plan"] = {"mode": self.settings.get("mode", "act")}
        data = {
            "store": {"path": self.out},
            "cluster": {"connect": "kubeconfig", "kubeconfig": kubeconfig, "name": CLUSTER},
            "prescale": prescale,
        }
        path = self.folder / "foretide.yaml"
        path.write_text(yaml.safe_dump(data))
        return str(path)

    def run(self, at: pd.Timestamp) -> Run:
        return RunRef.resolve(self.config(), None, None, at.isoformat(), at).open()

    def apply(self, minutes: float = 0, **parameters: Any) -> dict[str, Any]:
        """A round, so long after the floors begin."""
        return one_round(self.run(NOW + pd.Timedelta(minutes, "min")), **parameters)

    def apply_with(self, kube: Kube, minutes: float = 0) -> list[Entry]:
        """The same on a client of the test's own."""
        run = self.run(NOW + pd.Timedelta(minutes, "min"))
        return done_by(Round.read(run, kube, CLUSTER))

    @contextmanager
    def kube(self, user: str = "admin") -> Iterator[Kube]:
        """A client that gives up soon."""
        with self.server.kube(self.folder, user) as kube:
            yield kube

    def release(self, minutes: float = 0, match: str | None = None) -> Released:
        with self.kube() as kube:
            return release(kube, CLUSTER, NOW + pd.Timedelta(minutes, "min"), match=match)

    def ledger(self) -> list[dict[str, Any]]:
        """All rows, in the order of writing."""
        store = Store(self.out)
        return store.read(LEDGER).to_pylist() if store.parts(LEDGER) else []

    def states(self, name: str) -> list[str]:
        """Of one workload's rows, in the order of writing."""
        return [r["status"] for r in self.ledger() if r["target"].endswith(f"/{name}")]

    def _target(self, name: str, replicas: int, kind: str) -> None:
        body = {
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{"name": "main", "image": "shop"}]},
                },
            },
        }
        of = STATEFUL_SET if kind == "StatefulSet" else DEPLOYMENT
        self.server.put(of, body, manager="helm")


@contextmanager
def a_world(folder: Path, **settings: Any) -> Iterator[World]:
    with serve_kube(namespaces=("shop", "foretide")) as server:
        yield World(server, folder, settings)
