"""The rung that scales a static NodePool, through its scale subresource.

Only a NodePool that has ``spec.replicas`` already: it can be neither added nor removed. Above
``limits.nodes`` Karpenter stops without a word, so that is never asked for.

Source: Karpenter's documentation, "Static Capacity".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from pipelines.adapters.kube import NODE, NODE_POOL, Kube
from pipelines.errors import ClusterError, ObjectChanged, ObjectRefused
from pipelines.rungs.annotations import PREFIX, Mark, State, annotations_of
from pipelines.rungs.owners import MANAGER, owners_of
from pipelines.rungs.protocol import REVERTS_MAX, TRIES, Lease, Target
from pipelines.rungs.reading import Object, items, mapping, meta, text, whole
from pipelines.rungs.written import Written, failed

__all__ = ["POOL_MARK", "hold_pool", "restore_pool"]

POOL_MARK: Final = Mark("nodes", "nodes-")
PREVIOUS: Final = PREFIX + "nodes-previous"
"""What stood when it was scaled anew: two requests, and a process may end between them."""

Asks = tuple[int, float, float]
"""Pods, cores and bytes of one."""


@dataclass(frozen=True, slots=True)
class _Pool:
    """A static NodePool as it was read."""

    obj: Object
    nodes: int
    state: State

    @property
    def mine(self) -> bool:
        """Whether it is as we scaled it; the scale subresource has no owners to go by."""
        ours = self.state.held and self.state.uid == meta(self.obj, "uid")
        previous = annotations_of(self.obj).get(PREVIOUS, "")
        return ours and (self.state.value == self.nodes or previous == str(self.nodes))

    @property
    def wrong(self) -> str:
        """Why the original cannot be trusted; empty if it can."""
        original = self.state.original
        if not self.state.known:
            return self.state.broken
        if whole(original) is None or not 0 <= original <= self.nodes:
            return f"{POOL_MARK.original} is {original!r}, expected a count up to {self.nodes}"
        path = ("f:metadata", "f:annotations", f"f:{POOL_MARK.original}")
        others, ours = owners_of(self.obj, path)
        if not ours:
            who = ", ".join(others) or "somebody whom managedFields does not name"
            return f"{POOL_MARK.original} is {original}, and that was written by {who}"
        return ""


def hold_pool(kube: Kube, name: str, asks: Asks, nodes: int, lease: Lease) -> Written:
    """Scale to the user's own nodes and ``nodes`` more; where that is 0, as many as hold the pods
    of ``asks``."""

    def step(pool: _Pool) -> Written:
        before = str(pool.nodes)
        if pool.mine and pool.wrong:
            return Written("refused", before, before, pool.wrong)
        more = nodes or (_nodes_for(kube, name, asks) if asks[0] > 0 else 0)
        if more is None:
            text = "how many pods fit on its nodes is not known: none of them is there"
            return Written("refused", before, before, text)
        return _scale(kube, pool, more, lease)

    return _tried(kube, Target(name), step)


def restore_pool(kube: Kube, target: Target) -> Written:
    """Scale back to the user's own nodes; what somebody else scaled meanwhile stays."""
    return _tried(kube, target, lambda pool: _restore(kube, pool))


def _tried(kube: Kube, target: Target, step: Callable[[_Pool], Written]) -> Written:
    what, last = f"NodePool {target.name}", Written("changed")
    for _ in range(TRIES):
        try:
            obj = kube.get(NODE_POOL, target.name)
            if target.uid and meta(obj, "uid") != target.uid:
                return Written("changed", detail="it was recreated since it was read", what=what)
            nodes = whole(obj, "spec", "replicas")
            if nodes is None:
                text = "not a static NodePool: spec.replicas is not set, and cannot be added"
                return Written("refused", detail=text, what=what)
            return step(_Pool(obj, nodes, POOL_MARK.read(obj))).about(what)
        except ObjectChanged as error:
            last = failed(error)
        except ClusterError as error:
            return failed(error).about(what)
    return last.about(what)


def _scale(kube: Kube, pool: _Pool, more: int, lease: Lease) -> Written:
    state, before = pool.state, str(pool.nodes)
    original = state.original if pool.mine else pool.nodes
    limit = _limit(pool.obj)
    wanted = original + more if limit is None else max(min(original + more, limit), original)
    if wanted <= original:
        if state.held:
            return _restore(kube, pool)
        full = f": limits.nodes is {limit}" if more > 0 else ""
        return Written("refused" if more > 0 else "done", before, before, f"no node more{full}")
    taken = state.held and not pool.mine and state.uid == meta(pool.obj, "uid")
    reverts = min(state.reverts + taken, REVERTS_MAX)
    notes = POOL_MARK.write(
        original=original,
        value=state.value if taken and reverts >= REVERTS_MAX else wanted,
        uid=meta(pool.obj, "uid"),
        until=lease.until,
        plan_id=lease.plan_id,
        reverts=reverts,
        reason=lease.reason,
    )
    if taken and reverts >= REVERTS_MAX:
        _noted(kube, pool.obj, {**notes, PREVIOUS: None})
        text = f"somebody scaled it back {reverts} times"
        return Written("reverted", before, before, text, taken="somebody")
    if wanted != pool.nodes:
        obj = _noted(kube, pool.obj, {**notes, PREVIOUS: before})
        version = _rescale(kube, obj, wanted)
        obj = {"metadata": {**mapping(obj, "metadata"), "resourceVersion": version}}
        _tidied(kube, obj)
    else:
        _noted(kube, pool.obj, {**notes, PREVIOUS: None})
    short = f"{original + more} nodes were wanted, limits.nodes is {limit}"
    detail = short if wanted < original + more else ""
    return Written("done", before, str(wanted), detail, taken="somebody" if taken else "")


