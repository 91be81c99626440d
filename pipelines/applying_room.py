"""Room on nodes, and nodes that are kept: what should stand now, and what is given back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pandas as pd

from features.workloads import workload_id
from models.actions import Placeholder, Plan, holds_at
from models.holders import Holder
from models.room import room_now
from pipelines.adapters.kube import CAPACITY_BUFFER, DEPLOYMENT, NODE_POOL, POD_TEMPLATE, Kube
from pipelines.applying import Terms
from pipelines.deeds import Deed, deed_entry
from pipelines.errors import ClusterError, ObjectMissing
from pipelines.ledger import Entry
from pipelines.rungs.held import Held
from pipelines.rungs.hold import hold_nodes, nodepools, release_nodes
from pipelines.rungs.installed import room_name
from pipelines.rungs.params import RungParams
from pipelines.rungs.protocol import Target
from pipelines.rungs.reading import Object, meta
from pipelines.rungs.room import Room, fitting, hold_room, joined, release_held_room
from pipelines.rungs.written import Written, failed

__all__ = ["room_deeds", "room_objects_before"]

_KINDS = {
    "placeholders": (DEPLOYMENT,),
    "buffer": (CAPACITY_BUFFER, POD_TEMPLATE),
    "static_nodepool": (NODE_POOL,),
}


def room_deeds(
    kube: Kube,
    cluster: str,
    plan: Plan | None,
    holders: Mapping[str, Holder],
    there: Sequence[Held],
    params: RungParams,
    terms: Terms,
) -> list[Deed]:
    """What is due about room and nodes: more, less, longer, or back.

    ``plan`` is what may be acted on of the newest one (``may_act``); ``terms`` name that one. Room
    is less by what has landed already, so that no pod is bought twice.
    """
    return [
        *_rooms(kube, cluster, plan, holders, there, params, terms),
        *_holds(kube, cluster, plan, there, params, terms),
    ]


def room_objects_before(
    kube: Kube, deeds: Sequence[Deed], there: Sequence[Held], params: RungParams
) -> tuple[dict[str, Object], dict[str, Entry]]:
    """uid → object, of those that hold nothing of ours yet, as they are now; and ``action_id`` →
    its row after, of a deed whose object cannot be read: without its snapshot it is not done."""
    held = {one.uid for one in there}
    found: dict[str, Object] = {}
    unread: dict[str, Entry] = {}
    for deed in deeds:
        if deed.done != "done":
            continue
        word, _, pool = deed.entry.field.partition(" ")
        for kind in (NODE_POOL,) if word == "hold" else _KINDS.get(params.room, ()):
            name = (pool or params.static_nodepool) if kind == NODE_POOL else room_name(pool)
            try:
                body = kube.get(kind, name, params.namespace if kind.namespaced else "")
            except ObjectMissing:
                continue  # its write says so
            except ClusterError as error:
                entry, status = deed.entry, failed(error).status
                status = "not_done" if status == "done" else status
                unread[entry.action_id] = replace(entry, status=status, detail=str(error))
                break
            if meta(body, "uid") not in held:
                found[meta(body, "uid")] = body
    return found, unread


def _rooms(
    kube: Kube,
    cluster: str,
    plan: Plan | None,
    holders: Mapping[str, Holder],
    there: Sequence[Held],
    params: RungParams,
    terms: Terms,
) -> list[Deed]:
    wanted: list[Placeholder] = []
    if plan is not None and params.room != "none":
        landed = {w: h.replicas for w, h in holders.items()}
        wanted = [p for p in room_now(plan, terms.now, landed) if p.cluster == cluster]
    pools = {p.nodepool: [Room.of(q) for q in wanted if q.nodepool == p.nodepool] for p in wanted}
    asked = [replace(joined(rooms), nodepool=pool) for pool, rooms in pools.items()]
    rooms = fitting(kube, asked, params) if asked else []
    own = {room.nodepool for room in rooms}
    deeds = [
        _hold_room(
            kube,
            cluster,
            room,
            [p for p in wanted if (p.nodepool if p.nodepool in own else "") == room.nodepool],
            params,
            terms,
        )
        for room in rooms
        if not _stands(room, there, params, terms)
    ]
    used = {room_name(pool) for pool in own}
    if params.room == "static_nodepool":
        used = {params.static_nodepool} if rooms else set()
    over = [h for h in there if h.what == "room" and h.name and h.name not in used]
    return deeds + [_release(kube, cluster, one, terms) for one in over]


def _stands(room: Room, there: Sequence[Held], params: RungParams, terms: Terms) -> bool:
    """Whether so much room is held already, and long enough."""
    if params.room == "static_nodepool":
        return False
    of = [h for h in there if h.what == "room" and h.name == room_name(room.nodepool)]
    counts = {n for h in of if (n := _replicas(h.value)) is not None}
    return counts == {room.pods} and all(_is_fresh(h, terms) for h in of)


def _replicas(value: str) -> int | None:
    """Of what a Deployment or a buffer holds, as its annotation has it."""
    found: Any = json.loads(value) if value[:1] in "{0123456789" and value else None
    if isinstance(found, dict):
        found = cast("dict[str, Any]", found).get("replicas")
    return found if isinstance(found, int) else None


def _is_fresh(one: Held, terms: Terms) -> bool:
    return one.until is not None and one.until - terms.now >= terms.ttl / 2


def _hold_room(
    kube: Kube,
    cluster: str,
    room: Room,
    parts: Sequence[Placeholder],
    params: RungParams,
    terms: Terms,
) -> Deed:
    until = _until([p.ends_at for p in parts], terms)
    reason = "; ".join(dict.fromkeys(p.reason for p in parts))
    entry = deed_entry(
        terms,
        cluster=cluster,
        target=workload_id(cluster, "-", "Room", room.nodepool or "any"),
        field=f"room {room.nodepool}".strip(),
        after=f"{room.pods} pods",
        reason=reason,
        until=until,
    )

    def do() -> Written:
        return hold_room(
            kube, room, until=until, plan_id=terms.plan_id, params=params, reason=reason
        )

    return Deed(entry, do, "done")


def _holds(
    kube: Kube,
    cluster: str,
    plan: Plan | None,
    there: Sequence[Held],
    params: RungParams,
    terms: Terms,
) -> list[Deed]:
    wanted: dict[str, tuple[pd.Timestamp, pd.Timestamp, str]] = {}
    if plan is not None and params.hold_nodes:
        for one in holds_at(plan, terms.now):
            if one.cluster == cluster:
                # an empty name: nobody knows whose nodes they are, so all are kept
                for pool in [one.nodepool] if one.nodepool else nodepools(kube):
                    wanted[pool] = one.starts_at, one.ends_at, one.reason
    fresh = {h.name for h in there if h.what == "hold" and h.ours and _is_fresh(h, terms)}
    deeds = [
        _hold(kube, cluster, pool, *wish, params, terms)
        for pool, wish in wanted.items()
        if pool not in fresh
    ]
    over = [h for h in there if h.what == "hold" and h.name and h.name not in wanted]
    return deeds + [_release(kube, cluster, one, terms) for one in over]


def _hold(
    kube: Kube,
    cluster: str,
    pool: str,
    start: pd.Timestamp,
    end: pd.Timestamp,
    reason: str,
    params: RungParams,
    terms: Terms,
) -> Deed:
    until = _until([end], terms)
    entry = deed_entry(
        terms,
        cluster=cluster,
        target=workload_id(cluster, "-", NODE_POOL.kind, pool),
        field=f"hold {pool}",
        after="no node is consolidated",
        reason=reason,
        until=until,
    )

    def do() -> Written:
        return hold_nodes(
            kube,
            pool,
            start=start,
            end=until,
            plan_id=terms.plan_id,
            force_owners=params.force_owners,
            reason=reason,
        )

    return Deed(entry, do, "done")


def _release(kube: Kube, cluster: str, one: Held, terms: Terms) -> Deed:
    entry = deed_entry(
        terms,
        cluster=cluster,
        target=one.workload,
        field=f"{one.what} {one.name}",
        after=one.original,
        reason="the plan does not need it now",
        until=terms.now,
    )
    target = Target(one.name, one.namespace, one.uid)

    def do() -> Written:
        if one.what == "hold":
            return release_nodes(kube, one.name, uid=one.uid)
        return release_held_room(kube, one.kind, target)

    return Deed(replace(entry, before=one.value, uid=one.uid), do, "given_back")


def _until(ends: Iterable[pd.Timestamp], terms: Terms) -> pd.Timestamp:
    return min([*ends, terms.now + terms.ttl])
