"""Words for the points that the band flagged.

``p99 latency 840 ms, expected 210–260 ms for Monday 09:00; also errors +4σ``
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.civil import Calendar, calendar_of
from features.panel import Floats, Panel
from models.band_states import BandScores, Reason
from models.metric_words import MetricWords, amounts, metric_words, ranges

__all__ = ["reasons_text"]

_ALSO = 2
"""Other metrics of the workload that are named, the worst first."""
_MOST = 99.0
"""A series that never moved has next to no spread: further off is no more of a message."""
_WEEKDAY = pd.Timedelta(days=6)
"""What is longer ago is said by its date."""
_HOW = {
    Reason.LEVEL_SHIFT: " moved to a new level,",
    Reason.LASTING_ABOVE: ", too high for a while",
    Reason.LASTING_BELOW: ", too low for a while",
}
"""What the numbers do not say by themselves: before them with a comma at the end, else after."""

Index = NDArray[np.intp]


def reasons_text(
    panel: Panel,
    scores: BandScores,
    flagged: NDArray[np.bool_],
    calendars: Sequence[Calendar] = (),
) -> list[str]:
    """Words for the flagged points, in the order of ``np.nonzero(flagged)``.

    Parameters
    ----------
    panel
        What was scored; all metrics of a workload, since they are named together.
    scores : on the panel's grid
    flagged : (n_series, n_steps)
    calendars
        Hours are those of the first that matches a workload; UTC where none does.
    """
    rows, cols = np.nonzero(flagged)
    if not len(rows):
        return []
    words = metric_words(panel.keys["metric"].tolist())
    clock = _Clock(panel, calendars)
    happened = _happened(panel, scores, words, clock, rows, cols)
    expected = _expected(scores, words, rows, cols)
    when, also = clock.at(rows, cols), _also(panel, scores, words, rows, cols)
    return [
        f"{h}, {e} for {w}{a}" for h, e, w, a in zip(happened, expected, when, also, strict=True)
    ]


class _Clock:
    """Moments as the clock on the wall of a workload's users says them."""

    def __init__(self, panel: Panel, calendars: Sequence[Calendar]) -> None:
        code, workloads = pd.factorize(panel.keys["workload"])
        own = [calendar_of(str(w), calendars).timezone for w in workloads]
        zone, zones = pd.factorize(pd.Series(own, dtype="str"))
        self._zone, self._zones = zone[code], [str(z) for z in zones]
        self._times, self._step = panel.times, panel.step

    def at(self, rows: Index, cols: Index) -> list[str]:
        """``Monday 09:00`` for each series (its row) and step, (n,)."""
        days, hours, _ = self._parts(rows, cols)
        return [f"{d} {h}" for d, h in zip(days, hours, strict=True)]

    def since(self, rows: Index, first: Index, cols: Index) -> list[str]:
        """When what is still so at ``cols`` began, (n,): ``09:00``, with its day if another."""
        days, hours, dates = self._parts(rows, first)
        today = self._parts(rows, cols)[2]
        long_ago = ((cols - first) * self._step >= _WEEKDAY).tolist()
        return [
            h if date == now else f"{date if far else d} {h}"
            for d, h, date, now, far in zip(days, hours, dates, today, long_ago, strict=True)
        ]

    def _parts(self, rows: Index, cols: Index) -> tuple[list[str], list[str], list[str]]:
        """Day of the week, hour and minute, and date."""
        out = np.empty((3, len(rows)), dtype=object)
        for number, zone in enumerate(self._zones):
            mine = np.flatnonzero(self._zone[rows] == number)
            used, place = np.unique(cols[mine], return_inverse=True)
            local = self._times[used].tz_convert(zone)
            texts = (local.day_name(), local.strftime("%H:%M"), local.strftime("%Y-%m-%d"))
            for part, text in zip(out, texts, strict=True):
                part[mine] = text.to_numpy(dtype=object)[place]
        return out[0].tolist(), out[1].tolist(), out[2].tolist()


