"""What the steps left behind: the store, how old its tables are, which models are live."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from features.frames import SCORES, Contract
from pipelines.adapters.objects.probe import probe_write
from pipelines.adapters.objects.protocol import open_objects
from pipelines.adapters.store import Store
from pipelines.adapters.tracking import Tracking
from pipelines.doctor.check import Check
from pipelines.errors import ModelError, StoreError
from pipelines.registry import same_training
from pipelines.run import part_name
from pipelines.versions import FAMILIES, is_new

__all__ = ["check_models", "check_samples", "check_store", "check_table"]

_MODELS_LATE = pd.Timedelta(days=14)
"""Two trainings of a weekly schedule were missed."""


def check_store(store: Store) -> Check:
    """Whether the tables can be listed and written; nothing is made."""
    try:
        if store.root.startswith("s3://"):
            return _bucket(store)
        store.parts(SCORES)
    except StoreError as error:
        return Check("store", "fail", str(error), "correct store.path or its permissions")
    path = Path(store.root).absolute()
    place = next(p for p in (path, *path.parents) if p.exists())
    if not place.is_dir():
        return Check("store", "fail", f"{place} is no folder", "choose another store.path")
    if not os.access(place, os.W_OK | os.X_OK):
        detail = f"{place} cannot be written by this user"
        return Check("store", "fail", detail, "change its permissions, or choose a store.path")
    made = "" if place == path else "; the first step makes it"
    return Check("store", "ok", f"{path} is writable{made}")


def _bucket(store: Store) -> Check:
    root = store.root
    objects = open_objects(root)
    objects.list(f"{SCORES.name}/")  # first: who may not list is refused what is not there, too
    store.parts(SCORES)
    if probe_write(objects):
        return Check("store", "ok", f"{root} can be listed and written")
    return Check(
        "store",
        "warn",
        f"{root} can be written, and keeps no condition of a write (If-Match)",
        "let one process at a time write to it, or use a store that does: Amazon S3, a newer MinIO",
    )


def check_samples(store: Store, as_of: pd.Timestamp, days: float, fresh: pd.Timedelta) -> Check:
    """How old the newest sample is, looking back over the history that is learned from."""
    epoch = pd.Timestamp(0, tz="UTC")
    try:
        store.read_samples(epoch, epoch)
    except StoreError:
        return Check("samples", "warn", f"none in {store.root} yet", "run `foretide ingest`")
    try:
        newest = store.newest(as_of)
    except StoreError as error:
        return Check("samples", "fail", str(error), "move the file away and ingest its day again")
    if newest is None or newest < as_of - pd.Timedelta(days=days):
        detail = f"none in the {days:g} days before {as_of:%Y-%m-%d %H:%M} UTC"
        return Check("samples", "warn", detail, "run `foretide ingest`, or choose an --as-of")
    return _aged("samples", "newest", newest, as_of, fresh, "run `foretide ingest`")


def check_table(
    store: Store, contract: Contract, as_of: pd.Timestamp, valid: pd.Timedelta, verb: str
) -> Check:
    """How old the newest run of a table is, by the name of its part."""
    until = part_name(as_of)
    try:
        stamps = [p[: len(until)] for p in store.parts(contract)]
    except StoreError as error:
        return Check(contract.name, "fail", str(error), "correct store.path or its permissions")
    moments = pd.to_datetime(
        pd.Series([s for s in stamps if s <= until], dtype="str"),
        format="%Y%m%dT%H%M%SZ", errors="coerce", utc=True,
    )  # fmt: skip
    remedy = f"run `foretide {verb}`"
    if not moments.notna().any():
        return Check(contract.name, "warn", "none yet", remedy)
    return _aged(contract.name, "newest run", moments.max(), as_of, valid, remedy)


def check_models(tracking: Tracking, as_of: pd.Timestamp) -> list[Check]:
    """Which versions are live, how old they are, and whether they belong together."""
    remedy = "run `foretide train`"
    if is_new(tracking):
        return [Check("models", "warn", f"nothing is registered at {tracking.shown}", remedy)]
    try:
        live = {family: tracking.champion(family) for family in FAMILIES}
    except ModelError as error:
        return [Check("models", "fail", str(error), "correct tracking.uri, or restore it")]
    checks: list[Check] = []
    for family, version in live.items():
        if version is None:
            checks.append(Check(family, "warn", f"no champion at {tracking.shown}", remedy))
            continue
        learned = pd.Timestamp(version.tags.get("as_of", "NaT"))
        if pd.isna(learned):
            checks.append(Check(family, "ok", f"{version.label} is live"))
            continue
        what = f"{version.label} is live, learned up to"
        checks.append(_aged(family, what, learned, as_of, _MODELS_LATE, remedy))
    if not same_training(list(live.values())):
        labels = " and ".join(v.label for v in live.values() if v is not None)
        detail = f"{labels} come from different trainings"
        remedy = "make a pair live: `foretide models promote forecaster N` moves both"
        checks.append(Check("models", "warn", detail, remedy))
    return checks


def _aged(
    name: str,
    what: str,
    moment: pd.Timestamp,
    as_of: pd.Timestamp,
    fresh: pd.Timedelta,
    remedy: str,
) -> Check:
    age = as_of - moment
    detail = f"{what} {moment:%Y-%m-%d %H:%M} UTC, {_length(age)} old"
    if age <= fresh:
        return Check(name, "ok", detail)
    return Check(name, "warn", f"{detail}; expected at most {_length(fresh)}", remedy)


def _length(age: pd.Timedelta) -> str:
    hours = age / pd.Timedelta(hours=1)
    if abs(hours) < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.0f} h" if abs(hours) < 48 else f"{hours / 24:.1f} d"
