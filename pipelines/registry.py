"""Registered baselines: what a version's folder holds, and how it is read back.

A version is one folder a shard of workloads, each a bundle of Parquet, arrays and JSON, and an
index that says which of them holds whom; nothing in it is code. It is logged as an MLflow pyfunc
whose loader is this module (``pipelines.served`` answers), and is never read by that loader here:
what a registry says of loaders is nothing to us.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from models.base import Baselines
from models.bundle import load
from models.bundle_index import (
    INDEX,
    WORKLOADS,
    BundleIndex,
    read_index,
    verify_bundle,
    verify_index,
    verify_manifest,
    verify_workloads,
)
from models.champion import Champions
from pipelines.adapters.tracking import ModelVersion, Tracking, score_example
from pipelines.errors import ModelError
from pipelines.learning import Learned, forecasters
from pipelines.pairs import DETECTOR, FORECASTER, live_pair, same_training
from pipelines.run import Run
from pipelines.served import Served, configured
from pipelines.settings import Settings

__all__ = [
    "DETECTOR",
    "FORECASTER",
    "LOADER",
    "Live",
    "check_round_trip",
    "index_of",
    "load_live",
    "same_training",
]

LOADER = "pipelines.registry"
_DATA = "data"
_TOLD = frozenset({"q50", "score"})


@dataclass(frozen=True, slots=True)
class Live:
    """The champion versions, loaded: one ``Learned`` a training shard and calendar."""

    forecaster: ModelVersion
    detector: ModelVersion | None
    shards: tuple[Learned, ...]


def load_live(run: Run, workloads: Sequence[str], *, detectors: bool) -> Live:
    """The live baselines of the given workloads; shards that hold none of them are left out.

    Raises
    ------
    ModelError
        Nothing is registered, or what is registered does not load or knows what came after the
        run's clock.
    """
    tracking = run.tracking()
    version, other = live_pair(tracking) if detectors else (tracking.champion(FORECASTER), None)
    if version is None:
        raise ModelError(
            f"no champion is registered at {tracking.shown}; run `foretide train` first"
        )
    with _held(tracking, version, workloads) as bundles:
        champions = {n: _champions(b, f"{version.label}, {n}") for n, b in bundles}
    ends = [c.end for c in champions.values() if c is not None and len(c.chosen)]
    end = max(ends, default=run.as_of)
    if end > run.as_of:
        raise ModelError(
            f"the champion {version.label} was trained on what came until {end:%Y-%m-%d %H:%M}, "
            f"after the run's clock, {run.as_of:%Y-%m-%d %H:%M} UTC; choose a later --as-of, or "
            "train with this one"
        )
    found: dict[str, dict[str, Baselines]] = {}
    if detectors and other is None:
        raise ModelError(
            f"no detector is registered at {tracking.shown}; run `foretide train` first"
        )
    if not same_training([version, other]):
        raise ModelError(
            f"the champions {version.label} and {other.label if other else 'none'} are not of one "
            "training; promote or roll back one of them with `foretide models`"
        )
    if other is not None:
        with _held(tracking, other, workloads) as bundles:
            found = dict(bundles)
    shards = tuple(
        Learned(c, found.get(name, {}))
        for name, c in champions.items()
        if c is not None and len(c.chosen)
    )
    return Live(version, other, shards)


def index_of(tracking: Tracking, version: ModelVersion) -> BundleIndex | None:
    """Which bundle holds whom; nothing in a version of an earlier release.

    Raises
    ------
    ModelError
        It cannot be read, or is not the one that was registered.
    """
    sha256 = version.tags.get("index_sha256")
    if not sha256:
        return None
    root = f"{_DATA}/{version.family}"
    try:  # what does not fit is not kept: it would be found again at every load
        index = tracking.part(version, f"{root}/{INDEX}", partial(verify_index, sha256=sha256))
        tracking.part(version, f"{root}/{WORKLOADS}", partial(verify_workloads, index=index))
        return _read_index(index.parent, sha256)
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{version.label}: the registered version does not load: {error}"
        ) from error


def check_round_trip(model: Path, settings: Settings, label: str = "") -> None:
    """Load a version's files and let them answer once, one shard after the other: all at once they
    need not fit in memory. Then the version answers its input example as anyone's MLflow loads it.

    ``label`` is what errors call the version; by default its folder's name.

    Raises
    ------
    ModelError
        They do not load or cannot be asked, or no forecast of a shard is finite.
    """
    label = label or model.name
    every, any_bundle = forecasters(settings), False
    for name, bundle in _loaded(_folders(model), None, label):
        any_bundle = True
        champions = _champions(bundle, f"{label}, {name}")
        if champions is None:
            continue  # the detector family: its baselines were parsed, there is nothing to predict
        try:
            values, _ = champions.predict(champions.end, 1, (0.5,), every)
        except ValueError as error:
            raise ModelError(f"{label}, {name}: the version cannot forecast: {error}") from error
        if not np.isfinite(values).any():
            raise ModelError(f"{label}, {name}: the logged version forecasts nothing")
    if not any_bundle:
        raise ModelError(f"{label}: the logged version holds no bundle")
    with configured(settings):
        answer = score_example(model, LOADER, label)
    if answer is not None and not np.isfinite(np.asarray(answer[list(_TOLD & {*answer})])).any():
        raise ModelError(f"{label}: the answer to its input example holds no number")


@contextmanager
def _held(
    tracking: Tracking, version: ModelVersion, workloads: Sequence[str]
) -> Generator[Iterator[tuple[str, dict[str, Baselines]]]]:
    """Name and contents of the bundles that hold some of the workloads; no other is fetched."""
    index = index_of(tracking, version)
    if index is None:
        with tracking.files(version) as model:
            yield _loaded(_holding(_folders(model), workloads), workloads, version.label)
        return
    yield _loaded(_fetched(tracking, version, index, workloads), workloads, version.label)


def _fetched(
    tracking: Tracking, version: ModelVersion, index: BundleIndex, workloads: Sequence[str]
) -> Iterator[Path]:
    for name in index.holding(workloads):
        told = index.bundles[name]
        folder = tracking.part(
            version, f"{_DATA}/{version.family}/{name}", partial(verify_bundle, told=told)
        )
        verify_manifest(folder, told)
        yield folder


@lru_cache(maxsize=16)
def _read_index(root: Path, sha256: str) -> BundleIndex | None:
    """Every shard of a run asks for it, and it never changes."""
    return read_index(root, sha256)


def _folders(model: Path) -> list[Path]:
    return sorted(p for p in (model / _DATA).glob("*/*") if p.is_dir())


def _holding(folders: Sequence[Path], workloads: Sequence[str]) -> Iterator[Path]:
    for folder in folders:
        held = _workloads_in(folder)
        if held is None or not held.isdisjoint(workloads):
            yield folder


def _loaded(
    folders: Iterator[Path] | Sequence[Path], workloads: Sequence[str] | None, label: str
) -> Iterator[tuple[str, dict[str, Baselines]]]:
    """Name and contents of each bundle, read when it is asked for."""
    try:
        for folder in folders:
            yield folder.name, load(folder, workloads=workloads)[0]
    except (ValueError, OSError) as error:
        raise ModelError(f"{label}: the registered version does not load: {error}") from error


@lru_cache(maxsize=4096)
def _workloads_in(folder: Path) -> frozenset[str] | None:
    """Whom a bundle of an earlier release, without an index, is about, where one file tells."""
    for name in ("champion", "band"):
        keys = folder / name / "keys.parquet"
        if keys.is_file():
            return frozenset(str(w) for w in pd.read_parquet(keys)["workload"].unique())
    return None


def _champions(bundle: dict[str, Baselines], label: str) -> Champions | None:
    """The champions of a forecaster's bundle; nothing of a detector's."""
    if "champion" not in bundle:
        return None
    try:
        return Champions.from_baselines(bundle)
    except (ValueError, KeyError) as error:
        raise ModelError(f"{label}: the registered version does not load: {error}") from error


def _load_pyfunc(path: str) -> Served:  # pyright: ignore[reportUnusedFunction]  # MLflow calls it by this name
    return Served(Path(path))
