"""Scoring of what is in memory: the flow's own steps, one after the other."""

from __future__ import annotations

import pandas as pd

from features.frames import INCIDENTS, LEAKS, SCORES, SKIPS, Contract
from pipelines.accounting import silent_series
from pipelines.api_data import GivenRun
from pipelines.errors import HistoryError
from pipelines.grouping import told_incidents
from pipelines.outcome import reasons, told
from pipelines.replayed import replayed
from pipelines.score_shards import check_window, keep_scored, run_stamp, scored_from
from pipelines.scoring import NOTHING_TO_SCORE
from pipelines.staging import keep, staged, tables_aside

__all__ = ["score_given"]


def score_given(run: GivenRun, begin: pd.Timestamp, until: pd.Timestamp) -> dict[str, pd.DataFrame]:
    """Score ``[begin, as_of)`` by what was learned before ``until``: tables by name.

    What the flow notes aside is noted in the run's folder, which is the caller's to remove.

    Raises
    ------
    ConfigError, HistoryError
        There is nothing to score, or nothing could be.
    """
    check_window(begin, until, run.as_of)
    since = scored_from(run.settings, begin, until)
    with staged(run, "score"):
        rows = 0
        for shard in run.parts_since(since):
            panel = shard.panel(since, run.as_of)
            if panel.n_series:
                scored = replayed(panel, until, run.catalog, run.settings).since(begin)
                rows += keep_scored(shard, scored, panel, begin, run.run_id).rows
        silent = silent_series(run, since, NOTHING_TO_SCORE)
        keep(run, "score", SKIPS, silent.assign(step="score", **run_stamp(run)), beside=True)
        if not rows:
            why = told(reasons(_table(run, SKIPS))) or "no series"
            raise HistoryError(
                f"nothing could be scored from {begin:%Y-%m-%d %H:%M} to "
                f"{run.as_of:%Y-%m-%d %H:%M} UTC: {why}"
            )
        told_incidents(run, begin)
        return {c.name: _table(run, c) for c in (SCORES, LEAKS, INCIDENTS, SKIPS)}


def _table(run: GivenRun, contract: Contract) -> pd.DataFrame:
    table = tables_aside(run, "score", contract)
    frame: pd.DataFrame = (contract.schema.empty_table() if table is None else table).to_pandas()
    return frame
