"""A week that is to be replayed: its loads, their pods, and the floors that would have stood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from features.metrics import Catalog
from features.panel import Floats, Panel
from models.hpa_spec import HpaSpec
from models.replay_case import ReplayCase, assumed_case, measured_case, with_hpas
from pipelines.floor_learning import is_load
from pipelines.learning import Lesson, learn
from pipelines.reissued import issued_floors
from pipelines.settings import Settings

__all__ = ["RULES_SPAN", "PreparedWeek", "prepared_week"]

_CPU = "cpu_usage_cores"
_WEEK = pd.Timedelta(7, "D")
RULES_SPAN = 4 * _WEEK
"""How far back the rules look that floors are compared with."""


@dataclass(frozen=True, slots=True)
class PreparedWeek:
    """Loads that can be replayed, in units of which a pod's share is summed.

    Attributes
    ----------
    week, before : their demand, and that of the four weeks before
    case : their pods and HPAs
    floors : what Foretide would have held, as ``models.replay.compare`` takes it
    notes : as of ``WeekReplay``
    """

    week: Panel
    before: Panel
    case: ReplayCase
    floors: Floats
    notes: tuple[str, ...]

    def given(self, settings: Settings) -> dict[str, Any]:
        """What ``models.replay.compare`` and ``equal_cost`` take beside the demand and its step."""
        return {
            # a workload may have several loads
            "workloads": [str(i) for i in range(self.week.n_series)],
            "pod_capacity_cores": self.case.pod_capacity_cores,
            "target_ratio": self.case.target_ratio,
            "min_replicas": self.case.min_replicas,
            "max_replicas": self.case.max_replicas,
            "floors": self.floors,
            "history": self.before.values,
            "pod_start_s": self.case.pod_start_s,
            "params": settings.prescale.replay,
            "hpas": self.case.hpas,
        }

    def named(self, table: pd.DataFrame) -> pd.DataFrame:
        """A table of ``models.replay`` with the loads' ``workload`` and ``metric``."""
        keys = self.week.keys.iloc[table["workload"].astype(int)].set_index(table.index)
        return table.assign(workload=keys["workload"], metric=keys["metric"])


def prepared_week(
    panel: Panel,
    start: pd.Timestamp,
    catalog: Catalog,
    settings: Settings,
    *,
    measured: bool,
    hpas: Mapping[str, HpaSpec] | None = None,
) -> tuple[PreparedWeek | None, pd.DataFrame]:
    """All loads of a panel, to be replayed from ``start`` on; nothing where there is none.

    Arguments as of ``pipelines.replaying.replay_week``. Beside the week a frame ``workload, metric,
    reason`` of the series that are left out.
    """
    series = panel.of(_CPU) if measured else panel.select(is_load(panel, catalog))
    since = start - pd.Timedelta(settings.history.days, "D")
    history, known = series.window(since, start), panel.window(since, start)
    lesson = learn(history, catalog, settings, detectors=False, known=known)
    if not lesson.groups:
        return None, lesson.skipped
    series = _forecast_of(lesson, series)
    case, notes = _case(panel, series, start, settings, measured=measured, hpas=hpas or {})
    # in an assumed case one pod is one core, so that loads of different units can be summed
    unit = np.ones(series.n_series) if measured else case.pod_capacity_cores
    cores, request = case.pod_capacity_cores / unit, case.request_cores / unit
    case = replace(case, pod_capacity_cores=cores, request_cores=request)
    why = np.array(case.refusal, dtype=object)
    idle = ~np.isfinite(series.window(start).values).any(axis=1)
    why[(why == "") & idle] = "nothing was measured in the replayed week"
    ok = why == ""
    refused = series.keys[~ok].assign(reason=why[~ok])
    skipped = pd.concat([lesson.skipped, refused], ignore_index=True)
    if not ok.any():
        return None, skipped
    held, unit, series = case.select(ok), unit[ok], series.select(ok)
    floors = issued_floors(lesson.groups, series, start, held, unit, settings)
    loads = series.with_values(series.values / unit[:, None])
    week, before = loads.window(start), loads.window(start - RULES_SPAN, start)
    return PreparedWeek(week, before, held, floors, notes), skipped


def _forecast_of(lesson: Lesson, series: Panel) -> Panel:
    """The series that somebody forecasts."""
    known = pd.concat([group.champions.keys for group in lesson.groups])
    own = pd.MultiIndex.from_frame(series.keys)
    return series.select(own.isin(pd.MultiIndex.from_frame(known)))


def _case(
    panel: Panel,
    series: Panel,
    start: pd.Timestamp,
    settings: Settings,
    *,
    measured: bool,
    hpas: Mapping[str, HpaSpec],
) -> tuple[ReplayCase, tuple[str, ...]]:
    """Pods and HPAs of the series, by what was known at the start."""
    if measured:
        pods = panel.window(start - _WEEK, start)
        names = series.keys["workload"].tolist()
        case = measured_case(pods, names, settings.prescale.capacity)
    else:
        days = pd.Timedelta(settings.history.days, "D")
        past = series.window(start - days, start)
        case = assumed_case(past.values, settings.prescale.replay_case)
    case, unknown = with_hpas(case, series.keys, hpas)
    return case, tuple(f"  {line}" for line in unknown)
