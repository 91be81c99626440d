"""The cluster: whether it answers, what we may do there, who owns the floors, who gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pandas as pd
import yaml

from models.holders import Holder
from pipelines.adapters.kube import (
    CAPACITY_BUFFER,
    DEPLOYMENT,
    HPA,
    NAMESPACE,
    NODE_POOL,
    POD,
    POD_TEMPLATE,
    SCALED_OBJECT,
    STATEFUL_SET,
    Kind,
    Kube,
)
from pipelines.apply_params import ApplyParams
from pipelines.clock import present
from pipelines.clusters import Reach
from pipelines.doctor.check import Check
from pipelines.errors import ClusterError, ConfigError
from pipelines.release_job import CRON_JOB, release_job
from pipelines.rungs.discovery import ladder
from pipelines.rungs.floors import ignore_differences
from pipelines.rungs.holders import read_holders
from pipelines.rungs.params import RungParams

__all__ = ["Need", "check_cluster", "needs"]

_TTL = pd.Timedelta(ApplyParams().ttl_min, "min")
"""By when the release job must have succeeded: what apply takes where nothing else is set."""
_READ = ("get", "list")
_RBAC = "apply config/deploy/rbac-apply.yaml, or add to the ClusterRole: "
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Need:
    """One right that apply or release asks for; an empty namespace means all of them."""

    verb: str
    kind: Kind
    namespace: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        """As an RBAC rule says it."""
        sub = f"/{self.subresource}" if self.subresource else ""
        place = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.kind.resource}{sub}{place}"


def needs(params: RungParams) -> tuple[Need, ...]:
    """What apply has to be allowed, with these rungs; kinds that a cluster lacks need nothing."""
    found = [Need("list", k) for k in (NAMESPACE, DEPLOYMENT, STATEFUL_SET, POD)]
    for kind in (HPA, SCALED_OBJECT):
        found += [Need(verb, kind) for verb in _READ]
        found += [Need("patch", kind)] if params.floor == "auto" else []
    rooms = {"placeholders": (DEPLOYMENT,), "buffer": (CAPACITY_BUFFER, POD_TEMPLATE)}
    for kind in rooms.get(params.room, ()):
        found += [Need("list", kind), *(Need(v, kind, params.namespace) for v in ("get", "patch"))]
    if params.room == "static_nodepool" or params.hold_nodes:
        found += [Need(verb, NODE_POOL) for verb in (*_READ, "patch")]
    if params.room == "static_nodepool":
        found.append(Need("patch", NODE_POOL, subresource="scale"))
    if params.floor == "auto":
        found.append(Need("list", CRON_JOB, params.namespace))
    return tuple(dict.fromkeys(found))


def check_cluster(there: Reach, params: RungParams) -> Iterator[Check]:
    """All checks of one cluster; nothing is changed there. Never raises for what it answers."""
    if there.how == "no":
        yield Check("cluster", "ok", "not used: cluster.connect is no; nothing can be applied")
        return
    try:
        kube = there.open()
    except ConfigError as error:
        yield Check("cluster", "fail", str(error), "correct section `cluster` of the settings")
        return
    with kube:
        reached = _reached(kube)
        yield reached
        if reached.status == "fail":
            return
        for name, check in _CHECKS:
            try:
                yield check(kube, there, params)
            except ClusterError as error:
                yield Check(name, "fail", str(error), "let this account read it, see the rights")


def _reached(kube: Kube) -> Check:
    try:
        version, who = kube.version(), kube.whoami()
    except (ClusterError, ConfigError) as error:
        return Check("cluster", "fail", str(error), "correct section `cluster`, or its credentials")
    return Check("cluster", "ok", f"Kubernetes {version} answers; we are {who}")


def _rights(kube: Kube, _: Reach, params: RungParams) -> Check:
    asked = [n for n in needs(params) if kube.serves(n.kind)]
    missing = [n for n in asked if not kube.may(n.verb, n.kind, n.namespace, n.subresource)]
    if missing:
        text = ", ".join(map(str, missing))
        return Check("cluster rights", "fail", f"we may not {text}", f"{_RBAC}{text}")
    if kube.may("create", HPA) or kube.may("delete", HPA):
        detail = "all that is needed, and more: this account may create or delete HPAs"
        return Check("cluster rights", "warn", detail, "use the account of rbac-apply.yaml")
    return Check("cluster rights", "ok", f"{len(asked)} of {len(asked)}, and no create or delete")


def _rungs(kube: Kube, _: Reach, params: RungParams) -> Check:
    found = ladder(kube, params)
    there = ", ".join(r.rung for r in found.rungs if r.possible)
    if params.room != "none" and not (room := found.of(params.room)).possible:
        detail = f"prescale.rungs.room is {params.room}: {'; '.join(room.reasons)}"
        return Check("rungs", "fail", detail, "install it: config/deploy/room.yaml, or choose none")
    return Check("rungs", "ok", f"possible: {there}")


def _owners(kube: Kube, there: Reach, params: RungParams) -> Check:
    """Whose the floors are: what is not in force_owners can be held by nobody else."""
    if params.floor != "auto":
        return Check("owners", "ok", f"not asked: floors go to {params.floor}")
    holders = read_holders(kube, there.name)
    theirs = [h for h in holders if not _may_take(h, params)]
    if not theirs:
        return Check("owners", "ok", f"{len(holders)} floors, all can be raised")
    names = sorted({o for h in theirs for o in h.owners if not _is_named(o, params)})
    some = ", ".join(h.workload for h in theirs[:_SHOWN])
    detail = (
        f"{len(theirs)} of {len(holders)} floors belong to {', '.join(names)} ({some}): "
        "they conflict, and nothing is raised there"
    )
    remedy = (
        "name those who may be overridden in prescale.rungs.force_owners; so that Argo CD then "
        f"leaves the field alone, its Application needs {_one_line(ignore_differences(theirs[0]))}"
    )
    return Check("owners", "warn", detail, remedy)


def _one_line(text: str) -> str:
    """YAML in flow style."""
    return yaml.safe_dump(
        yaml.safe_load(text), default_flow_style=True, sort_keys=False, width=10**6
    ).strip()


def _may_take(holder: Holder, params: RungParams) -> bool:
    return all(_is_named(owner, params) for owner in holder.owners)


def _is_named(owner: str, params: RungParams) -> bool:
    return any(fnmatchcase(owner, glob) for glob in params.force_owners)


def _problems(kube: Kube, there: Reach, _: RungParams) -> Check:
    wrong = [h for h in read_holders(kube, there.name) if h.problem]
    if not wrong:
        return Check("floors", "ok", "every one would do something")
    told = "; ".join(f"{h.workload}: {h.problem}" for h in wrong[:_SHOWN])
    return Check(
        "floors", "warn", f"{len(wrong)} would do nothing: {told}", "correct these, or leave them"
    )


def _release_job(kube: Kube, _: Reach, params: RungParams) -> Check:
    """Without it nothing is given back while no apply runs."""
    now = kube.server_time() or present()
    job = release_job(kube, params.namespace, now, _TTL)
    return Check("release job", "ok" if job.runs else "warn", job.detail, job.remedy)


_CHECKS: tuple[tuple[str, Callable[[Kube, Reach, RungParams], Check]], ...] = (
    ("cluster rights", _rights),
    ("rungs", _rungs),
    ("owners", _owners),
    ("floors", _problems),
    ("release job", _release_job),
)
