"""Replay of what is in memory: the flow's own steps."""

from __future__ import annotations

import pandas as pd

from pipelines.api_data import GivenRun
from pipelines.errors import HistoryError
from pipelines.outcome import reasons, told
from pipelines.replay_hpas import read_hpas
from pipelines.replay_tables import knows_pods, replay_start, replay_weeks, told_rows
from pipelines.shadow import advice_of_loads

__all__ = ["replay_given"]


def replay_given(
    run: GivenRun, hpa: str | None, weeks: int
) -> tuple[pd.DataFrame, pd.DataFrame, list[pd.DataFrame]]:
    """The rows of all policies (sums have the workload ``*``), verdicts, and what was left out.

    Raises
    ------
    ConfigError, HistoryError
        As ``pipelines.api.replay``.
    """
    measured, hpas = knows_pods(run, weeks), read_hpas(run.settings, hpa)
    shards = run.parts_since(replay_start(run, weeks))
    done = [replay_weeks(shard, measured, hpas, weeks) for shard in shards]
    table = pd.concat([week.table for week in done], ignore_index=True)
    skipped = [week.skipped for week in done]
    if table.empty:
        raise HistoryError(
            f"nothing can be replayed before {run.as_of:%Y-%m-%d %H:%M} UTC: "
            + (told(reasons(pd.concat(skipped))) or "no series of load")
        )
    hpas.check(table["workload"].drop_duplicates())
    advice = advice_of_loads(run.settings, table) if weeks > 1 else pd.DataFrame()
    return told_rows(table), advice, skipped
