"""What a training puts into the registry: both families' versions, and which of them goes live.

A version holds its bundles and their index, the backtest's table, a signature and an input example;
its tags say of which training it is, of which data (``data_sha256``) and code (``code_revision``).
"""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.frames import BACKTEST, conform
from models.bundle_index import write_index
from models.promotion import why_worse
from pipelines.adapters.tracking import ModelVersion, Tracking
from pipelines.code_revision import code_revision
from pipelines.errors import ModelError
from pipelines.pairs import DETECTOR, FORECASTER, Pair, challenge, crown, live_pair
from pipelines.registry import LOADER, check_round_trip
from pipelines.retraining import Kept
from pipelines.run import Run
from pipelines.served import example_of
from pipelines.staging import aside, tables_aside

__all__ = ["Registered", "go_live", "log_versions"]

_TABLE = "backtest/backtest.parquet"
_KEY = ["workload", "metric"]
_FIGURES = ("wape", "coverage_q90", "peak_coverage_q90")


@dataclass(frozen=True, slots=True)
class Registered:
    """The new versions, challengers so far; ``held_back`` says why they have to stay it."""

    pair: Pair
    held_back: str | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """For a person."""
        if self.held_back is None:
            return ()
        first = self.pair[0]
        return (
            f"  {first.label} stays challenger: {self.held_back}; "
            f"`foretide models promote {first.family} {first.version}` makes it live anyway",
        )


def log_versions(run: Run, data_sha256: str, series: int, kept: Kept) -> Registered:
    """Log both families, each loaded back and asked once; then they are challengers.

    Raises
    ------
    ModelError
        MLflow cannot be reached or refused, or a version does not come back: no alias has moved.
    """
    tracking, root = run.tracking(), aside(run, "train")
    live = live_pair(tracking)[0]
    before = None if live is None else _backtest_of(tracking, live)
    table = _table(run, kept, before)
    tags = {
        "run_id": run.run_id,
        "training": f"{run.run_id}-{uuid.uuid4().hex[:8]}",
        "as_of": run.ref.as_of,
        "data_sha256": data_sha256,
        "code_revision": code_revision(),
    } | kept.tags
    figures = {"series": float(series + kept.series)} | ({} if table is None else _medians(table))
    beside = None if table is None else _written(root / "version" / "backtest", table)
    if beside is not None:
        tags["backtest_sha256"] = _sha256(beside / "backtest.parquet")
    pair = tuple(
        _log(run, tracking, root / family, figures, tags, beside)
        for family in (FORECASTER, DETECTOR)
    )
    challenge(tracking, pair)
    return Registered(pair, None if kept.series else _why_held(run, table, live, before))


def go_live(run: Run, made: Registered) -> None:
    """Make the versions champions together, or write on them why they are not."""
    tracking = run.tracking()
    if made.held_back is None:
        crown(tracking, made.pair)
        return
    for version in made.pair:
        tracking.note(version, "held_back", made.held_back)


def _log(
    run: Run,
    tracking: Tracking,
    folder: Path,
    figures: Mapping[str, float],
    tags: Mapping[str, str],
    beside: Path | None,
) -> ModelVersion:
    settings = run.settings
    return tracking.log_bundle(
        folder.name,
        folder,
        params={
            "as_of": run.ref.as_of,
            "history_days": str(settings.history.days),
            "models": ",".join(settings.forecast.models),
        },
        metrics=figures,
        tags={**tags, "index_sha256": write_index(folder)},
        loader_module=LOADER,
        check=lambda model: check_round_trip(model, settings, f"the new {folder.name}"),
        example=example_of(folder, settings),
        beside=beside,
    )


def _why_held(
    run: Run, table: pd.DataFrame | None, live: ModelVersion | None, before: pd.DataFrame | None
) -> str | None:
    """Why the live version stays; nothing where there is none that is young, or nothing to compare.

    A training on an earlier clock than the live one's was asked for, and goes live.
    """
    if table is None or live is None or before is None:
        return None
    gate = run.settings.tracking.promotion
    age = run.as_of - pd.Timestamp(live.tags.get("as_of", "NaT"))
    if not pd.Timedelta(0) <= age <= pd.Timedelta(days=gate.live_at_most_days):
        return None
    why = why_worse(table, before, gate)
    return None if why is None else f"{why} ({live.label})"


def _table(run: Run, kept: Kept, before: pd.DataFrame | None) -> pd.DataFrame | None:
    """The version's backtest; where rows came over from the live version, theirs with them."""
    written = tables_aside(run, "train", BACKTEST)
    new: pd.DataFrame | None = None if written is None else written.to_pandas()
    if not kept.series:
        return new
    if before is None:
        return None  # the figures would be of the few that drifted
    if new is None:
        return before
    anew = before["workload"].isin(new["workload"].unique())
    return pd.concat([before[~anew.to_numpy(dtype=bool)], new], ignore_index=True)


def _written(folder: Path, table: pd.DataFrame) -> Path:
    """A folder with the table and, for whoever looks at the run, a summary."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(conform(table, BACKTEST), folder / "backtest.parquet", compression="zstd")
    live = table[table["champion"].astype(bool)]
    counts = live.drop_duplicates(_KEY)["model"].astype("str").value_counts()
    summary = {
        "series": len(live.drop_duplicates(_KEY)),
        "champions": {str(model): int(n) for model, n in counts.items()},
    } | _medians(table)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    return folder


def _backtest_of(tracking: Tracking, version: ModelVersion) -> pd.DataFrame | None:
    """The backtest that a version was registered with; nothing where it has none that is its own:
    a new version is not kept from going live by what became of an old one's table."""
    sha256 = version.tags.get("backtest_sha256")
    if not sha256:
        return None

    def check(file: Path) -> None:
        if _sha256(file) != sha256:
            raise ValueError(f"{_TABLE} is not what was registered: its SHA-256 differs")

    try:
        file = tracking.part(version, _TABLE, check)
        check(file)
        return conform(pq.read_table(io.BytesIO(file.read_bytes())), BACKTEST).to_pandas()
    except (ModelError, ValueError, OSError, pa.ArrowException):
        return None


def _medians(table: pd.DataFrame) -> dict[str, float]:
    live = table[table["champion"].astype(bool)]
    found = {f"backtest_{c}_median": float(live[c].median()) for c in _FIGURES}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
