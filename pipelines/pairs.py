"""Forecaster and detector of one training: they go live, and back, together.

MLflow's aliases are written one by one. So the forecaster's alias alone says which training is
live; the detector is the one of the same training, whatever its own alias says. Dying between the
two writes, or two trainings at once, leaves a live pair that belongs together: the last one that
moved the forecaster's alias wins whole. The detector's alias is then put right by whoever moves
aliases next.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.adapters.tracking import CHALLENGER, CHAMPION, ModelVersion, Tracking
from pipelines.errors import ModelError

__all__ = [
    "DETECTOR",
    "FAMILIES",
    "FORECASTER",
    "Pair",
    "before",
    "challenge",
    "crown",
    "live_pair",
    "pair_of",
    "same_training",
    "step_back",
]

FORECASTER = "forecaster"
DETECTOR = "detector"
FAMILIES = (FORECASTER, DETECTOR)

_TAGS = ("training", "run_id")
_PATIENCE = 5

Pair = tuple[ModelVersion, ...]
"""The versions of one training, the forecaster first where there is one."""


def same_training(live: Sequence[ModelVersion | None]) -> bool:
    """Whether the given versions were made by one run of train, as far as is known."""
    versions = [v for v in live if v is not None]
    told = [v.tags.get("training", "") for v in versions]
    if not all(told):  # of an earlier release, which told only the run
        told = [v.tags.get("run_id", "") for v in versions]
    return len(set(told) - {""}) < 2


def pair_of(tracking: Tracking, version: ModelVersion) -> Pair:
    """The version and what was learned with it; alone where nothing was, or nothing is told."""
    key = next((key for key in _TAGS if version.tags.get(key)), None)
    found = {version.family: version}
    for family in FAMILIES:
        if key is not None and family != version.family:
            for mate in tracking.tagged(family, key, version.tags[key])[:1]:
                found[family] = mate
    return tuple(found[family] for family in FAMILIES if family in found)


def live_pair(tracking: Tracking) -> tuple[ModelVersion | None, ModelVersion | None]:
    """The live forecaster and the live detector; see the module for who decides."""
    forecaster, detector = (tracking.champion(family) for family in FAMILIES)
    if forecaster is None or (detector is not None and same_training([forecaster, detector])):
        return forecaster, detector
    pair = pair_of(tracking, forecaster)
    return forecaster, pair[1] if len(pair) > 1 else detector


def challenge(tracking: Tracking, pair: Pair) -> None:
    """Make the versions challengers: they load and score, and are not live."""
    _point(tracking, pair, CHALLENGER)


def crown(tracking: Tracking, pair: Pair) -> None:
    """Make the versions champions, all of them, and remember who was before.

    Raises
    ------
    ModelError
        A family that has a champion would be left behind: nothing has moved.
    """
    left = [f for f in FAMILIES if f not in {v.family for v in pair} and tracking.champion(f)]
    if left:
        raise ModelError(
            f"{pair[0].label}: its training has no {left[0]}, and one of another training cannot "
            "go with it; choose another version, or run `foretide train`"
        )
    first = pair[0]
    _remember(tracking, first)
    _point(tracking, pair, CHAMPION)
    told = tracking.history(first.family)
    if told and first.version not in told:  # another one wrote between our reading and our writing
        tracking.write_history(first.family, (*told[:-1], first.version, told[-1]))
    for version in pair:
        tracking.drop(version, CHALLENGER)


def before(tracking: Tracking, live: ModelVersion) -> list[ModelVersion]:
    """Who was champion before, the latest first; then older ones that none is told of.

    A version that never went live because it was held back is not among them.
    """
    versions = {v.version: v for v in tracking.versions(live.family)}
    told = _until(tracking.history(live.family), live)
    known = {live.version, *told}
    oldest = min(int(v) for v in known if v.isdigit())
    untold = [v for v in versions if int(v) < oldest and "held_back" not in versions[v].tags]
    order = dict.fromkeys((*reversed(told), *untold))
    return [versions[v] for v in order if v in versions and v != live.version]


def step_back(tracking: Tracking, pair: Pair) -> None:
    """Make the versions champions again, and forget who came after them."""
    first = pair[0]
    live = tracking.champion(first.family)
    told = () if live is None else _until(tracking.history(first.family), live)
    _point(tracking, pair, CHAMPION)
    tracking.write_history(first.family, (*_until(told, first), first.version))


def _remember(tracking: Tracking, first: ModelVersion) -> None:
    """Write that a version goes live after the live one; again if another went live meanwhile."""
    for _ in range(_PATIENCE):
        live = tracking.champion(first.family)
        if live is not None and live.version == first.version:
            return
        told = tracking.history(first.family)
        told = told[:-1] if told[-1:] == (first.version,) else told  # ours, of the try before
        was = () if live is None else (*_until(told, live), live.version)
        tracking.write_history(first.family, (*was, first.version))
        held = tracking.champion(first.family)
        if (held and held.version) == (live and live.version):
            return


def _until(history: tuple[str, ...], version: ModelVersion) -> tuple[str, ...]:
    """What came before a version went live for the last time; all if it is not told that it did."""
    if version.version not in history:
        return history
    return history[: len(history) - 1 - history[::-1].index(version.version)]


def _point(tracking: Tracking, pair: Pair, alias: str) -> None:
    """Move an alias of all families; whoever moved the first family's last is followed."""
    lead, moving = pair[0], pair
    for _ in range(_PATIENCE):
        for version in moving:
            tracking.promote(version.family, version.version, alias)
        held = tracking.holder(lead.family, alias)
        if held is None or held.version == lead.version:
            return
        lead, moving = held, pair_of(tracking, held)[1:]  # another one went between our writes
