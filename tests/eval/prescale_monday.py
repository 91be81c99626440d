"""The Monday test: are the pods of a steep Monday morning there before 09:00, over changes of the
clock, and does nobody buy them on a holiday?

Each Monday is forecast and planned as on a file: on Sunday at 20:00, and on Monday from 06:30 to
12:30 every hour, at 15:30 and 18:30, on holidays from 00:30 on every two hours, local time (the
schedule does so every 15 minutes), from 28 days of 5-minute samples. The newest plan's floors
stand, as if every one of them were applied.

- *ready*: a lead time before 09:00, and from then to 09:15, a floor of all pods that the load of
  09:00 to 09:15 needs at the HPA's target (the load that users have on such a day, without noise)
- *bought* on a holiday, *left* 30 minutes after the peak's end: more than one pod of a floor above
  what a load 20 % above the day's own asks for within half an hour around, which is a quantile's
  margin, rounded up, and no peak
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml
from prescale_cases import Outcome
from prescale_world import (
    FULL_H,
    LEAST,
    OVER_H,
    PEAK_H,
    PLACES,
    POD_START_S,
    STEP,
    Place,
    pods,
    samples,
    true_load,
)

from features.civil import special_mask
from models.actions import Plan, floors_at
from pipelines.forecast import forecast
from pipelines.plans import newest_plan
from pipelines.prescale import prescale
from pipelines.run import RunRef

HISTORY = timedelta(weeks=8)
SPANS = (  # Mondays in a row; both clocks change in spring and in autumn, on different Sundays
    (date(2026, 3, 9), 6),  # New York +1 h on 8 March, Berlin on 29 March, Easter Monday 6 April
    (date(2026, 5, 18), 3),  # 25 May: Whit Monday, Memorial Day
    (date(2026, 10, 19), 4),  # Berlin -1 h on 25 October, New York on 1 November
)
ISSUES_H = (-4.0, 6.5, 7.5, 8.5, 9.5, 10.5, 11.5, 12.5, 15.5, 18.5)  # local hours of the Monday
HOLIDAY_H = (-4.0, *(0.5 + 2.0 * k for k in range(12)))  # judged all day, so renewed all day
MARGIN, ROUNDED = 1.2, 1
AROUND = pd.Timedelta(30, "min")
TICK = pd.Timedelta(15, "s")


@dataclass(frozen=True, slots=True)
class Judged:
    """A Monday of one place: pods of the lowest floor that should be ready, of those needed, and
    those too many."""

    place: Place
    day: date
    holiday: bool
    needed: int
    ready: int
    ready_evening: int
    bought: int
    left: int

    @property
    def on_time(self) -> bool:
        return self.ready >= self.needed


def evaluate(data: Path, spans: tuple[tuple[date, int], ...] = SPANS) -> Outcome:
    """A line a Monday."""
    print("  Monday      place  pods needed  ready 09:00  of Sunday's plan  bought  left 11:15")
    judged: list[Judged] = []
    with tempfile.TemporaryDirectory() as folder:
        for first, weeks in spans:
            for place in PLACES:
                world = _World(Path(folder) / f"{place.cluster}-{first}", place, first, weeks)
                for week in range(weeks):
                    judged.append(world.judged(first + timedelta(weeks=week)))
                    _show(judged[-1])
    return Outcome(figures=_figures(judged))


def _figures(judged: list[Judged]) -> list[tuple[str, float, str]]:
    normal, holidays = ([j for j in judged if j.holiday is is_one] for is_one in (False, True))
    late = [j for j in normal if not j.on_time]
    share = 1 - len(late) / len(normal) if normal else float("nan")
    bought = sum(j.bought > 0 for j in holidays)
    left = sum(j.left > 0 for j in judged)
    evening = sum(j.ready_evening >= j.needed for j in normal)
    print(
        f"  ready in {len(normal) - len(late)} of {len(normal)} normal weeks "
        f"({evening} by Sunday's plan alone), at most "
        f"{max((j.needed - j.ready for j in late), default=0)} pods short; "
        f"bought on {bought} of {len(holidays)} holidays"
    )
    print(f"  left_after_window: in {left} of {len(judged)} weeks")
    return [
        ("monday_ready_share", share, "share"),
        ("holiday_buys", float(bought), "holidays"),
    ]


def _show(j: Judged) -> None:
    words = "holiday" if j.holiday else "" if j.on_time else f"{j.needed - j.ready} short"
    bought = str(j.bought) if j.holiday else "-"
    print(
        f"  {j.day}  {j.place.cluster:5s}{j.needed:13d}{j.ready:13d}{j.ready_evening:18d}"
        f"{bought:>8s}{j.left:12d}  {words}",
        flush=True,
    )


class _World:
    """A place's samples over some weeks, in a folder of their own."""

    def __init__(self, root: Path, place: Place, first: date, weeks: int) -> None:
        root.mkdir(parents=True)
        self._place, self._out = place, str(root / "store")
        self._file, self._config = str(root / "samples.parquet"), str(root / "foretide.yaml")
        start = place.at(first - HISTORY, 0.0).floor("D")
        end = place.at(first + timedelta(weeks=weeks), 0.0).floor("D")
        pq.write_table(samples(place, start, end), self._file)
        calendar = place.calendar
        told = {
            "history": {"step_s": int(STEP.total_seconds())},
            "calendars": [
                {
                    "match": calendar.match,
                    "timezone": calendar.timezone,
                    "country": calendar.country,
                }
            ],
        }
        Path(self._config).write_text(yaml.safe_dump(told), encoding="utf-8")

    def judged(self, day: date) -> Judged:
        """One Monday, planned and held against what comes."""
        at = self._place.at
        peak = pd.date_range(at(day, PEAK_H), at(day, FULL_H), freq=TICK)
        holiday = bool(special_mask([self._place.workload], peak[:1], [self._place.calendar])[0, 0])
        plans = [self._plan(at(day, hour)) for hour in (HOLIDAY_H if holiday else ISSUES_H)]
        lead = pd.Timedelta(POD_START_S, "s")
        must = pd.date_range(peak[0] - lead, peak[-1], freq=TICK)
        after = pd.date_range(at(day, OVER_H + 0.5), at(day, OVER_H + 3), freq=TICK)
        whole = pd.date_range(at(day, 0.5), at(day, 24.0), freq=4 * TICK, inclusive="left")
        return Judged(
            self._place,
            day,
            holiday,
            int(pods(true_load(self._place, peak)).max()),
            int(self._standing(plans, must).min()),
            int(self._standing(plans[:1], must).min()),
            self._too_many(plans, whole),
            self._too_many(plans, after),
        )

    def _plan(self, moment: pd.Timestamp) -> Plan:
        common = {"config": self._config, "inputs": [self._file], "out": self._out}
        as_of = moment.isoformat()
        forecast.fn(**common, as_of=as_of)
        prescale.fn(**common, as_of=as_of)
        ref = RunRef.resolve(self._config, [self._file], self._out, as_of, moment)
        plan = newest_plan(ref.open())
        if plan is None:
            raise RuntimeError(f"no plan at {as_of}")
        return plan

    def _standing(self, plans: list[Plan], times: pd.DatetimeIndex) -> np.ndarray:
        """The floor at each moment, of the newest plan; the user's own where it has none."""
        out = np.full(len(times), LEAST)
        for i, now in enumerate(times):
            plan = next((p for p in reversed(plans) if p.as_of <= now < p.expires_at), None)
            floor = None if plan is None else floors_at(plan, now).get(self._place.workload)
            out[i] = LEAST if floor is None else max(floor.after, LEAST)
        return out

    def _too_many(self, plans: list[Plan], times: pd.DatetimeIndex) -> int:
        """The most pods above what each moment and the half-hour around it can ask for."""
        around = pd.date_range(times[0] - AROUND, times[-1] + AROUND, freq=TICK)
        need = pd.Series(pods(MARGIN * true_load(self._place, around)), index=around)
        width = 2 * round(AROUND / TICK) + 1
        most = need.rolling(width, center=True, min_periods=1).max().reindex(times)
        above = int((self._standing(plans, times) - most.to_numpy()).max())
        return above if above > ROUNDED else 0
