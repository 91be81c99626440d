"""How many series would be sent, and whether that is too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.errors import ConfigError
from pipelines.series.gauge import Gauge
from pipelines.series.names import NAMES
from pipelines.series.sent import Outgoing
from pipelines.settings_publish import PublishSettings

__all__ = ["Chosen", "chosen", "counts", "refuse_too_many", "too_many"]

_LARGEST = 3


@dataclass(frozen=True, slots=True)
class Chosen:
    """The families that are sent; reason → series that are not."""

    gauges: tuple[Gauge, ...]
    left_out: dict[str, int]

    @property
    def series(self) -> int:
        """How many are sent."""
        return sum(len(g.values) for g in self.gauges)


def chosen(gauges: Sequence[Gauge], wanted: PublishSettings) -> Chosen:
    """The families that are turned on, without the series whose value is not known."""
    left_out: Counter[str] = Counter()
    kept: list[Gauge] = []
    for one in gauges:
        known = ~np.isnan(one.values)
        if not wanted.sends(one.name):
            left_out["turned off in publish.names"] += len(one.values)
            continue
        left_out["no value"] += int((~known).sum())
        if known.all():
            kept.append(one)
        else:
            labels = one.labels[known].reset_index(drop=True)
            kept.append(Gauge(one.name, one.help, labels, one.values[known]))
    return Chosen(
        tuple(g for g in kept if len(g.values)), {why: n for why, n in left_out.items() if n}
    )


def counts(out: Outgoing) -> list[dict[str, Any]]:
    """One row a name, the largest first: series, how many of them are new, how many end."""
    series, ending = Counter(out.names[: out.series]), Counter(out.names[out.series :])
    names = sorted(set(series) | set(ending), key=lambda n: (-series[n], n))
    return [{"name": n, "series": series[n], "new": out.new[n], "ending": ending[n]} for n in names]


def too_many(rows: Sequence[dict[str, Any]], most: int) -> str:
    """Why nothing may be sent: the largest names, and what makes them fewer; else nothing."""
    total = sum(r["series"] for r in rows)
    if total <= most:
        return ""
    told: list[str] = []
    for row in rows[:_LARGEST]:
        entry = NAMES.get(row["name"])
        knobs = entry.fewer if entry is not None and entry.fewer else ("publish.names",)
        told.append(f"{row['name']} {row['series']:,} (fewer with {', '.join(knobs)})")
    return (
        f"{total:,} series are more than publish.series_max = {most:,}; the largest: "
        f"{'; '.join(told)}. Send fewer, or raise publish.series_max"
    )


def refuse_too_many(rows: Sequence[dict[str, Any]], most: int) -> None:
    """Stop before anything is sent.

    Raises
    ------
    ConfigError
        It would be more than ``most`` series.
    """
    why = too_many(rows, most)
    if why:
        raise ConfigError(f"publish: nothing was sent: {why}")
