"""Panel: many series on one regular grid, a matrix ``series × time``, NaN where nothing was
measured.

Steps are half-open: the value at ``ts`` aggregates the samples of ``[ts, ts + step)``. Gaps are
counted and never invented; what was dropped on the way in (duplicates, NaN, Inf) is counted by
name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from features.frames import FrameError
from features.steps import as_step, infer_step
from features.workloads import as_samples, with_workload

__all__ = ["Floats", "Panel", "PanelCounts", "infer_step"]

Floats = NDArray[np.float64]

_MAX_CELLS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class PanelCounts:
    """What happened to the samples on their way into the grid."""

    samples: int = 0
    duplicates: int = 0
    not_finite: int = 0
    cells: int = 0
    empty_cells: int = 0
    out_of_range: int = 0
    """Finite, and impossible by the catalog's range; whoever knows the catalog counts them."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Series on one grid.

    Attributes
    ----------
    keys : frame, (n_series,)
        Columns ``workload`` and ``metric``, one row a series, sorted, index 0…n-1.
    start, step
        Left edge of the first step (UTC) and the length of a step.
    values : float64, (n_series, n_steps)
        In each metric's own unit; NaN where nothing was measured.
    """

    keys: pd.DataFrame
    start: pd.Timestamp
    step: pd.Timedelta
    values: Floats
    counts: PanelCounts = PanelCounts()

    @classmethod
    def from_frame(
        cls,
        samples: pa.Table | pd.DataFrame,
        *,
        step: pd.Timedelta | str | None = None,
        start: pd.Timestamp | None = None,
        end: pd.Timestamp | None = None,
        aggregates: Mapping[str, str] | None = None,
    ) -> Panel:
        """Put samples on a grid.

        Parameters
        ----------
        samples
            The samples table, or a frame ``workload, metric, ts, value``, or with ``name`` (and
            ``cluster``, ``namespace``, ``kind``) instead of ``workload``. Order does not matter; of
            two samples of one series with the same stamp the later row wins; NaN and Inf are
            counted and left out.
        step
            Length of a step, ``"15min"`` or a Timedelta; by default the samples' own resolution.
        start, end
            Half-open window; by default all of the samples. Samples outside are ignored.
        aggregates
            Metric name → ``mean``, ``sum``, ``max`` or ``last``; ``mean`` where a name is absent.

        Raises
        ------
        FrameError
            A column is missing or wrong, no sample is left in the window, or the grid would be
            absurdly large.
        """
        frame = _long(samples)
        ts_ms = frame["ts"].dt.as_unit("ms").astype("int64").to_numpy()
        inside = np.ones(len(frame), dtype=bool)
        if start is not None:
            inside &= ts_ms >= _ms(start)
        if end is not None:
            inside &= ts_ms < _ms(end)
        value = frame["value"].to_numpy(dtype=np.float64)
        finite = np.isfinite(value)
        keep = np.flatnonzero(inside & finite)
        if not len(keep):
            raise FrameError(
                f"no sample between {start} and {end} "
                f"(of {len(frame)} given, {int((~finite).sum())} not finite)"
            )
        series, keys = _series(frame.iloc[keep])
        order = np.lexsort((ts_ms[keep], series))
        series, ts_ms, value = series[order], ts_ms[keep][order], value[keep][order]
        last = np.r_[(series[1:] != series[:-1]) | (ts_ms[1:] != ts_ms[:-1]), True]
        duplicates = int((~last).sum())
        series, ts_ms, value = series[last], ts_ms[last], value[last]

        step = infer_step(series, ts_ms) if step is None else as_step(step)
        step_ms = int(step / pd.Timedelta(1, "ms"))
        first = (_ms(start) if start is not None else int(ts_ms.min())) // step_ms * step_ms
        final = _ms(end) if end is not None else int(ts_ms.max()) + 1
        n_steps = -((first - final) // step_ms)
        if n_steps * len(keys) > _MAX_CELLS:
            raise FrameError(
                f"{len(keys)} series × {n_steps} steps of {step} are too many cells; "
                "choose a longer step or a shorter window"
            )
        cell = series * n_steps + (ts_ms - first) // step_ms
        values = _aggregate(
            cell, value, len(keys) * n_steps, keys["metric"], n_steps, aggregates or {}
        )
        values = values.reshape(len(keys), n_steps)
        counts = PanelCounts(
            samples=len(frame),
            duplicates=duplicates,
            not_finite=int((inside & ~finite).sum()),
            cells=values.size,
            empty_cells=int(np.isnan(values).sum()),
        )
        return cls(
            keys, pd.Timestamp(first, unit="ms", tz="UTC").as_unit("ms"), step, values, counts
        )

    @property
    def n_series(self) -> int:
        """Number of series."""
        return self.values.shape[0]

    @property
    def n_steps(self) -> int:
        """Number of steps on the grid."""
        return self.values.shape[1]

    @property
    def end(self) -> pd.Timestamp:
        """Right edge of the last step."""
        return self.start + self.n_steps * self.step

    @property
    def times(self) -> pd.DatetimeIndex:
        """Left edges of the steps, (n_steps,), UTC, milliseconds."""
        return pd.date_range(self.start, periods=self.n_steps, freq=self.step).as_unit("ms")

    @property
    def steps_per_day(self) -> float:
        """Steps in 24 hours."""
        return pd.Timedelta(days=1) / self.step

    def window(self, start: pd.Timestamp | None = None, end: pd.Timestamp | None = None) -> Panel:
        """The steps that start in ``[start, end)``; both are clipped to the grid."""
        lo = 0 if start is None else int(np.ceil((start - self.start) / self.step))
        hi = self.n_steps if end is None else int(np.ceil((end - self.start) / self.step))
        lo, hi = min(max(lo, 0), self.n_steps), min(max(hi, 0), self.n_steps)
        hi = max(lo, hi)
        return replace(self, start=self.start + lo * self.step, values=self.values[:, lo:hi])

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Panel:
        """The given series, by mask or by position."""
        return replace(
            self, keys=self.keys.loc[rows].reset_index(drop=True), values=self.values[rows]
        )

    def of(self, *metrics: str) -> Panel:
        """The series of the given metrics."""
        return self.select(self.keys["metric"].isin(metrics).to_numpy())

    def with_values(self, values: Floats) -> Panel:
        """The same grid with other values, (n_series, n_steps)."""
        return replace(self, values=values)

    def matrix(self, metric: str, workloads: list[str]) -> Floats:
        """One metric, (len(workloads), n_steps); NaN rows where a workload does not have it."""
        part = self.of(metric)
        row = (
            pd.Series(part.keys.index, index=part.keys["workload"])
            .reindex(workloads)
            .to_numpy(dtype=float)
        )
        out = np.full((len(workloads), self.n_steps), np.nan)
        there = ~np.isnan(row)
        out[there] = part.values[row[there].astype(np.intp)]
        return out

    def to_frame(self) -> pd.DataFrame:
        """Long frame ``workload, metric, ts, value`` without the empty cells."""
        rows, cols = np.nonzero(~np.isnan(self.values))
        return pd.DataFrame(
            {
                "workload": pd.Categorical.from_codes(*_coded(self.keys["workload"], rows)),
                "metric": pd.Categorical.from_codes(*_coded(self.keys["metric"], rows)),
                "ts": self.times[cols],
                "value": self.values[rows, cols],
            }
        )


def _long(samples: pa.Table | pd.DataFrame) -> pd.DataFrame:
    """``workload, metric, ts, value``; frames that are in order already stay as they are."""
    if isinstance(samples, pa.Table):
        return with_workload(samples)
    kinds = dict(samples.dtypes)
    is_long = {"workload", "metric", "ts", "value"} <= kinds.keys()
    if is_long and isinstance(kinds["ts"], pd.DatetimeTZDtype) and kinds["value"] == np.float64:
        return samples
    return as_samples(samples)


def _ms(at: pd.Timestamp) -> int:
    return int(at.value) // 10**6  # pandas gives nanoseconds whatever the unit


def _series(frame: pd.DataFrame) -> tuple[NDArray[np.int64], pd.DataFrame]:
    workload, workloads = pd.factorize(frame["workload"])
    metric, metrics = pd.factorize(frame["metric"])
    for name, code in (("workload", workload), ("metric", metric)):
        if (code < 0).any():
            raise FrameError(f"samples: column {name!r} has {int((code < 0).sum())} empty values")
    workload, workloads = _by_name(workload, workloads)
    metric, metrics = _by_name(metric, metrics)
    packed = workload * len(metrics) + metric
    used, series = np.unique(packed, return_inverse=True)
    keys = pd.DataFrame(
        {
            "workload": workloads[used // len(metrics)],
            "metric": metrics[used % len(metrics)],
        },
        dtype="str",
    )
    return series.astype(np.int64), keys


def _by_name(
    codes: NDArray[np.intp], labels: pd.Index
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Codes in the order of the labels' text: categories keep the order in which they came."""
    text = np.asarray(labels, dtype=object)
    order = np.argsort(text, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[codes], text[order]


def _aggregate(
    cell: NDArray[np.int64],
    value: Floats,
    size: int,
    metrics: pd.Series,
    n_steps: int,
    aggregates: Mapping[str, str],
) -> Floats:
    """One value a cell; cells come sorted, so every cell is one run of neighbours."""
    begins = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
    used = cell[begins]
    how = np.array([aggregates.get(str(m), "mean") for m in metrics])[used // n_steps]
    last = np.r_[begins[1:], len(cell)] - 1
    with np.errstate(over="ignore"):
        total = np.add.reduceat(value, begins)
    picked = np.select(
        [how == "sum", how == "max", how == "last"],
        [total, np.maximum.reduceat(value, begins), value[last]],
        default=total / (last - begins + 1),
    )
    out = np.full(size, np.nan)
    out[used] = picked
    return out


def _coded(labels: pd.Series, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], pd.Index]:
    codes, categories = pd.factorize(labels)
    return codes[rows], pd.Index(categories)