def _tidied(kube: Kube, obj: Object) -> None:
    """Take the previous count away; where that cannot be done now, the next run does."""
    with suppress(ClusterError):
        _noted(kube, obj, {PREVIOUS: None})


def _restore(kube: Kube, pool: _Pool) -> Written:
    state, before = pool.state, str(pool.nodes)
    if not state.held:
        return Written("done", before, before, "nothing of ours is on it")
    obj, ended = pool.obj, Written("done", before, before)
    if pool.mine:
        if pool.wrong:
            return Written("refused", before, before, pool.wrong)
        _rescale(kube, obj, state.original)
        obj = kube.get(NODE_POOL, meta(obj, "name"))
        ended = Written("done", before, str(state.original))
    elif not state.known or pool.nodes != state.original:
        text = f"somebody scaled it to {before}: left as it is"
        ended = Written("changed", before, before, text)
    return _let_go(kube, obj, ended)


def _let_go(kube: Kube, obj: Object, ended: Written) -> Written:
    """Take our annotations away, and our name off the count, so that its owner may change it; where
    the second is refused, the first alone."""
    names = (*POOL_MARK.names, PREVIOUS)
    notes = dict.fromkeys(n for n in names if n in annotations_of(obj))
    entries = items(obj, "metadata", "managedFields")
    rest = [e for e in entries if (text(e, "manager"), text(e, "operation")) != (MANAGER, "Update")]
    if len(rest) == len(entries):
        _noted(kube, obj, notes)
        return ended
    body = {**_identity(obj), "annotations": notes, "managedFields": rest or [{}]}
    try:
        kube.merge(NODE_POOL, meta(obj, "name"), {"metadata": body})
    except ObjectRefused as error:
        _noted(kube, obj, notes)
        kept = f"foretide is still named as its owner: {error}"
        return replace(ended, detail="; ".join(filter(None, (ended.detail, kept))))
    return ended


def _rescale(kube: Kube, obj: Object, nodes: int) -> str:
    """Scale, and the resourceVersion after it."""
    body = {"metadata": _identity(obj), "spec": {"replicas": nodes}}
    scale = kube.merge(NODE_POOL, meta(obj, "name"), body, subresource="scale")
    return meta(scale, "resourceVersion")


def _noted(kube: Kube, obj: Object, notes: dict[str, Any]) -> Object:
    """Annotations by a merge patch: an apply would drop those of a budget that is held too."""
    if all(annotations_of(obj).get(k) == v for k, v in notes.items()):
        return obj
    body = {"metadata": {**_identity(obj), "annotations": notes}}
    return kube.merge(NODE_POOL, meta(obj, "name"), body)


def _identity(obj: Object) -> dict[str, str]:
    return {"uid": meta(obj, "uid"), "resourceVersion": meta(obj, "resourceVersion")}


def _limit(obj: Object) -> int | None:
    """limits.nodes: a quantity that is a plain count."""
    given = str(mapping(obj, "spec", "limits").get("nodes", ""))
    return int(given) if given.isascii() and given.isdigit() else None


def _nodes_for(kube: Kube, name: str, asks: Asks) -> int | None:
    """Nodes for so many pods by the smallest node that is there; None where there is none."""
    pods, cores, memory = asks
    fits = [int(min(_share(c, cores), _share(m, memory))) for c, m in _sizes(kube, name)]
    least = min(fits, default=0)
    return None if least < 1 else -(-pods // least)


def _share(there: float, asked: float) -> float:
    return there // asked if asked > 0 else 1e9


def _sizes(kube: Kube, name: str) -> Iterator[tuple[float, float]]:
    """Cores and bytes that each node of a NodePool has for pods."""
    from kubernetes.utils.quantity import parse_quantity

    for node in kube.list(NODE):
        if mapping(node, "metadata", "labels").get("karpenter.sh/nodepool") != name:
            continue
        there = mapping(node, "status", "allocatable")
        try:
            yield (
                float(parse_quantity(str(there["cpu"]))),
                float(parse_quantity(str(there["memory"]))),
            )
        except (KeyError, ValueError):
            continue
