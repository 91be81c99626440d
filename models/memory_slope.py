"""Leaks: what keeps growing after load, time of day, restarts and warm-up are accounted for.

One row a series and issue moment, from samples that were complete by then. Several windows are
judged, short ones for fast leaks, and the one that says most is reported. A score of 1 or more is a
leak: the trend is significant (as an autocorrelated series can be), spread over the window (no
step), not dying out (no warm-up curve), above what the workload was before (no cycle, no refill),
and it matters (the limit within the horizon, or days of steady growth).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel
from models.slope_kernels import OUTPUTS, judge_series

__all__ = ["LEAK_COLUMNS", "LeakFindings", "MemorySlope", "MemorySlopeParams", "prefer_rss"]

LEAK_COLUMNS = (
    "workload", "metric", "issued_at", "slope_per_h", "slope_per_h_lower", "slope_per_h_upper",
    "value", "limit", "time_to_limit_p10_s", "time_to_limit_p50_s", "time_to_limit_p90_s", "score",
)  # fmt: skip
_RSS, _WORKING_SET = "memory_rss_bytes", "memory_working_set_bytes"
_CAUTION = 0.25  # part of the halves' uncertainty that counts against a leak


@dataclass(frozen=True, slots=True)
class MemorySlopeParams:
    """Knobs of the leak detector."""

    warmup_h: float = 1.0
    """Left out at the start of each lifetime."""
    windows_h: tuple[float, ...] = (3.0, 6.0, 12.0, 24.0, 72.0, 168.0)
    """Windows that are judged, shortest first; each is cut to the lifetime."""
    minimum_h: float = 3.0
    """Shortest stretch that is judged."""
    blind_h: float = 24.0
    """The same while neither load nor days of history tell a cycle from a leak."""
    points: int = 36
    """Points in a window: the lower envelope of as many bins."""
    aggregate_s: float = 1800.0
    """Bin in which load and time of day are learned."""
    stale_h: float = 1.0
    """A series without a sample for so long is not judged."""
    horizon_h: float = 168.0
    """Alert line: the limit is reached within this time."""
    extrapolation: float = 8.0
    """No window speaks for more than so many times its own length."""
    minimum_growth_share: float = 0.05
    """Alert line: growth over the window as a share of the value."""
    sustained_h: float = 72.0
    """Growth far from its limit counts too: minimum_growth_share in this time, seen over a day."""
    significance_z: float = 2.5
    """Alert line of the trend test, in standard deviations."""
    confirm_h: float = 1.0
    """A leak must have been one for this long already."""
    cached_metrics: tuple[str, ...] = (_WORKING_SET,)
    """Metrics that hold page cache: any sign that growth dies out counts in full against a leak."""

    def __post_init__(self) -> None:
        """Refuse values that no window can be judged with."""
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "cached_metrics":
                continue
            if f.name == "windows_h":
                if not value or min(value) <= 0 or list(value) != sorted(value):
                    raise ValueError(f"windows_h must be positive and rising, got {value}")
            elif not value > 0 and not (f.name == "warmup_h" and value == 0):
                raise ValueError(f"{f.name} must be above 0, got {value}")
        if self.points < 12:
            raise ValueError(f"points must be at least 12, got {self.points}")


@dataclass(frozen=True, slots=True)
class LeakFindings:
    """What was judged, and what could not be.

    Attributes
    ----------
    leaks : frame
        ``LEAK_COLUMNS``; one row a series and issue moment that could be judged; score ≥ 1 is a
        leak.
    skipped : frame
        ``workload, metric, reason`` of each series without any row in ``leaks``.
    """

    leaks: pd.DataFrame
    skipped: pd.DataFrame


class MemorySlope:
    """The leak detector; see the module's text."""

    def __init__(self, params: MemorySlopeParams | None = None) -> None:
        """Take the knobs."""
        self.params = params or MemorySlopeParams()

    def detect(
        self,
        resource: Panel,
        *,
        limit: Floats,
        load: Floats,
        restarts: Floats,
        deploys: Floats,
        issued: pd.DatetimeIndex,
    ) -> LeakFindings:
        """Judge every series at every issue moment.

        Parameters
        ----------
        resource
            What may leak, in its own unit.
        limit, load, restarts, deploys : float64, (n_series, n_steps)
            Beside ``resource``, NaN where unknown: its bound (same unit), the demand that explains
            it, a counter of restarts, and the stamp of the newest revision.
        issued
            Moments of judgement, UTC. A row uses only steps that had ended by then.

        Raises
        ------
        ValueError
            An array has another shape than the panel.
        """
        beside = {"limit": limit, "load": load, "restarts": restarts, "deploys": deploys}
        for name, values in beside.items():
            if values.shape != resource.values.shape:
                raise ValueError(
                    f"{name} must be {resource.values.shape} like the panel, got {values.shape}"
                )
        found = self._confirmed(
            resource, [np.ascontiguousarray(v) for v in beside.values()], issued
        )
        judged = np.isfinite(found[:, :, OUTPUTS.index("score")])
        return LeakFindings(
            _rows(resource, issued, found, judged),
            self._skipped(resource, limit, np.asarray(judged.any(axis=1))),
        )

    def _confirmed(self, resource: Panel, beside: list[Floats], issued: pd.DatetimeIndex) -> Floats:
        """Judge at each moment and confirm_h before: the lower score counts."""
        ends = np.asarray((issued - resource.start) // resource.step, dtype=np.int64)
        back = max(round(pd.Timedelta(hours=self.params.confirm_h) / resource.step), 1)
        moments, at = np.unique(np.r_[ends, ends - back], return_inverse=True)
        every = self._judge(resource, beside, moments)
        found = every[:, at[: len(ends)]].copy()
        score = OUTPUTS.index("score")
        before = np.nan_to_num(every[:, at[len(ends) :], score])
        found[:, :, score] = np.minimum(found[:, :, score], before)
        return found

    def _judge(self, resource: Panel, beside: list[Floats], ends: NDArray[np.int64]) -> Floats:
        """(n_series, n_issues, n_outputs)."""
        p = self.params
        step_h = resource.step / pd.Timedelta(hours=1)
        width = max(round(p.aggregate_s / 3600 / step_h), 1)
        steps = (
            round(p.warmup_h / step_h),
            max(round(p.minimum_h / step_h), 12),
            round(p.blind_h / step_h),
            max(round(p.stale_h / step_h), 3),
            width,
            max(round(3 / (width * step_h)), 1),
            max(round(24 / (width * step_h)), 1),
        )
        spans = np.array([max(round(w / step_h), 1) for w in p.windows_h], dtype=np.int64)
        knobs = np.array(
            [
                p.horizon_h,
                p.minimum_growth_share,
                p.sustained_h,
                p.significance_z,
                p.extrapolation,
                0.0,
            ]
        )
        cached = resource.keys["metric"].isin(p.cached_metrics).to_numpy()
        out = np.empty((resource.n_series, len(ends), len(OUTPUTS)))
        x = np.ascontiguousarray(resource.values)
        for row in range(resource.n_series):  # the kernel is compiled; a row of the panel a call
            knobs[5] = 1.0 if cached[row] else _CAUTION
            limit, load, restarts, deploys = (values[row] for values in beside)
            out[row] = judge_series(
                x[row], limit, load, restarts, deploys, ends, spans, steps, p.points, step_h, knobs
            )
        return out

    def _skipped(self, resource: Panel, limit: Floats, judged: NDArray[np.bool_]) -> pd.DataFrame:
        empty = ~np.isfinite(resource.values).any(axis=1)
        unbounded = ~(limit > 0).any(axis=1)
        reasons = np.select(
            [empty, unbounded],
            ["no sample", "no limit"],
            f"at no issue moment {self.params.minimum_h:g} h of one lifetime after warm-up"
            f" ({self.params.blind_h:g} h without load or days of history)",
        )
        skipped = resource.keys[~judged].assign(reason=reasons[~judged].astype(str))
        return skipped.reset_index(drop=True)


def prefer_rss(panel: Panel) -> Panel:
    """Without the working set where there is rss: it holds page cache, which may grow."""
    metric, workload = panel.keys["metric"], panel.keys["workload"]
    has_rss = workload.isin(workload[metric == _RSS])
    return panel.select(~((metric == _WORKING_SET) & has_rss).to_numpy())


def _rows(
    resource: Panel, issued: pd.DatetimeIndex, found: Floats, judged: NDArray[np.bool_]
) -> pd.DataFrame:
    series, issue = np.nonzero(judged)
    cells: dict[str, Floats] = dict(zip(OUTPUTS, found[series, issue].T, strict=True))
    for name in [n for n in OUTPUTS if n.startswith("time_to_limit")]:
        cells[name.removesuffix("_h") + "_s"] = cells.pop(name) * 3600
    labels = {
        name: pd.Categorical.from_codes(*_coded(resource.keys[name], series))
        for name in ("workload", "metric")
    }
    frame = pd.DataFrame({**labels, "issued_at": issued.as_unit("ms")[issue], **cells})
    return frame[list(LEAK_COLUMNS)]


def _coded(labels: pd.Series, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], pd.Index]:
    codes, categories = pd.factorize(labels)
    return codes[rows], pd.Index(categories)
