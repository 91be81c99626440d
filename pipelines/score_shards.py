"""What one shard's scoring leaves: its scores, its leaks and what was left out, kept aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from features.frames import LEAKS, SCORES, SKIPS
from features.panel import Panel
from pipelines.errors import ConfigError
from pipelines.outcome import panel_counts, reasons
from pipelines.run import Run
from pipelines.score_rows import with_silences
from pipelines.scoring import (
    Scored,
    accounted,
    leaks_reach,
    points_without_score,
    reach,
    scorable,
)
from pipelines.settings import Settings
from pipelines.staging import keep

__all__ = ["ScoredShard", "check_window", "keep_scored", "run_stamp", "scored_from"]


@dataclass(frozen=True, slots=True)
class ScoredShard:
    """What one shard reports; ``rows`` of scores and leaks, reasons and counts of the rest."""

    series: int = 0
    rows: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])
    no_leaks: Mapping[str, int] = field(default_factory=dict[str, int])
    counts: Counter[str] = field(default_factory=Counter[str])


def keep_scored(
    run: Run, scored: Scored, panel: Panel, start: pd.Timestamp, version: str
) -> ScoredShard:
    """Keep a shard's tables aside; ``version`` is that of the models."""
    stamp = {"model_version": version, "run_id": run.run_id}
    valid_until = run.as_of + pd.Timedelta(run.settings.detect.valid_for_h, "h")
    aloud = with_silences(scored.scores, run.settings.silences)
    scores = aloud.assign(**stamp, valid_until=valid_until)
    keep(run, "score", SCORES, scores.reindex(columns=SCORES.schema.names))
    keep(run, "score", LEAKS, scored.leaks.assign(**stamp))
    unscored = accounted(scored, panel, start, run.catalog, run.settings)
    skips = (unscored.assign(step="score"), scored.not_judged.assign(step="leaks"))
    keep(run, "score", SKIPS, pd.concat(skips).assign(**run_stamp(run)))
    return ScoredShard(
        series=len(scorable(panel, run.catalog)) - len(unscored),
        rows=len(scores) + len(scored.leaks),
        skipped=reasons(unscored),
        no_leaks=reasons(scored.not_judged),
        counts=panel_counts(panel.counts) + points_without_score(scored, panel, start, run.catalog),
    )


def check_window(begin: pd.Timestamp, until: pd.Timestamp | None, as_of: pd.Timestamp) -> None:
    """Refuse to score what was learned from, or nothing at all.

    Raises
    ------
    ConfigError
        It would.
    """
    if until is not None and begin < until:
        raise ConfigError(
            f"--start {begin:%Y-%m-%d %H:%M} is before --train-until {until:%Y-%m-%d %H:%M}: "
            "what was learned from cannot be scored"
        )
    if begin >= as_of:
        raise ConfigError(
            f"nothing to score: it would start at {begin:%Y-%m-%d %H:%M}, and the clock "
            f"(--as-of) is {as_of:%Y-%m-%d %H:%M} UTC"
        )


def scored_from(
    settings: Settings, start: pd.Timestamp, until: pd.Timestamp | None
) -> pd.Timestamp:
    """From when on samples are read."""
    back = max(reach(settings), leaks_reach(settings))
    if until is None:
        return start - back
    return until - max(back, pd.Timedelta(days=settings.history.days))


def run_stamp(run: Run) -> dict[str, Any]:
    """Who left it out, and when."""
    return {"issued_at": run.as_of, "run_id": run.run_id}
