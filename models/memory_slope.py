"""Leaks: what keeps growing after load, time of day, restarts and warm-up are accounted for.

One row a series and issue moment, from samples that were complete by then. Several windows are
judged, short ones for fast leaks, and the one that says most is reported. A score of 1 or more is a
leak: the trend is significant (as an autocorrelated series can be), spread over the window (no
step), not dying out (no warm-up curve), above what the workload was before (no cycle, no refill),
larger than what it used to give back (no wandering), and it matters (the limit within the horizon,
or days of steady growth). The further away the limit, the longer all of it must have been true.

A resource without a limit is judged for days of steady growth; its time to the limit is infinite.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel
from models.slope_kernels import OUTPUTS, Knobs, Steps, judge_panel

__all__ = ["LEAK_COLUMNS", "LeakFindings", "MemorySlope", "MemorySlopeParams", "prefer_anonymous"]

LEAK_COLUMNS = (
    "workload", "metric", "issued_at", "slope_per_h", "slope_per_h_lower", "slope_per_h_upper",
    "value", "limit", "time_to_limit_p10_s", "time_to_limit_p50_s", "time_to_limit_p90_s", "score",
    "note",
)  # fmt: skip
_MEMORY = ("memory_anon_bytes", "memory_rss_bytes", "memory_working_set_bytes",
           "memory_usage_bytes")  # fmt: skip
"""Names of one thing, the purest first: the last two hold page cache, which may grow."""
_CAUTION = 0.25  # part of the halves' uncertainty that counts against a leak
_CACHED_NOTE = "part of it may be page cache"
_UNBOUNDED_NOTE = "no limit known: judged by its growth alone"


@dataclass(frozen=True, slots=True)
class MemorySlopeParams:
    """Knobs of the leak detector."""

    warmup_h: float = 1.0
    """Left out at the start of each lifetime."""
    windows_h: tuple[float, ...] = (2.0, 3.0, 6.0, 12.0, 24.0, 72.0, 168.0)
    """Windows that are judged, shortest first; each is cut to the lifetime."""
    minimum_h: float = 3.0
    """Shortest lifetime that is judged."""
    blind_h: float = 24.0
    """The same while neither load nor days of history tell a cycle from a leak."""
    points: int = 36
    """Points in a window: the lower envelope of as many bins."""
    aggregate_s: float = 1800.0
    """Bin in which load and time of day are learned."""
    lookback_h: float = 180.0
    """Past that is looked at, however much there is: with confirm_at_most_h eight days."""
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
    model_error: float = 0.15
    """Growth may go on so much faster or slower than it was: widens P10 to P90."""
    significance_z: float = 2.5
    """Alert line of the trend test, in standard deviations."""
    confirm_h: float = 0.5
    """A leak must have been one for this long already."""
    notice_h: float = 8.0
    """With less time left nothing more is waited for."""
    patience: float = 0.25
    """And for this share of the time beyond: what is far away can be looked at again."""
    confirm_at_most_h: float = 12.0
    """No leak has to be confirmed for longer. Chosen, with ``patience``, on simulated workloads:
    caches fill for days, and look straight at first."""
    cached_metrics: tuple[str, ...] = _MEMORY[2:]
    """Metrics that hold page cache: any sign that growth dies out counts in full against a leak."""
    cache_warmup_h: float = 12.0
    """Left out at the start of each of their lifetimes: page cache fills for hours."""
    cache_share: float = 0.3
    """So much of them may be page cache, given back before anything is killed: a later P90."""

    def __post_init__(self) -> None:
        """Refuse values that no window can be judged with."""
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "cached_metrics":
                continue
            if f.name == "windows_h":
                if not value or min(value) <= 0 or list(value) != sorted(value):
                    raise ValueError(f"windows_h must be positive and rising, got {value}")
            elif not value > 0 and not (f.name in _MAY_BE_ZERO and value == 0):
                raise ValueError(f"{f.name} must be above 0, got {value}")
        if self.points < 12:
            raise ValueError(f"points must be at least 12, got {self.points}")


_MAY_BE_ZERO = ("warmup_h", "cache_warmup_h", "model_error", "notice_h", "patience", "cache_share")


@dataclass(frozen=True, slots=True)
class LeakFindings:
    """What was judged, and what could not be.

    Attributes
    ----------
    leaks : frame
        ``LEAK_COLUMNS``; one row a series and issue moment that could be judged; score ≥ 1 is a
        leak; ``limit`` is NaN and the times to it infinite where none is known; ``note`` says what
        makes a row less sure, and is empty otherwise.
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

    @property
    def context(self) -> pd.Timedelta:
        """How much past an issue looks at: with so much, more changes nothing."""
        return pd.Timedelta(hours=self.params.lookback_h + self.params.confirm_at_most_h)

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
            What may leak, in its own unit. An amount in use cannot be negative: such samples count
            as missing.
        limit, load, restarts, deploys : float64, (n_series, n_steps)
            Beside ``resource``, NaN where unknown: its bound (same unit; the newest counts), the
            demand that explains it, a counter of restarts, and the stamp of the newest revision.
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
        ends = np.asarray((issued - resource.start) // resource.step, dtype=np.int64)
        used = np.where(resource.values >= 0, resource.values, np.nan)
        given = (used, _rowwise(limit), _rowwise(load), _rowwise(restarts), _rowwise(deploys))
        cached = resource.keys["metric"].isin(self.params.cached_metrics).to_numpy(dtype=bool)
        found = judge_panel(given, cached, ends, *self._compiled(resource.step))
        judged = np.isfinite(found[:, :, OUTPUTS.index("score")])
        return LeakFindings(
            _rows(resource, issued, found, judged, cached),
            self._skipped(resource, used, np.asarray(judged.any(axis=1))),
        )

    def _compiled(self, step: pd.Timedelta) -> tuple[NDArray[np.int64], Steps, Knobs]:
        """The knobs on the panel's grid, as the kernels take them."""
        p, step_h = self.params, step / pd.Timedelta(hours=1)
        width = max(round(p.aggregate_s / 3600 / step_h), 1)
        steps = Steps(
            warm=round(p.warmup_h / step_h),
            warm_cached=round(max(p.warmup_h, p.cache_warmup_h) / step_h),
            least=max(round(p.minimum_h / step_h), 12),
            blind=round(p.blind_h / step_h),
            stale=max(round(p.stale_h / step_h), 3),
            width=width,
            lag=max(round(3 / (width * step_h)), 1),
            day=max(round(24 / (width * step_h)), 1),
            lookback=max(round(p.lookback_h / step_h), 1),
        )
        knobs = Knobs(
            float(p.horizon_h), float(p.minimum_growth_share), float(p.sustained_h),
            float(p.significance_z), float(p.extrapolation), _CAUTION,
            float(p.model_error), float(p.confirm_h), float(p.notice_h), float(p.patience),
            float(p.confirm_at_most_h), float(p.cache_share), int(p.points), float(step_h),
        )  # fmt: skip
        spans = np.array([max(round(w / step_h), 1) for w in p.windows_h], dtype=np.int64)
        return spans, steps, knobs

    def _skipped(self, resource: Panel, used: Floats, judged: NDArray[np.bool_]) -> pd.DataFrame:
        empty = ~np.isfinite(used).any(axis=1)
        young = (
            f"at no issue moment {self.params.minimum_h:g} h of one lifetime after warm-up"
            f" ({self.params.blind_h:g} h without load or days of history)"
        )
        reasons = np.where(empty, "no sample", young)
        skipped = resource.keys[~judged].assign(reason=reasons[~judged].astype(str))
        return skipped.reset_index(drop=True)


def prefer_anonymous(panel: Panel) -> Panel:
    """Of a workload's names for its memory the purest one that has samples: anonymous memory, then
    RSS; the working set holds page cache, which may grow, and is kept where there is nothing else.
    """
    metric = panel.keys["metric"]
    order = {name: place for place, name in enumerate(_MEMORY)}
    place = metric.map(order).to_numpy(dtype=np.float64, copy=True)
    place[~np.isfinite(panel.values).any(axis=1)] += len(order)
    best = pd.Series(place).groupby(panel.keys["workload"].to_numpy()).transform("min").to_numpy()
    return panel.select(~(place > best))


def _rows(
    resource: Panel,
    issued: pd.DatetimeIndex,
    found: Floats,
    judged: NDArray[np.bool_],
    cached: NDArray[np.bool_],
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
    frame["note"] = _notes(cached[series], np.isnan(cells["limit"]))
    return frame[list(LEAK_COLUMNS)]


def _rowwise(values: Floats) -> Floats:
    return np.ascontiguousarray(values, dtype=np.float64)


def _notes(cached: NDArray[np.bool_], unbounded: NDArray[np.bool_]) -> pd.Series:
    both = f"{_CACHED_NOTE}; {_UNBOUNDED_NOTE}"
    words = np.select(
        [cached & unbounded, cached, unbounded], [both, _CACHED_NOTE, _UNBOUNDED_NOTE], ""
    )
    return pd.Series(words, dtype="str")


def _coded(labels: pd.Series, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], pd.Index]:
    codes, categories = pd.factorize(labels)
    return codes[rows], pd.Index(categories)
