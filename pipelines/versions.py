"""Registered versions: which there are, and which one of a family is live.

A version becomes champion only after its files were read back and scored, here as in training: an
older one may have been damaged since.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.adapters.tracking import ModelVersion, Tracking
from pipelines.errors import ModelError
from pipelines.registry import (
    DETECTOR,
    FORECASTER,
    check_round_trip,
    same_training,
)
from pipelines.settings import Settings

__all__ = [
    "FAMILIES",
    "Move",
    "is_new",
    "listing",
    "promote",
    "require_registered",
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
    require_registered(tracking)
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


def promote(tracking: Tracking, settings: Settings, family: str, version: str) -> Move:
    """Make a version the champion, if it loads and scores.

    Raises
    ------
    ModelError
        There is no such version, or it does not: the champion stays.
    """
    require_registered(tracking)
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
    require_registered(tracking)
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


def require_registered(tracking: Tracking) -> None:
    """Refuse to ask a tracker that nothing was ever written to.

    Raises
    ------
    ModelError
        It is one.
    """
    if is_new(tracking):
        raise _nothing(tracking)


def _move(
    tracking: Tracking, settings: Settings, version: ModelVersion, notes: tuple[str, ...]
) -> Move:
    before = tracking.champion(version.family)
    with tracking.files(version) as model:
        check_round_trip(model, settings, version.label)
    tracking.promote(version.family, version.version)
    others = [tracking.champion(f) for f in FAMILIES if f != version.family]
    for other in others:
        if other is not None and not same_training([version, other]):
            notes += (f"{other.label} comes from another training; consider moving it too",)
    return Move(version.family, None if before is None else before.label, version.label, notes)


def _nothing(tracking: Tracking) -> ModelError:
    return ModelError(f"nothing is registered at {tracking.shown}; run `foretide train` first")
