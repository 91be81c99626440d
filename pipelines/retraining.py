"""Training anew only what drifted: which workloads, and how their rows come into the live version.

The new version holds the live one's rows without the workloads that were learned again, and what
was learned of them. A shard that none of them is in is taken over file by file.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from models.base import Baselines
from models.bundle import load, save
from pipelines.errors import ModelError
from pipelines.grids import homes
from pipelines.pairs import FORECASTER, live_pair, same_training
from pipelines.run import Run, RunRef, part_name
from pipelines.verdicts import FLAGGED, newest_verdicts

__all__ = [
    "Kept",
    "TrainAsk",
    "asks_for",
    "drifted_workloads",
    "keep_others",
    "learned_workloads",
    "merge",
]


@dataclass(frozen=True, slots=True)
class TrainAsk:
    """What one task learns: a shard, or of it only the workloads that are named."""

    run: RunRef
    workloads: tuple[str, ...] | None = None

    @property
    def folder(self) -> str:
        """How its bundles are named; as none is that the live version could have already."""
        shard = f"{self.run.shard:04d}"
        part = part_name(pd.Timestamp(self.run.as_of))
        return shard if self.workloads is None else f"{part}-{shard}"


@dataclass(frozen=True, slots=True)
class Kept:
    """What came over from the live version; nothing in a full training.

    Attributes
    ----------
    series : how many
    label : of the live forecaster, e.g. ``forecaster/3``
    as_of : up to when the live version knew, ISO 8601
    retrained_at : this run's clock
    """

    series: int = 0
    label: str = ""
    as_of: str = ""
    retrained_at: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """Of the new version; it is as old as the oldest of what it holds."""
        if not self.series:
            return {}
        return {
            "as_of": self.as_of,
            "retrained_from": self.label,
            "retrained_at": self.retrained_at,
        }

    @property
    def figures(self) -> dict[str, float]:
        """For the outcome."""
        return {"series_kept": float(self.series)} if self.label else {}

    @property
    def notes(self) -> tuple[str, ...]:
        """For a person."""
        return (f"  {self.series} series are as in {self.label}",) if self.label else ()


def drifted_workloads(run: Run) -> tuple[str, ...]:
    """The workloads with a series whose live model has drifted or was demoted, sorted."""
    verdicts = newest_verdicts(run)
    flagged = verdicts["verdict"].isin(FLAGGED)
    return tuple(sorted(str(name) for name in verdicts.loc[flagged, "workload"].unique()))


def asks_for(shards: Sequence[RunRef], workloads: Sequence[str]) -> list[TrainAsk]:
    """Each shard that is home to some of the workloads, with these."""
    names = np.array(workloads, dtype=object)
    home = homes(list(workloads), shards[0].shards)
    asks = [TrainAsk(ref, tuple(names[home == ref.shard])) for ref in shards]
    return [ask for ask in asks if ask.workloads]


def keep_others(run: Run, learned: Path) -> Kept:
    """Put the live versions' other workloads beside the bundles that were learned.

    ``learned`` holds a folder for each family. A workload of which nothing could be learned anew
    keeps its rows.

    Raises
    ------
    ModelError
        A live version is missing or does not load, or they are not of one training.
    """
    tracking = run.tracking()
    live = [v for v in live_pair(tracking) if v is not None]
    if len(live) < 2 or not same_training(live):
        have = " and ".join(v.label for v in live) or "nothing"
        raise ModelError(
            f"--drifted needs a live forecaster and detector of one training at {tracking.shown}, "
            f"got {have}; run `foretide train`"
        )
    workloads = learned_workloads(learned / FORECASTER)
    series = 0
    for version in live:
        with tracking.files(version) as model:
            series += merge(model, learned / version.family, workloads)
    return Kept(series, live[0].label, live[0].tags.get("as_of", ""), run.ref.as_of)


def learned_workloads(folder: Path) -> frozenset[str]:
    """The workloads in the bundles of a folder."""
    found = [
        baselines.keys["workload"]
        for bundle in sorted(folder.iterdir())
        for baselines in load(bundle)[0].values()
    ]
    return frozenset(str(name) for keys in found for name in keys)


def merge(model: Path, into: Path, learned: Collection[str]) -> int:
    """Copy a registered version's bundles beside new ones, without the workloads learned anew.

    Returns how many series came over: the rows of who is champion, 0 for detectors.

    Raises
    ------
    ModelError
        The version does not load.
    """
    series = 0
    for folder in sorted(p for p in (model / "data").glob("*/*") if p.is_dir()):
        try:
            baselines, meta = load(folder)
        except (ValueError, OSError) as error:
            raise ModelError(f"{folder.name}: the live version does not load: {error}") from error
        kept = _without(baselines, learned)
        rows = {name: len(b.keys) for name, b in kept.items()}
        if rows == {name: len(b.keys) for name, b in baselines.items()}:
            shutil.copytree(folder, into / folder.name)
        elif any(rows.values()):
            save(into / folder.name, kept, meta)
        series += rows.get("champion", 0)
    return series


def _without(
    baselines: Mapping[str, Baselines], workloads: Collection[str]
) -> dict[str, Baselines]:
    return {
        name: b.select(~b.keys["workload"].isin(list(workloads)).to_numpy(dtype=bool))
        for name, b in baselines.items()
    }
