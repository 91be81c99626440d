"""What the detectors flagged is left out of what the next models learn.

A week with an outage is no example of a usual week. What earlier runs scored as anomalous is
blanked, unless that would be much of a series (what lasts is a new normal), or it came again at
that time of the day or of the week (what returns is a pattern): both are learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from features.frames import SCORES
from features.panel import Panel
from models.band import Band
from pipelines.errors import StoreError

if TYPE_CHECKING:  # settings hold these knobs, and a run holds settings
    from pipelines.run import Run

__all__ = ["AnomalousPoints", "Hygiene", "HygieneParams", "anomalous_points", "on_panel"]

_OWN_DETECTOR = Band().name
_READ = ("workload", "metric", "ts", "detector", "score")
# odd, so that a product loses nothing: 2**64 over the golden ratio, its square, its cube (made odd)
_ODD = np.array([0x9E3779B97F4A7C15, 0x61C8864680B583EB, 0x3C6EF372FE94F82B], dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class HygieneParams:
    """What is left out of training."""

    enabled: bool = True
    """Whether anomalies are."""
    maximum_share: float = 0.2
    """A series of whose measured steps more would go keeps all of them."""
    settle_min: float = 30.0
    """After each deploy so much is left out: caches are cold, pods come and go."""

    def __post_init__(self) -> None:
        """Refuse a share that is none, and a time before a deploy."""
        if not 0 <= self.maximum_share <= 1:
            raise ValueError(f"maximum_share must be from 0 to 1, got {self.maximum_share!r}")
        if not 0 <= self.settle_min < np.inf:
            raise ValueError(f"settle_min must be at least 0 and finite, got {self.settle_min!r}")


@dataclass(frozen=True, slots=True)
class AnomalousPoints:
    """What the series' own detector flagged.

    Attributes
    ----------
    points : frame ``workload, metric, ts``, each point once
    step : the scores' resolution; nothing where they do not tell
    unread_parts : files of scores that could not be read
    """

    points: pd.DataFrame
    step: pd.Timedelta | None = None
    unread_parts: int = 0

    @classmethod
    def of(cls, parts: Sequence[pd.DataFrame], step: pd.Timedelta | None = None) -> AnomalousPoints:
        """Frames ``workload, metric, ts`` in one; no frame is no point."""
        some = [p for p in parts if len(p)]
        if some:
            return cls(pd.concat(some, ignore_index=True), step)
        ts = pd.DatetimeIndex([], dtype="datetime64[ms, UTC]")
        nothing = pd.DataFrame({"workload": [], "metric": []}, dtype="str")
        return cls(nothing.assign(ts=ts))


@dataclass(frozen=True, slots=True)
class Hygiene:
    """What is left out of a panel.

    Attributes
    ----------
    mask : bool, (n_series, n_steps)
        The measured steps to blank.
    series_kept_whole : series that had too many of them, and keep all
    unread_parts : files of scores that could not be read
    """

    mask: NDArray[np.bool_]
    series_kept_whole: int = 0
    unread_parts: int = 0

    def applied(self, panel: Panel) -> Panel:
        """The panel without what is left out."""
        if not self.mask.any():
            return panel
        return panel.with_values(np.where(self.mask, np.nan, panel.values))

    def counts(self) -> dict[str, int]:
        """For the run's summary, by name; only what happened."""
        every = {
            "anomalous cells blanked": int(self.mask.sum()),
            "series kept whole": self.series_kept_whole,
            "files of scores unread": self.unread_parts,
        }
        return {name: count for name, count in every.items() if count}


def anomalous_points(run: Run, since: pd.Timestamp) -> AnomalousPoints:
    """All workloads' points whose newest score is 1 or more.

    Of runs whose clock is from ``since`` on and at or before this run's: every point from ``since``
    on, and what they say of times before. A run on files has no earlier runs: what
    others were scored to is no past of theirs.

    A run's file is in memory at a time, and of what it holds only the anomalous points stay.
    """
    parts = [] if run.ref.inputs else run.parts(SCORES, since)
    known = _Known()
    unread = 0
    for part in parts:
        try:
            scores = _own(run.store.read(SCORES, part=part, columns=_READ))
        except StoreError:
            unread += 1
            continue
        if len(scores):
            known.add(scores)
    step = None if known.step_ms is None else pd.Timedelta(known.step_ms, "ms")
    return AnomalousPoints(known.points(), step, unread)


def on_panel(
    found: AnomalousPoints,
    panel: Panel,
    params: HygieneParams,
    also: NDArray[np.bool_] | None = None,
) -> Hygiene:
    """Points on a panel's steps: a step that holds or meets an anomalous one is left out.

    ``also`` (n_series, n_steps) are steps that are left out for other reasons, by the same rules.
    """
    mask = np.zeros(panel.values.shape, dtype=bool)
    wanted = pd.MultiIndex.from_frame(panel.keys[["workload", "metric"]])
    row = wanted.get_indexer(pd.MultiIndex.from_frame(found.points[["workload", "metric"]]))
    after = (found.points["ts"][row >= 0] - panel.start).to_numpy()
    row = row[row >= 0]
    width = panel.step if found.step is None else found.step
    lo = np.floor(after / panel.step.to_timedelta64()).astype(np.int64)
    hi = np.ceil((after + width.to_timedelta64()) / panel.step.to_timedelta64()).astype(np.int64)
    lo, hi = np.maximum(lo, 0), np.minimum(hi, panel.n_steps)
    steps = np.maximum(hi - lo, 0)
    nth = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
    mask[np.repeat(row, steps), np.repeat(lo, steps) + nth] = True

    if also is not None:
        mask |= also
    measured = ~np.isnan(panel.values)
    mask &= measured & ~_returning(mask, panel.step)
    too_many = mask.sum(axis=1) > params.maximum_share * measured.sum(axis=1)
    mask[too_many] = False
    return Hygiene(mask, int(too_many.sum()), found.unread_parts)


