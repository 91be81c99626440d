"""One field of one object, held for a while and given back: the safe protocol.

Read it (uid, resourceVersion, value, owners); apply the new value without force, with that uid and
resourceVersion, so that nothing is created and nothing is overwritten that was not seen, and with
the original value in an annotation of the same request. To give back, the *original value* is
applied without the annotations, in one request: releasing the field as its only owner would reset
it to the API's default. Only where the field was unset it is released.

Once it is given back the value is still ours, until its owner applies it again: then our share can
be dropped, which ``restore`` does where nothing is held.

Whose value is it? Ours alone, if managedFields say so: whoever changes a field becomes its owner.

=================================  ==============================  ===============================
owners of the field                to raise again                  to give back
=================================  ==============================  ===============================
we alone                           keep the original               apply the original
we and others (same value)         their value is the original     leave the value, drop our share
others                             their value is the original,    leave the value, drop our
                                   counted as a revert             annotations
nobody (managedFields stripped)    by the value: ours if it is     the same
                                   the one that we wrote
=================================  ==============================  ===============================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from pipelines.adapters.kube import Kube
from pipelines.errors import ClusterError, FieldConflict, ObjectChanged
from pipelines.rungs.annotations import Value, annotations_of, shown
from pipelines.rungs.reading import Object, meta
from pipelines.rungs.slots import Lease, Seen, Slot, Target, look
from pipelines.rungs.written import Written, failed

__all__ = ["REVERTS_MAX", "TRIES", "Lease", "Seen", "Slot", "Target", "hold", "look", "restore"]

TRIES: Final = 3
"""Reads of one object: its controller writes its status every few seconds, which makes what we read
stale, so one more try can be stale too."""
REVERTS_MAX: Final = 2

Want = Callable[[Value, Value], Value]
"""(original, value now) → the value to hold, None where none has to be held."""


def hold(
    kube: Kube,
    slot: Slot,
    target: Target,
    want: Want,
    lease: Lease,
    *,
    force_owners: Sequence[str] = (),
) -> Written:
    """Hold a field at ``want(original, now)``; no exception for what can be expected.

    A conflict is forced only where every manager that it names matches one of the globs
    ``force_owners``.
    """

    def step(obj: Object) -> Written:
        return _hold(kube, slot, obj, want, lease, force_owners)

    return _tried(kube, slot, target, step)


def restore(kube: Kube, slot: Slot, target: Target) -> Written:
    """Give a field back; no exception for what can be expected."""

    def step(obj: Object) -> Written:
        return _restore(kube, slot, obj)

    return _tried(kube, slot, target, step)


def _tried(kube: Kube, slot: Slot, target: Target, step: Callable[[Object], Written]) -> Written:
    """A step on a fresh object; on one that changed meanwhile it is decided again."""
    what = " ".join((slot.kind.kind, "/".join(filter(None, (target.namespace, target.name)))))
    before, last = "", Written("changed")
    for _ in range(TRIES):
        try:
            obj = kube.get(slot.kind, target.name, target.namespace)
            if target.uid and meta(obj, "uid") != target.uid:
                text = f"{what} was recreated since it was read: nothing was written"
                return Written("changed", detail=text, what=what)
            before = shown(slot.read(obj))
            return step(obj).about(what)
        except ObjectChanged as error:
            last = failed(error, before)
        except ClusterError as error:
            return failed(error, before).about(what)
    return last.about(what)


def _hold(
    kube: Kube, slot: Slot, obj: Object, want: Want, lease: Lease, force_owners: Sequence[str]
) -> Written:
    seen = look(slot, obj)
    before = shown(seen.value)
    if seen.mine and (why := _unknown(slot, seen)):
        return Written("refused", before, before, why)
    original = seen.state.original if seen.mine else seen.value
    value = want(original, seen.value)
    if value is None:
        if seen.state.held:
            return _restore(kube, slot, obj)
        return Written("done", before, before, f"nothing to do: it is {before} already")
    reverts = 0 if seen.copied else min(seen.state.reverts + seen.taken, REVERTS_MAX)
    notes = slot.mark.write(
        original=original,
        # while we stand back, the value that was taken back stays written: it is counted once
        value=seen.state.value if seen.taken and reverts >= REVERTS_MAX else value,
        uid=meta(obj, "uid"),
        until=lease.until,
        plan_id=lease.plan_id,
        reverts=reverts,
        reason=lease.reason,
    )
    same = all(annotations_of(obj).get(k) == v for k, v in notes.items())
    if seen.taken and reverts >= REVERTS_MAX:
        if not same:
            kube.apply(slot.kind, _body(slot, obj, notes, None))
        return Written("reverted", before, before, f"{seen.who} took it back {reverts} times")
    if seen.mine and seen.value == value and same:
        return Written("done", before, before, "held already")
    body = _body(slot, obj, notes, value)
    try:
        kube.apply(slot.kind, body)
    except FieldConflict as error:
        if not _may_force(error, force_owners):
            return Written("conflict", before, before, _refusal(error))
        kube.apply(slot.kind, body, force=True)
    return _confirmed(kube, slot, obj, before, value, reverts)


def _confirmed(
    kube: Kube, slot: Slot, obj: Object, before: str, value: Value, reverts: int
) -> Written:
    """After a write: is it still there?"""
    try:
        seen = look(slot, kube.get(slot.kind, meta(obj, "name"), meta(obj, "namespace")))
    except ClusterError as error:
        return Written("done", before, shown(value), f"written, and not seen again: {error}")
    now = shown(seen.value)
    if seen.copied or not seen.state.held:
        return Written("changed", before, now, "it was replaced just after it was written")
    if seen.value == value:
        return Written("done", before, now)
    if seen.ours:
        return Written("changed", before, now, f"the server made {now} of {shown(value)}")
    if reverts + 1 >= REVERTS_MAX:
        return Written("reverted", before, now, f"{seen.who} took it back {reverts + 1} times")
    return Written("conflict", before, now, f"{seen.who} took it back at once")


def _restore(kube: Kube, slot: Slot, obj: Object) -> Written:
    seen = look(slot, obj)
    before = shown(seen.value)
    if not seen.state.held and seen.ours and seen.others:
        # we gave it back, and its owner has claimed it again: our share would be in the way of the
        # next change
        kube.apply(slot.kind, _body(slot, obj, {}, None))
        return Written("done", before, before, f"left to {seen.who}")
    if not seen.state.held:
        return Written("done", before, before, "nothing of ours is on it")
    if seen.mine:
        if why := _unknown(slot, seen):
            return Written("refused", before, before, why)
        body = _body(slot, obj, {}, seen.state.original)
        after = kube.apply(slot.kind, body, force=True)
    else:
        # as its only owner we would reset the field by leaving it out
        keep = seen.value if seen.ours and not seen.others else None
        after = kube.apply(slot.kind, _body(slot, obj, {}, keep))
    after = _cleaned(kube, slot, after)
    now = shown(slot.read(after))
    if seen.mine:
        return Written("done", before, now)
    if seen.copied:
        text = "our annotations were copied from another object: removed, the value is left"
        return Written("changed", before, now, text)
    if seen.state.known and seen.value == seen.state.original:
        return Written("done", before, now, f"{seen.who} had put it back")
    return Written("changed", before, now, f"{seen.who} set it to {now}: left as it is")


def _cleaned(kube: Kube, slot: Slot, obj: Object) -> Object:
    """An object without those of our annotations that an apply leaves: others own them too."""
    left = [name for name in slot.mark.names if name in annotations_of(obj)]
    if not left:
        return obj
    body = {"metadata": {**_identity(obj), "annotations": dict.fromkeys(left)}}
    return kube.merge(slot.kind, meta(obj, "name"), body, meta(obj, "namespace"))


def _unknown(slot: Slot, seen: Seen) -> str:
    """Why the original cannot be trusted, and what a person has to do; empty if it can."""
    state = seen.state
    why = slot.wrong(state.original, seen.value) if state.known else state.broken
    hint = f"set the field as you want it, and remove the annotations {slot.mark.original} and next"
    return f"{why}; {hint} to it" if why else ""


def _body(slot: Slot, obj: Object, notes: dict[str, str], value: Value) -> Object:
    names = {key: meta(obj, key) for key in ("name", "namespace") if meta(obj, key)}
    annotations = {"annotations": notes} if notes else {}
    body = {} if value is None else slot.body(value)
    return {"metadata": {**names, **_identity(obj), **annotations}, **body}


def _identity(obj: Object) -> dict[str, str]:
    """What makes a write fail on any object but the one that was read."""
    return {"uid": meta(obj, "uid"), "resourceVersion": meta(obj, "resourceVersion")}


def _may_force(error: FieldConflict, force_owners: Sequence[str]) -> bool:
    return bool(error.owners) and all(
        any(fnmatchcase(who, glob) for glob in force_owners) for who in error.owners
    )


def _refusal(error: FieldConflict) -> str:
    owned = "; ".join(f"{who} owns {', '.join(fields)}" for who, fields in error.owners.items())
    return f"{owned}; prescale.rungs.force_owners would have to name them"
