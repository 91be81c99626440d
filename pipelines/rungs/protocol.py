"""One field of one object, held for a while and given back: the safe protocol.

Read it (uid, resourceVersion, value, owners); apply the new value without force, with that uid and
resourceVersion, so that nothing is created and nothing is overwritten that was not seen, and with
the original value in an annotation of the same request. To give back, the *original value* is
applied without the annotations, in one request: releasing the field as its only owner would reset
it to the API's default. Only where the field was unset it is released. An original whose annotation
is not ours, by managedFields, is not believed: a person has to give that field back.

Then our entry is taken out of managedFields (``letting_go``), so that whoever set the value may set
another one without a conflict. Between the two requests an annotation says that it is given back.

Whose value is it? Ours alone, if managedFields say so: whoever changes a field becomes its owner.

=================================  ==============================  ===============================
owners of the field                to raise again                  to give back
=================================  ==============================  ===============================
we alone                           keep the original               apply the original
we and others (same value)         their value is the original     leave the value, drop our share
others                             their value is the original,    leave the value, drop our
                                   counted as a revert             annotations
nobody (managedFields stripped)    refused where the value is the  the same
                                   one that we wrote
=================================  ==============================  ===============================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

from pipelines.adapters.kube import Kube
from pipelines.errors import ClusterError, FieldConflict, ObjectChanged
from pipelines.rungs.annotations import Value, annotations_of, shown
from pipelines.rungs.letting_go import identity, let_go
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
    if seen.doubt:
        return Written("refused", before, before, seen.doubt)
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
        text = f"{seen.who} took it back {reverts} times"
        return Written("reverted", before, before, text, taken=seen.who)
    if seen.mine and seen.value == value and same:
        return Written("done", before, before, "held already")
    body = _body(slot, obj, notes, value)
    try:
        kube.apply(slot.kind, body)
    except FieldConflict as error:
        if not _may_force(error, force_owners):
            return Written("conflict", before, before, _refusal(error))
        kube.apply(slot.kind, body, force=True)
    ended = _confirmed(kube, slot, obj, before, value, reverts)
    return replace(ended, taken=ended.taken or (seen.who if seen.taken else ""))


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
        text = f"{seen.who} took it back {reverts + 1} times"
        return Written("reverted", before, now, text, taken=seen.who)
    return Written("conflict", before, now, f"{seen.who} took it back at once", taken=seen.who)


def _restore(kube: Kube, slot: Slot, obj: Object) -> Written:
    seen = look(slot, obj)
    before = shown(seen.value)
    if seen.doubt:
        return Written("refused", before, before, seen.doubt)
    if not seen.state.held:
        return _unheld(kube, slot, obj, seen)
    mark = {slot.mark.given: "yes"}
    if seen.mine:
        after = kube.apply(slot.kind, _body(slot, obj, mark, seen.state.original), force=True)
    elif seen.ours and not seen.others:
        # as its only owner we would reset the field by leaving it out
        after = kube.apply(slot.kind, _body(slot, obj, mark, seen.value))
    else:
        after = kube.apply(slot.kind, _body(slot, obj, {}, None))
    after, kept = let_go(kube, slot, after, TRIES)
    now = shown(slot.read(after))
    if seen.mine:
        return Written("done", before, now, kept)
    if seen.copied:
        text = "our annotations were copied from another object: removed, the value is left"
        return Written("changed", before, now, text)
    if seen.state.known and seen.value == seen.state.original:
        return Written("reverted", before, now, f"{seen.who} had put it back", taken=seen.who)
    return Written("changed", before, now, f"{seen.who} set it to {now}: left as it is")


def _unheld(kube: Kube, slot: Slot, obj: Object, seen: Seen) -> Written:
    """What is left to do on a field that nothing says is held."""
    before = shown(seen.value)
    if seen.ours and seen.others:
        # we gave it back, and its owner has claimed it again: our share would be in the way of the
        # next change
        kube.apply(slot.kind, _body(slot, obj, {}, None))
        return Written("done", before, before, f"left to {seen.who}")
    if seen.given:
        _, kept = let_go(kube, slot, obj, TRIES)
        return Written("done", before, before, kept or "it was given back before")
    return Written("done", before, before, "nothing of ours is on it")


def _body(slot: Slot, obj: Object, notes: dict[str, str], value: Value) -> Object:
    names = {key: meta(obj, key) for key in ("name", "namespace") if meta(obj, key)}
    annotations = {"annotations": notes} if notes else {}
    body = {} if value is None else slot.body(value)
    return {"metadata": {**names, **identity(obj), **annotations}, **body}


def _may_force(error: FieldConflict, force_owners: Sequence[str]) -> bool:
    return bool(error.owners) and all(
        any(fnmatchcase(who, glob) for glob in force_owners) for who in error.owners
    )


def _refusal(error: FieldConflict) -> str:
    owned = "; ".join(f"{who} owns {', '.join(fields)}" for who, fields in error.owners.items())
    return f"{owned}; prescale.rungs.force_owners would have to name them"
