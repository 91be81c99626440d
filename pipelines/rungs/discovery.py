"""Which rungs of the ladder a cluster has, and which one is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from models.holders import Holder
from pipelines.adapters.kube import (
    CAPACITY_BUFFER,
    DEPLOYMENT,
    HPA,
    NODE_POOL,
    POD_TEMPLATE,
    PRIORITY_CLASS,
    SCALED_OBJECT,
    Kind,
    Kube,
)
from pipelines.errors import ClusterError, ObjectMissing
from pipelines.manifests import ManifestParams
from pipelines.rungs.installed import BUFFER_MANIFEST, MANIFEST, room_name
from pipelines.rungs.params import RungParams
from pipelines.rungs.reading import meta, whole

__all__ = ["Choice", "Ladder", "RungName", "RungState", "choose", "choose_room", "ladder"]

RungName = Literal[
    "hpa", "keda", "placeholders", "buffer", "static_nodepool", "budgets", "gitops", "metric"
]


@dataclass(frozen=True, slots=True)
class RungState:
    """One rung: whether it can be stood on, why not, and what is not known."""

    rung: RungName
    possible: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ladder:
    """All rungs, in the ladder's order."""

    rungs: tuple[RungState, ...]

    def of(self, rung: str) -> RungState:
        """One of them.

        Raises
        ------
        KeyError
            There is no such rung.
        """
        for state in self.rungs:
            if state.rung == rung:
                return state
        raise KeyError(rung)


@dataclass(frozen=True, slots=True)
class Choice:
    """The rung that is taken; None with the reason where none can be."""

    rung: RungName | None
    reason: str


def ladder(kube: Kube, params: RungParams | None = None) -> Ladder:
    """Every rung of a cluster; a question that the server does not answer is a reason, not an
    error."""
    params = params or RungParams()
    steps: list[tuple[RungName, Callable[[], list[str]]]] = [
        ("hpa", lambda: _writable(kube, HPA)),
        ("keda", lambda: _writable(kube, SCALED_OBJECT)),
        ("placeholders", lambda: _placeholders(kube, params)),
        ("buffer", lambda: _buffer(kube, params)),
        ("static_nodepool", lambda: _static(kube, params)),
        ("budgets", lambda: _writable(kube, NODE_POOL)),
    ]
    states = [_state(rung, ask) for rung, ask in steps]
    outside: list[RungName] = ["gitops", "metric"]
    return Ladder((*states, *(RungState(rung, possible=True) for rung in outside)))


def choose(holder: Holder, found: Ladder, params: RungParams) -> Choice:
    """The rung of a workload's floor."""
    if params.floor != "auto":
        return Choice(params.floor, f"prescale.rungs.floor is {params.floor}")
    if holder.problem:
        return Choice(None, holder.problem)
    state = found.of(holder.rung)
    if not state.possible:
        return Choice(None, "; ".join(state.reasons))
    return Choice(holder.rung, f"{holder.name} holds its floor")


def choose_room(found: Ladder, params: RungParams) -> Choice:
    """The rung that starts nodes before floors land."""
    if params.room == "none":
        return Choice(None, "prescale.rungs.room is none")
    state = found.of(params.room)
    if not state.possible:
        return Choice(None, "; ".join(state.reasons))
    return Choice(params.room, f"prescale.rungs.room is {params.room}")


def _state(rung: RungName, ask: Callable[[], list[str]]) -> RungState:
    try:
        reasons = ask()
    except ClusterError as error:
        reasons = [str(error)]
    return RungState(rung, possible=not reasons, reasons=tuple(reasons))


def _writable(
    kube: Kube, kind: Kind, namespace: str = "", verbs: tuple[str, ...] = ("get", "list", "patch")
) -> list[str]:
    """Why a kind cannot be read and patched."""
    if not kube.serves(kind):
        return [f"the cluster does not serve {kind.api_version} {kind.kind}"]
    missing = [verb for verb in verbs if not kube.may(verb, kind, namespace)]
    return [f"we may not {', '.join(missing)} {kind.resource}"] if missing else []


def _there(kube: Kube, kind: Kind, name: str, namespace: str, manifest: str) -> list[str]:
    try:
        kube.get(kind, name, namespace)
    except ObjectMissing:
        return [f"{kind.kind} {name} is not there: {manifest} installs it"]
    except ClusterError as error:
        return [str(error)]
    return []


def _placeholders(kube: Kube, params: RungParams) -> list[str]:
    return [
        *_writable(kube, DEPLOYMENT, params.namespace, ("get", "patch")),
        *_there(kube, DEPLOYMENT, room_name(), params.namespace, MANIFEST),
        *_there(kube, PRIORITY_CLASS, ManifestParams().priority_class, "", MANIFEST),
    ]


def _buffer(kube: Kube, params: RungParams) -> list[str]:
    """The gate itself cannot be seen; a kind that is served says that its CRD is installed, and
    ``room_ready`` says whether anybody provisions."""
    reasons = _writable(kube, CAPACITY_BUFFER, params.namespace, ("get", "patch"))
    if reasons:
        return reasons
    return [
        *_writable(kube, POD_TEMPLATE, params.namespace, ("get", "patch")),
        *_there(kube, CAPACITY_BUFFER, room_name(), params.namespace, BUFFER_MANIFEST),
        *_there(kube, POD_TEMPLATE, room_name(), params.namespace, BUFFER_MANIFEST),
    ]


def _static(kube: Kube, params: RungParams) -> list[str]:
    reasons = _writable(kube, NODE_POOL)
    if reasons:
        return reasons
    if not kube.may("patch", NODE_POOL, subresource="scale"):
        reasons.append(f"we may not patch {NODE_POOL.resource}/scale")
    static = {
        meta(obj, "name")
        for obj in kube.list(NODE_POOL)
        if whole(obj, "spec", "replicas") is not None
    }
    wanted = params.static_nodepool
    if not static:
        reasons.append("no NodePool is static (spec.replicas); the gate is StaticCapacity")
    elif wanted and wanted not in static:
        reasons.append(f"NodePool {wanted} is not static; static are {', '.join(sorted(static))}")
    return reasons
