"""Registered versions: which there are, why a workload has the model it has, and who is live.

A version becomes champion only after its files were read back and scored, here as in training: an
older one may have been damaged since.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from features.frames import BACKTEST, SKIPS
from models.base import Baselines
from pipelines.adapters.tracking import ModelVersion, Tracking
from pipelines.errors import ModelError, StoreError
from pipelines.registry import (
    DETECTOR,
    FORECASTER,
    Live,
    check_round_trip,
    load_live,
    same_training,
)
from pipelines.run import Run, part_name
from pipelines.settings import Settings

__all__ = [
    "FAMILIES",
    "Move",
    "explain",
    "is_new",
    "listing",
    "promote",
    "roll_back",
]

FAMILIES = (FORECASTER, DETECTOR)


@dataclass(frozen=True, slots=True)
class Move:
    """What became of the champion alias; ``notes`` are lines for a person."""

    family: str
    before: str | None
    champion: str
    notes: tuple[str, ...] = ()


def is_new(tracking: Tracking) -> bool:
    """Whether the tracker is an SQLite file that nothing was ever written to.

    MLflow would make and migrate one when it is only asked.
    """
    path = tracking.uri.removeprefix("sqlite:///").split("?")[0]
    return tracking.uri.startswith("sqlite:///") and not Path(path).exists()


def listing(tracking: Tracking) -> list[dict[str, Any]]:
    """Every version of every family, the newest first; figures are those of its training.

    Raises
    ------
    ModelError
        There is none, or MLflow cannot be asked.
    """
    _require(tracking)
    rows: list[dict[str, Any]] = []
    for family in FAMILIES:
        live = tracking.champion(family)
        for version in tracking.versions(family):
            figures = tracking.figures(version)
            rows.append(
                {
                    "family": family,
                    "version": version.version,
                    "champion": live is not None and live.version == version.version,
                    "as_of": version.tags.get("as_of"),
                    "series": int(figures["series"]) if "series" in figures else None,
                    "wape": figures.get("backtest_wape_median") if family == FORECASTER else None,
                    "run_id": version.tags.get("run_id"),
                }
            )
    if not rows:
        raise _nothing(tracking)
    return rows


def explain(run: Run, workload: str) -> dict[str, Any]:
    """Which model is live for each metric of a workload, and why.

    Returns
    -------
    ``workload``, ``forecaster`` and ``detector`` (version labels), ``metrics`` and ``forest``, the
    verdict on the workload's isolation forest. A metric has ``model`` (None where it was skipped),
    ``reason``, ``wape`` and ``bar_wape`` (None without a backtest) and ``band``, the verdict on
    its band.

    Raises
    ------
    ModelError
        No version is live, or it and its training know no such workload.
    """
    _require(run.tracking())
    live = load_live(run, [workload], detectors=True)
    metrics = [m for learned in live.shards for m in _metrics(learned.champions, learned.detectors)]
    metrics += _skipped(run, live, workload)
    if not metrics:
        raise ModelError(
            f"{live.forecaster.label} knows no workload {workload!r}{_similar(run, workload)}; "
            "expected cluster/namespace/kind/name"
        )
    forests = [
        verdict
        for learned in live.shards
        for verdict in _verdicts(learned.detectors.get("isolation_forest")).values()
    ]
    return {
        "workload": workload,
        "forecaster": live.forecaster.label,
        "detector": None if live.detector is None else live.detector.label,
        "forest": forests[0] if forests else None,
        "metrics": metrics,
    }


def promote(tracking: Tracking, settings: Settings, family: str, version: str) -> Move:
    """Make a version the champion, if it loads and scores.

    Raises
    ------
    ModelError
        There is no such version, or it does not: the champion stays.
    """
    _require(tracking)
    there = tracking.versions(family)
    wanted = next((v for v in there if v.version == version), None)
    if wanted is None:
        known = ", ".join(v.version for v in there) or "none"
        raise ModelError(f"{family} has no version {version!r}; it has {known}")
    return _move(tracking, settings, wanted, ())


def roll_back(tracking: Tracking, settings: Settings, family: str) -> Move:
    """Make the version before the champion the champion; what does not load is passed over.

    Raises
    ------
    ModelError
        There is no champion, or no version before it that loads and scores: the champion stays.
    """
    _require(tracking)
    live = tracking.champion(family)
    if live is None:
        raise ModelError(f"{family} has no champion to roll back from; run `foretide train`")
    passed: list[str] = []
    for older in tracking.versions(family):
        if int(older.version) >= int(live.version):
            continue
        try:
            return _move(tracking, settings, older, tuple(passed))
        except ModelError as error:
            passed.append(f"{older.label} was passed over: {error}")
    why = "; ".join(passed)
    raise ModelError(
        f"there is no version before {live.label} to roll back to" + (f": {why}" if why else "")
    )


def _move(
    tracking: Tracking, settings: Settings, version: ModelVersion, notes: tuple[str, ...]
) -> Move:
    before = tracking.champion(version.family)
    with tracking.files(version) as model:
        check_round_trip(model, settings)
    tracking.promote(version.family, version.version)
    others = [tracking.champion(f) for f in FAMILIES if f != version.family]
    for other in others:
        if other is not None and not same_training([version, other]):
            notes += (f"{other.label} comes from another training; consider moving it too",)
    return Move(version.family, None if before is None else before.label, version.label, notes)


def _metrics(champions: Any, detectors: Mapping[str, Baselines]) -> list[dict[str, Any]]:
    """One entry a series that has a champion."""
    band = _verdicts(detectors.get("band"))
    chosen: pd.DataFrame = champions.chosen
    return [
        {
            "metric": row["metric"],
            "model": row["model"],
            "reason": row["reason"],
            "wape": _known(row["wape"]),
            "bar_wape": _known(row["naive_wape"]),
            "band": band.get((row["workload"], row["metric"])),
        }
        for row in chosen.to_dict("records")
    ]


def _skipped(run: Run, live: Live, workload: str) -> list[dict[str, Any]]:
    """The metrics that the champion's training left out; none where its table is not here."""
    tags = live.forecaster.tags
    learned = pd.Timestamp(tags.get("as_of", "NaT"))
    if pd.isna(learned):
        return []
    parts = [p for p in run.store.parts(SKIPS) if p.startswith(part_name(learned))]
    tables: list[pd.DataFrame] = [run.store.read(SKIPS, part=p).to_pandas() for p in parts]
    nothing = dict.fromkeys(("wape", "bar_wape", "band"))
    return [
        {**nothing, "metric": row["metric"], "model": None, "reason": f"skipped: {row['reason']}"}
        for table in tables
        for row in table[
            (table["workload"] == workload)
            & (table["step"] == "train")
            & (table["run_id"] == tags.get("run_id"))
        ].to_dict("records")
    ]


def _verdicts(baselines: Baselines | None) -> dict[tuple[str, ...], str]:
    """Key of each row → its verdict in words."""
    if baselines is None:
        return {}
    words: list[str] = baselines.meta["verdicts"]
    keys = baselines.keys[[c for c in ("workload", "metric") if c in baselines.keys]]
    rows = keys.itertuples(index=False, name=None)
    return {
        tuple(str(part) for part in key): words[int(code)]
        for key, code in zip(rows, baselines.arrays["verdict"], strict=True)
    }


def _similar(run: Run, workload: str) -> str:
    """A hint for a name that was mistyped, from the last training's table if it is here."""
    try:
        names = run.read(BACKTEST, newest=True)["workload"].unique().to_pylist()
    except StoreError:
        return ""
    close = difflib.get_close_matches(workload, [str(n) for n in names], n=3, cutoff=0.5)
    return f" (did you mean {', '.join(close)}?)" if close else ""


def _known(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def _require(tracking: Tracking) -> None:
    if is_new(tracking):
        raise _nothing(tracking)


def _nothing(tracking: Tracking) -> ModelError:
    return ModelError(f"nothing is registered at {tracking.shown}; run `foretide train` first")