def _returning(mask: NDArray[np.bool_], step: pd.Timedelta) -> NDArray[np.bool_]:
    """Anomalous steps that have a fellow a day or a week before or after, give or take an hour."""
    near = int(np.ceil(pd.Timedelta(1, "h") / step))
    wide = uniform_filter1d(mask.astype(np.float32), 2 * near + 1, axis=1, mode="constant") > 0
    out = np.zeros(mask.shape, dtype=bool)
    for days in (1, 7):
        lag = round(pd.Timedelta(days, "D") / step)
        if 2 * near < lag < mask.shape[1]:
            out[:, lag:] |= mask[:, lag:] & wide[:, :-lag]
            out[:, :-lag] |= mask[:, :-lag] & wide[:, lag:]
    return out


@dataclass(frozen=True, slots=True)
class _Points:
    """Some points; ``key`` is a hash of the other three."""

    workload: NDArray[np.object_]
    metric: NDArray[np.object_]
    ts_ms: NDArray[np.int64]
    key: NDArray[np.uint64]

    @classmethod
    def joined(cls, parts: Sequence[_Points]) -> _Points:
        """All of them; no part is no point."""
        return cls(
            np.concatenate([np.array([], object), *(p.workload for p in parts)]),
            np.concatenate([np.array([], object), *(p.metric for p in parts)]),
            np.concatenate([np.array([], np.int64), *(p.ts_ms for p in parts)]),
            np.concatenate([np.array([], np.uint64), *(p.key for p in parts)]),
        )

    def where(self, rows: NDArray[np.bool_]) -> _Points:
        """Those of a mask."""
        return _Points(self.workload[rows], self.metric[rows], self.ts_ms[rows], self.key[rows])


class _Known:
    """The anomalous points so far, as the files of scores come in the order of their runs.

    Runs go forward with some overlap, so only the newest points can still change; the older ones
    are set aside, and taken up again where a run scores the past anew.
    """

    def __init__(self) -> None:
        self.step_ms: int | None = None
        self._settled: list[_Points] = []
        self._settled_until_ms: int | None = None
        self._open = _Points.joined([])

    def add(self, scores: pa.Table) -> None:
        """Scores of a later run than those before: what it says of a point counts."""
        workloads, metrics = _labels(scores, "workload"), _labels(scores, "metric")
        ts_ms = scores["ts"].cast(pa.int64()).to_numpy()
        key = _hashed(*workloads) * _ODD[0] + _hashed(*metrics) * _ODD[1]
        key += ts_ms.view(np.uint64) * _ODD[2]  # all of it modulo 2**64
        self._learn_step(ts_ms)
        self._settle(int(ts_ms.min()))
        hot = np.flatnonzero(scores["score"].to_numpy() >= 1)
        anew = _Points(
            workloads[1][workloads[0][hot]], metrics[1][metrics[0][hot]], ts_ms[hot], key[hot]
        )
        again = pd.Index(self._open.key).isin(key)
        self._open = _Points.joined([self._open.where(~again), anew])

    def points(self) -> pd.DataFrame:
        """All of them, ``workload, metric, ts``."""
        every = _Points.joined([*self._settled, self._open])
        ts = pd.DatetimeIndex(every.ts_ms.astype("datetime64[ms]"), tz="UTC")
        frame = pd.DataFrame({"workload": every.workload, "metric": every.metric, "ts": ts})
        return frame.astype({"workload": "str", "metric": "str"})

    def _learn_step(self, ts_ms: NDArray[np.int64]) -> None:
        """Neighbours in one run are a step apart; between runs there may be anything."""
        stamps = np.sort(pd.unique(ts_ms))
        if len(stamps) > 1:
            step_ms = int(np.diff(stamps).min())
            self.step_ms = min(step_ms, self.step_ms or step_ms)

    def _settle(self, start_ms: int) -> None:
        """Only points from here on are scored again."""
        if self._settled_until_ms is not None and start_ms <= self._settled_until_ms:
            self._open = _Points.joined([*self._settled, self._open])
            self._settled, self._settled_until_ms = [], None
        old = self._open.ts_ms < start_ms
        if old.any():
            settled = self._open.where(old)
            self._open = self._open.where(~old)
            self._settled.append(settled)
            until_ms = int(settled.ts_ms.max())
            self._settled_until_ms = max(until_ms, self._settled_until_ms or until_ms)


def _own(table: pa.Table) -> pa.Table:
    """The scores of the series' own detector."""
    code, detectors = _labels(table, "detector")
    return table.filter(pa.array((detectors == _OWN_DETECTOR)[code])).combine_chunks()


def _labels(table: pa.Table, column: str) -> tuple[NDArray[np.int32], NDArray[np.object_]]:
    """Codes and words of a column of labels."""
    whole = table[column].combine_chunks()
    words = whole.dictionary.to_numpy(zero_copy_only=False).astype(object)
    return whole.indices.to_numpy(), words


def _hashed(code: NDArray[np.int32], words: NDArray[np.object_]) -> NDArray[np.uint64]:
    return pd.util.hash_array(words, categorize=False)[code]
