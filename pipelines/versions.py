"""Registered versions: which there are, which are live, and moving what is live.

Both families move together or not at all: a forecaster and a detector of different trainings are of
no use to each other. A version goes live only after its files were read back and scored, here as in
training: an older one may have been damaged since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.adapters.tracking import CHALLENGER, ModelVersion, Tracking
from pipelines.errors import ModelError
from pipelines.pairs import FAMILIES, FORECASTER, Pair, before, crown, live_pair, pair_of, step_back
from pipelines.registry import check_round_trip
from pipelines.settings import Settings

__all__ = [
    "FAMILIES",
    "Move",
    "Moved",
    "is_new",
    "listing",
    "promote",
    "require_registered",
    "roll_back",
]


@dataclass(frozen=True, slots=True)
class Move:
    """What became of one family's champion."""

    family: str
    before: str | None
    champion: str


@dataclass(frozen=True, slots=True)
class Moved:
    """What moved, one entry a family; ``notes`` are lines for a person."""

    moved: tuple[Move, ...]
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
    rows = [
        _row(tracking, version, live, challenger)
        for family, live in zip(FAMILIES, live_pair(tracking), strict=True)
        for challenger in (tracking.holder(family, CHALLENGER),)
        for version in tracking.versions(family)
    ]
    if not rows:
        raise _nothing(tracking)
    return rows


def promote(tracking: Tracking, settings: Settings, family: str, version: str) -> Moved:
    """Make a version live, with what was learned with it, if both load and score.

    Raises
    ------
    ModelError
        There is no such version, or one of the two does not: what was live stays.
    """
    require_registered(tracking)
    there = tracking.versions(family)
    wanted = next((v for v in there if v.version == version), None)
    if wanted is None:
        known = ", ".join(v.version for v in there) or "none"
        raise ModelError(f"{family} has no version {version!r}; it has {known}")
    pair = pair_of(tracking, wanted)
    _check(tracking, settings, pair)
    was = live_pair(tracking)
    crown(tracking, pair)
    return _moved(was, pair, ())


def roll_back(tracking: Tracking, settings: Settings) -> Moved:
    """Make live again what was live before; what does not load any more is passed over.

    Raises
    ------
    ModelError
        There is no champion, or none before it that loads and scores: what is live stays.
    """
    require_registered(tracking)
    was = live_pair(tracking)
    live = next((v for v in was if v is not None), None)
    if live is None:
        raise ModelError("there is no champion to roll back from; run `foretide train`")
    passed: list[str] = []
    for older in before(tracking, live):
        pair = pair_of(tracking, older)
        try:
            _check(tracking, settings, pair)
        except ModelError as error:
            passed.append(f"{older.label} was passed over: {error}")
            continue
        step_back(tracking, pair)
        return _moved(was, pair, passed)
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


def _check(tracking: Tracking, settings: Settings, pair: Pair) -> None:
    for version in pair:
        with tracking.files(version) as model:
            check_round_trip(model, settings, version.label)


def _moved(was: Iterable[ModelVersion | None], pair: Pair, notes: Iterable[str]) -> Moved:
    labels = {v.family: v.label for v in was if v is not None}
    moves = tuple(Move(v.family, labels.get(v.family), v.label) for v in pair)
    return Moved(moves, (*notes, *_held_back(pair)))


def _held_back(pair: Pair) -> Iterator[str]:
    for version in pair:
        if why := version.tags.get("held_back"):
            yield f"{version.label} had been held back: {why}"


def _row(
    tracking: Tracking,
    version: ModelVersion,
    live: ModelVersion | None,
    challenger: ModelVersion | None,
) -> dict[str, Any]:
    figures = tracking.figures(version)
    return {
        "family": version.family,
        "version": version.version,
        "champion": live is not None and live.version == version.version,
        "challenger": challenger is not None and challenger.version == version.version,
        "as_of": version.tags.get("as_of"),
        "series": int(figures["series"]) if "series" in figures else None,
        "wape": figures.get("backtest_wape_median") if version.family == FORECASTER else None,
        "run_id": version.tags.get("run_id"),
        "code_revision": version.tags.get("code_revision"),
        "held_back": version.tags.get("held_back"),
    }


def _nothing(tracking: Tracking) -> ModelError:
    return ModelError(f"nothing is registered at {tracking.shown}; run `foretide train` first")
