"""What a replay of the last weeks says, as tables; every week by models learned at its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.metrics import Catalog
from features.panel import Panel
from models.hpa_spec import HpaSpec
from models.replay import compare, totals
from pipelines.floors_held import replay_rows
from pipelines.replay_hpas import ReplayHpas
from pipelines.replay_weeks import RULES_SPAN, prepared_week
from pipelines.run import Run
from pipelines.settings import Settings

__all__ = [
    "STAMPS",
    "WeekReplay",
    "knows_pods",
    "replay_start",
    "replay_week",
    "replay_weeks",
    "spans",
    "told_rows",
]

STAMPS = ("evaluated_at", "started_at")
_HPA = {"cpu_usage_cores", "cpu_request_cores", "replicas", "hpa_max_replicas"}


@dataclass(frozen=True, slots=True)
class WeekReplay:
    """What came out for some workloads.

    Attributes
    ----------
    table : frame
        ``models.replay.compare``'s rows, ``metric``, whose load was replayed, and ``measured_h``.
        Core-hours: an assumed pod can burn one core.
    skipped : frame ``workload, metric, reason``
    notes : what a person should know of given HPAs, a line each
    """

    table: pd.DataFrame
    skipped: pd.DataFrame
    notes: tuple[str, ...] = ()


def replay_weeks(run: Run, measured: bool, given: ReplayHpas, weeks: int) -> WeekReplay:
    """Replay a run's workloads, a week after the other."""
    panel = run.panel(replay_start(run, weeks), run.as_of)
    hpas = given.of(panel.keys["workload"].unique())
    tables, skipped, notes = list[pd.DataFrame](), list[pd.DataFrame](), set[str]()
    for begin, end in spans(run, weeks):
        known = panel.window(end=end)
        week = replay_week(known, begin, run.catalog, run.settings, measured=measured, hpas=hpas)
        tables.append(week.table.assign(evaluated_at=end, started_at=begin))
        skipped.append(week.skipped)
        notes |= {*week.notes}
    table = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
    return WeekReplay(table, _never(skipped, table), tuple(sorted(notes)))


def _never(skipped: list[pd.DataFrame], table: pd.DataFrame) -> pd.DataFrame:
    """What was left out of every week, with its newest reason."""
    load = ["workload", "metric"]
    left = pd.concat(skipped, ignore_index=True).drop_duplicates(load, keep="last")
    if table.empty:
        return left
    done = pd.MultiIndex.from_frame(table[load].astype("str"))
    return left[~pd.MultiIndex.from_frame(left[load].astype("str")).isin(done)]


def replay_week(
    panel: Panel,
    start: pd.Timestamp,
    catalog: Catalog,
    settings: Settings,
    *,
    measured: bool,
    hpas: Mapping[str, HpaSpec] | None = None,
) -> WeekReplay:
    """Replay all of a panel from ``start`` on.

    ``measured``: the panel knows pods and HPAs; otherwise every demand, and every metric that the
    catalog does not know, is a load of its own. ``hpas``: workload → its autoscaler, where known.
    """
    ready, skipped = prepared_week(panel, start, catalog, settings, measured=measured, hpas=hpas)
    if ready is None:
        return WeekReplay(pd.DataFrame(), skipped)
    step_s = ready.week.step / pd.Timedelta(1, "s")
    table = compare(ready.week.values, step_s, **ready.given(settings))
    hours = np.isfinite(ready.week.values).sum(axis=1) * (step_s / 3600)
    table["measured_h"] = hours[table["workload"].astype(int)]
    return WeekReplay(ready.named(table), skipped, ready.notes)


def spans(run: Run, weeks: int) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """Where the weeks begin and end, the oldest first."""
    length = pd.Timedelta(run.settings.evaluate.window_days, "D")
    return [(run.as_of - (k + 1) * length, run.as_of - k * length) for k in reversed(range(weeks))]


def replay_start(run: Run, weeks: int) -> pd.Timestamp:
    """From when on samples are read."""
    past = max(pd.Timedelta(run.settings.history.days, "D"), RULES_SPAN)
    return spans(run, weeks)[0][0] - past


def knows_pods(run: Run, weeks: int) -> bool:
    """Whether the samples before the weeks' end hold CPU usage, requests and an HPA of anybody."""
    metrics = run.samples(replay_start(run, weeks), run.as_of)["metric"]
    return set(metrics.unique()) >= _HPA


def told_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Sums a policy (workload ``*``) first, then one row a workload, week and policy."""
    every = pd.concat([totals(table).assign(workload="*", metric="*"), table], ignore_index=True)
    shares = ["metric", "unserved_cut_share", "over_target_cut_share", "replica_hours_ratio"]
    return pd.concat([replay_rows(every), every[shares]], axis=1)
