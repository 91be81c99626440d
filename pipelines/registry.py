"""Registered baselines: what a version's folder holds, and how it is read back.

A version is one folder a shard of workloads, each a bundle of Parquet, NumPy arrays and JSON;
nothing in it is code. It is logged as an MLflow pyfunc whose loader is this module, so that
``mlflow.pyfunc.load_model("models:/foretide-forecaster@champion").predict(frame)`` works in a
notebook.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.frames import QUANTILES, quantile_column
from features.panel import Panel
from models.base import Baselines
from models.bundle import load
from models.champion import Champions
from pipelines.adapters.tracking import ModelVersion
from pipelines.errors import ModelError
from pipelines.learning import Learned, forecasters
from pipelines.run import Run
from pipelines.settings import Settings, load_settings

__all__ = ["DETECTOR", "FORECASTER", "Live", "check_round_trip", "load_live", "same_training"]

FORECASTER = "forecaster"
DETECTOR = "detector"
_DATA = "data"


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
    version = tracking.champion(FORECASTER)
    if version is None:
        raise ModelError(
            f"no champion is registered at {tracking.shown}; run `foretide train` first"
        )
    with tracking.files(version) as model:
        bundles = _bundles(model, workloads, version.label)
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
    other = tracking.champion(DETECTOR) if detectors else None
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
        with tracking.files(other) as model:
            found = dict(_bundles(model, workloads, other.label))
    shards = tuple(
        Learned(c, found.get(name, {}))
        for name, c in champions.items()
        if c is not None and len(c.chosen)
    )
    return Live(version, other, shards)


def same_training(live: Sequence[ModelVersion | None]) -> bool:
    """Whether the given versions were made by one run of train, as far as is known."""
    runs = {v.tags.get("run_id", "") for v in live if v is not None}
    return len(runs - {""}) < 2


def check_round_trip(model: Path, settings: Settings, label: str = "") -> None:
    """Load a version's files and let them answer once, one shard after the other: all at once they
    need not fit in memory.

    ``label`` is what errors call the version; by default its folder's name.

    Raises
    ------
    ModelError
        They do not load or cannot be asked, or no forecast of a shard is finite.
    """
    label = label or model.name
    every, any_bundle = forecasters(settings), False
    for name, bundle in _bundles(model, None, label):
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


def _bundles(
    model: Path, workloads: Sequence[str] | None, label: str
) -> Iterator[tuple[str, dict[str, Baselines]]]:
    """Name and contents of each bundle, read when it is asked for."""
    try:
        for folder in sorted(p for p in (model / _DATA).glob("*/*") if p.is_dir()):
            held = None if workloads is None else _workloads_in(folder)
            if held is None or not held.isdisjoint(workloads or ()):
                yield folder.name, load(folder, workloads=workloads)[0]
    except (ValueError, OSError) as error:
        raise ModelError(f"{label}: the registered version does not load: {error}") from error


@lru_cache(maxsize=4096)
def _workloads_in(folder: Path) -> frozenset[str] | None:
    """Whom a bundle is about, where that can be told from one file: every shard of a run asks every
    bundle, and most have nothing for it. A version's files never change."""
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


class _Pyfunc:
    """What MLflow calls: a frame with ``n_steps`` (one row) in, the forecasts of all workloads
    out.
    """

    def __init__(self, champions: list[Champions]) -> None:
        self._champions = champions

    def predict(
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Forecast the next ``n_steps`` steps after the training's end, in long form."""
        del params
        n_steps = int(model_input["n_steps"].iloc[0])
        frames: list[pd.DataFrame] = []
        for champions in self._champions:
            values, _ = champions.predict(
                champions.end, n_steps, QUANTILES, forecasters(load_settings())
            )
            told = [
                Panel(champions.chosen[["workload", "metric"]], champions.end, champions.step, v)
                for v in values
            ]
            frame = told[0].to_frame()[["workload", "metric", "ts"]]
            columns = {
                quantile_column(q): p.to_frame()["value"]
                for q, p in zip(QUANTILES, told, strict=True)
            }
            frames.append(frame.assign(**columns))
        return pd.concat(frames, ignore_index=True)


def _load_pyfunc(path: str) -> _Pyfunc:  # pyright: ignore[reportUnusedFunction]  # MLflow calls it by this name
    folders = sorted(p for p in Path(path).glob("*") if p.is_dir())
    return _Pyfunc([Champions.from_baselines(load(f)[0]) for f in folders])
