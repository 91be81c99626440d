"""Floors as patches in a folder, for a cluster that only GitOps writes to (Argo CD, Flux).

The folder is a kustomize component: a kustomization that lists it under ``components`` gets every
patch of *now*, and none once the folder has none. What was rendered is told apart from the user's
own value by annotations that come with it, so that the next rendering does not take one for the
other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from models.holders import Holder
from pipelines.manifests import dns_label
from pipelines.rungs.annotations import PREFIX, UNSET, annotations_of, stamp, stamp_of
from pipelines.rungs.floors import SLOTS
from pipelines.rungs.reading import Object

__all__ = ["Rendered", "Wish", "render_patches", "rendered", "write_patches"]

_ORIGINAL, _FLOOR = PREFIX + "gitops-original", PREFIX + "gitops-floor"
_PLAN, _UNTIL = PREFIX + "gitops-plan-id", PREFIX + "gitops-valid-until"
_FIELDS = {"hpa": "minReplicas", "keda": "minReplicaCount"}
_OURS = re.compile(r"floor_[a-z0-9_-]+\.yaml")
_README = """\
# Floors of now, written by Foretide

A kustomize component: list this folder under `components:` of the kustomization whose HPAs and
ScaledObjects it shall raise (Argo CD: the kustomization that the Application points at). Every run
writes it anew; a patch that has expired is taken out. Do not edit it by hand.
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """A floor that should stand now."""

    holder: Holder
    floor: int
    until: pd.Timestamp
    plan_id: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """What our patch says on an object that GitOps applied it to."""

    original: int | None
    plan_id: str
    until: pd.Timestamp | None


def rendered(obj: Object, value: int | None) -> Rendered | None:
    """What our patch says on an object, where ``value``, its floor, is the patch's."""
    notes = annotations_of(obj)
    original = notes.get(_ORIGINAL, "")
    if value is None or notes.get(_FLOOR) != str(value):
        return None
    if original != UNSET and not re.fullmatch(r"[0-9]{1,9}", original):
        return None
    user = None if original == UNSET else int(original)
    return Rendered(user, notes.get(_PLAN) or "unknown", stamp_of(notes.get(_UNTIL, "")))


def render_patches(wishes: Sequence[Wish], *, now: pd.Timestamp) -> dict[str, str]:
    """File name → content, the same for the same wishes, in any order of them.

    Left out is what has expired, what is not above the user's own floor, and what is above the
    ceiling.
    """
    files: dict[str, str] = {}
    patches: list[dict[str, Any]] = []
    for wish in sorted(wishes, key=lambda w: (w.holder.workload, w.holder.name)):
        holder = wish.holder
        high = holder.ceiling if holder.ceiling is not None else wish.floor
        if wish.until <= now or not holder.user_floor < wish.floor <= high:
            continue
        name = _file_name(holder)
        files[name] = yaml.safe_dump(_patch(wish), sort_keys=False)
        kind = SLOTS[holder.rung].kind
        target = {
            "group": kind.group,
            "version": kind.version,
            "kind": kind.kind,
            # kustomize takes these for regular expressions
            "name": re.escape(holder.name),
            "namespace": re.escape(holder.namespace),
        }
        patches.append({"path": name, "target": target})
    component = {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "patches": patches,
    }
    files["kustomization.yaml"] = yaml.safe_dump(component, sort_keys=False)
    files["README.md"] = _README
    return files


def write_patches(folder: str | Path, files: dict[str, str]) -> list[str]:
    """Make a folder hold these files: what changed, by name, removals included.

    Only files of ours are removed. A patch is there before the kustomization names it, and goes
    after it no longer does.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    changed: list[str] = []
    for name in sorted(files, key=lambda n: (n == "kustomization.yaml", n)):
        path = place / name
        new = files[name].encode()
        if path.is_file() and path.read_bytes() == new:
            continue
        part = place / f".{name}.part"
        part.write_bytes(new)
        part.replace(path)
        changed.append(name)
    for path in sorted(place.iterdir()):
        if _OURS.fullmatch(path.name) and path.name not in files:
            path.unlink()
            changed.append(path.name)
    return changed


def _patch(wish: Wish) -> dict[str, Any]:
    holder = wish.holder
    own = holder.original if holder.held else holder.floor
    return {
        "apiVersion": SLOTS[holder.rung].kind.api_version,
        "kind": SLOTS[holder.rung].kind.kind,
        "metadata": {
            "name": holder.name,
            "namespace": holder.namespace,
            "annotations": {
                _ORIGINAL: UNSET if own is None else str(own),
                _FLOOR: str(wish.floor),
                _PLAN: wish.plan_id,
                _UNTIL: stamp(wish.until),
            },
        },
        "spec": {_FIELDS[holder.rung]: wish.floor},
    }


def _file_name(holder: Holder) -> str:
    parts = [holder.namespace, holder.rung, holder.name]
    # parts may meet after they are made safe: the hash keeps two objects apart
    key = hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:8]
    return f"floor_{dns_label(holder.namespace)}_{dns_label(holder.name)}_{key}.yaml"
