"""Two workloads with a steep Monday morning, one in Berlin and one in New York: their true load,
and what a cluster would have measured of them.

A day is a working day by the local clock, Saturdays and Sundays are a third of one, and a public
holiday is as a Sunday. On every Monday that is none, load rises 2.5 times from 09:00 to 09:15,
stays there until 10:30, and is back by 10:45. Noise: 4 % a step, 3 % a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa

from features.civil import Calendar, local_days, special_mask
from features.frames import SAMPLES, conform

STEP = pd.Timedelta(300, "s")
PEAK_H, FULL_H, FALLS_H, OVER_H = 9.0, 9.25, 10.5, 10.75  # local hours of the Monday peak
FACTOR = 2.5
WEEKEND = 0.35
CORES = 8.0  # a working day's busiest hour
REQUEST_CORES, TARGET_RATIO, LIMIT_RATIO = 1.0, 0.7, 1.0
LEAST, MOST = 2, 60
POD_START_S = 180.0
NOISE_STEP, NOISE_DAY = 0.04, 0.03


@dataclass(frozen=True, slots=True)
class Place:
    """A workload, and whose clock its users live by."""

    cluster: str
    calendar: Calendar

    @property
    def workload(self) -> str:
        return f"{self.cluster}/shop/Deployment/checkout"

    def at(self, day: date, hour: float) -> pd.Timestamp:
        """A local hour of a day, UTC."""
        wall = pd.Timestamp(day) + pd.Timedelta(hour, "h")
        return wall.tz_localize(self.calendar.timezone).tz_convert("UTC").as_unit("ms")


PLACES = (
    Place("eu", Calendar("eu/*", "Europe/Berlin", "DE")),
    Place("us", Calendar("us/*", "America/New_York", "US")),
)


def true_load(place: Place, times: pd.DatetimeIndex) -> np.ndarray:
    """Cores that its users ask for, without noise, (n_steps,)."""
    local = times.tz_convert(place.calendar.timezone)
    hour = np.asarray(local.hour + local.minute / 60 + local.second / 3600)
    free = special_mask([place.workload], times, [place.calendar])[0]
    weekday = np.asarray(local.day_of_week)
    shape = np.clip(np.minimum((hour - 6) / 2.5, (20 - hour) / 4), 0, 1)
    usual = CORES * (0.15 + 0.85 * shape) * np.where((weekday >= 5) | free, WEEKEND, 1.0)
    rise = (hour - PEAK_H) / (FULL_H - PEAK_H)
    fall = (OVER_H - hour) / (OVER_H - FALLS_H)
    peak = np.clip(np.minimum(rise, fall), 0, 1) * ((weekday == 0) & ~free)
    return usual * (1 + (FACTOR - 1) * peak)


def pods(cores: np.ndarray) -> np.ndarray:
    """Pods that carry a load at the HPA's target."""
    return np.clip(np.ceil(cores / (REQUEST_CORES * TARGET_RATIO) - 1e-9), LEAST, MOST)


def measured(place: Place, times: pd.DatetimeIndex, seed: int) -> pd.DataFrame:
    """Samples of a workload whose HPA always had the pods that it needed: step middles."""
    rng = np.random.default_rng([seed, len(place.cluster), ord(place.cluster[0])])
    day = local_days(times, place.calendar.timezone)
    of_day = np.unique(day, return_inverse=True)[1]
    noise = NOISE_STEP * rng.standard_normal(len(times))
    noise += NOISE_DAY * rng.standard_normal(of_day.max() + 1)[of_day]
    load = true_load(place, times + STEP / 2) * np.exp(noise)
    replicas = pods(load)
    values = {
        "cpu_usage_cores": load,
        "cpu_request_cores": replicas * REQUEST_CORES,
        "cpu_limit_cores": replicas * REQUEST_CORES * LIMIT_RATIO,
        "replicas": replicas,
        "hpa_min_replicas": np.full(len(times), LEAST),
        "hpa_max_replicas": np.full(len(times), MOST),
        "hpa_target_cpu_ratio": np.full(len(times), TARGET_RATIO),
        "pod_start_seconds": np.full(len(times), POD_START_S),
    }
    frames = [pd.DataFrame({"metric": m, "ts": times, "value": v}) for m, v in values.items()]
    cluster, namespace, kind, name = place.workload.split("/")
    who = {"cluster": cluster, "namespace": namespace, "kind": kind, "name": name}
    return pd.concat(frames, ignore_index=True).assign(**who)


def samples(place: Place, start: pd.Timestamp, end: pd.Timestamp, seed: int = 11) -> pa.Table:
    """The samples table of one place."""
    times = pd.date_range(start, end, freq=STEP, inclusive="left")
    return conform(measured(place, times, seed), SAMPLES)