def _happened(
    panel: Panel, scores: BandScores, words: MetricWords, clock: _Clock, rows: Index, cols: Index
) -> NDArray[np.object_]:
    """What the point is, (n,)."""
    names, reason = words.names[rows], scores.reason[rows, cols]
    out = np.empty(len(rows), dtype=object)
    zero, gone = reason == Reason.DROP_TO_ZERO, reason == Reason.MISSING
    out[zero] = [f"{n} dropped to zero" for n in names[zero]]
    first = _first_absent(panel.values, rows[gone], cols[gone])
    since = clock.since(rows[gone], np.maximum(first, 0), cols[gone])
    before = np.where(first < 0, "before ", "").tolist()
    out[gone] = [
        f"no samples of {n} since {b}{s}"
        for n, b, s in zip(names[gone], before, since, strict=True)
    ]
    there = np.flatnonzero(~zero & ~gone)
    value = amounts(panel.values[rows[there], cols[there]], words.kind[rows[there]])
    how = {int(r): _HOW.get(r, "") for r in Reason}
    out[there] = [
        f"{n}{how[r]} {v}" if how[r][-1:] == "," else f"{n} {v}{how[r]}"
        for n, v, r in zip(names[there], value, reason[there].tolist(), strict=True)
    ]
    return out


def _first_absent(values: Floats, rows: Index, cols: Index) -> Index:
    """The step after the last sample up to each point, (n,); -1 where there is none before it."""
    used, place = np.unique(rows, return_inverse=True)
    steps = np.where(np.isnan(values[used]), -1, np.arange(values.shape[1]))
    last = np.maximum.accumulate(steps, axis=1)[place, cols]
    return np.where(last < 0, -1, np.minimum(last + 1, cols))


def _expected(
    scores: BandScores, words: MetricWords, rows: Index, cols: Index
) -> NDArray[np.object_]:
    """The range that would not have been flagged, (n,).

    A band that is open on the harmless side is shown as wide there as on the other.
    """
    centre, low, high = (a[rows, cols] for a in (scores.expected, scores.lower, scores.upper))
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = (
            np.where(np.isinf(low), 2 * centre - high, low),
            np.where(np.isinf(high), 2 * centre - low, high),
        )
    kind = words.kind[rows]
    out = np.full(len(rows), "without a forecast", dtype=object)
    single = np.flatnonzero(np.isfinite(centre))
    out[single] = [f"expected {a}" for a in amounts(centre[single], kind[single])]
    both = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    out[both] = [f"expected {r}" for r in ranges(low[both], high[both], kind[both])]
    return out


def _also(
    panel: Panel, scores: BandScores, words: MetricWords, rows: Index, cols: Index
) -> list[str]:
    """The workload's other metrics that are flagged at the same step, (n,)."""
    workload = pd.factorize(panel.keys["workload"])[0][rows]
    score = np.nan_to_num(scores.score[rows, cols], nan=0.0)
    order = np.lexsort((rows, -score, cols, workload))
    begins = np.r_[True, np.diff(workload[order]) != 0] | np.r_[True, np.diff(cols[order]) != 0]
    starts = np.flatnonzero(begins)
    group = np.cumsum(begins) - 1
    size = np.diff(np.r_[starts, len(order)])[group]
    if (size == 1).all():
        return [""] * len(rows)
    short = _shortly(scores, words, rows, cols)
    rank = np.arange(len(order)) - starts[group]
    texts = np.full(len(rows), "", dtype=object)
    for place in range(_ALSO):
        other = place + (rank <= place)  # oneself is left out
        there = np.flatnonzero(other < size)
        named = short[order[starts[group[there]] + other[there]]]
        texts[order[there]] += ("; also " if place == 0 else ", ") + named
    return texts.tolist()


def _shortly(
    scores: BandScores, words: MetricWords, rows: Index, cols: Index
) -> NDArray[np.object_]:
    """A flagged point in two words, (n,): ``errors +4σ``."""
    names, reason = words.names[rows], scores.reason[rows, cols]
    off = np.clip(scores.deviation[rows, cols], -_MOST, _MOST).tolist()
    # only NaN is not itself
    texts = [f"{n} {x:+.2g}σ" if x == x else n for n, x in zip(names, off, strict=True)]
    out = np.array(texts, dtype=object)
    zero, gone = reason == Reason.DROP_TO_ZERO, reason == Reason.MISSING
    out[zero] = names[zero] + " at zero"
    out[gone] = "no samples of " + names[gone]
    return out
