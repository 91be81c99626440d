"""Two frames of samples, before and after an onset, as matrices of the same series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import infer_step

__all__ = ["BeforeAfter", "align"]

Floats = NDArray[np.float64]
_STEP_FROM_SERIES = 64
_MAX_CELLS = 400_000_000


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """Every series of either frame, in the order of its names.

    Attributes
    ----------
    keys : ``workload, metric`` as text, (n_series,)
    normal : (n_series, n_normal), the steps that any series has, NaN where one was not measured
    incident : (n_series, n_incident), every step from the first to the last
    step : length of a step
    incident_ms : start of each step of ``incident``, ms since 1970 UTC
    """

    keys: pd.DataFrame
    normal: Floats
    incident: Floats
    step: pd.Timedelta
    incident_ms: NDArray[np.int64]


def align(before: pd.DataFrame, after: pd.DataFrame) -> BeforeAfter:
    """Put two frames ``workload, metric, ts, value`` on one grid; samples in a step are averaged.

    Steps count from the first sample after. The step is the samples' own resolution, of the first
    64 series. Values that are not finite are left out; so are steps of ``before`` that nobody has:
    the two frames may be months apart.

    Raises
    ------
    ValueError
        The grid would be absurdly large.
    """
    code, keys = _series(before, after)
    ts = np.concatenate([_ms(before), _ms(after)])
    value = np.concatenate([f["value"].to_numpy(dtype=np.float64) for f in (before, after)])
    late = np.arange(len(ts)) >= len(before)
    keep = np.isfinite(value)
    code, ts, value, late = code[keep], ts[keep], value[keep], late[keep]
    step = _step(code, ts)
    step_ms = int(step / pd.Timedelta(1, "ms"))
    origin = int(ts[late].min()) if late.any() else 0
    at = (ts - origin) // step_ms
    usual, seen = np.unique(at[~late], return_inverse=True)
    n_after = int(at[late].max()) + 1 if late.any() else 0
    if len(keys) * (len(usual) + n_after) > _MAX_CELLS:
        raise ValueError(
            f"{len(keys)} series × {len(usual) + n_after} steps of {step} are too many cells; "
            "expected a shorter normal time or fewer metrics"
        )
    return BeforeAfter(
        keys,
        _matrix(code[~late], seen, value[~late], (len(keys), len(usual))),
        _matrix(code[late], at[late], value[late], (len(keys), n_after)),
        step,
        origin + step_ms * np.arange(n_after, dtype=np.int64),
    )


def _series(before: pd.DataFrame, after: pd.DataFrame) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Each row's series, those of ``before`` first, and what the series are called."""
    workload, workloads = _labels(before["workload"], after["workload"])
    metric, metrics = _labels(before["metric"], after["metric"])
    count = max(len(metrics), 1)
    packed = workload * count + metric
    used = np.flatnonzero(np.bincount(packed, minlength=1))
    place = np.zeros(packed.max(initial=0) + 1, dtype=np.int64)
    place[used] = np.arange(len(used))
    if not len(packed):
        used = used[:0]
    keys = pd.DataFrame(
        {"workload": workloads[used // count], "metric": metrics[used % count]}, dtype="str"
    )
    return place[packed], keys


def _labels(before: pd.Series, after: pd.Series) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Codes of both, in the order of the labels' text."""
    parts = [_codes(labels) for labels in (before, after)]
    text, inverse = np.unique(np.concatenate([t for _, t in parts]), return_inverse=True)
    cut = len(parts[0][1])
    codes = [inverse[:cut][parts[0][0]], inverse[cut:][parts[1][0]]]
    return np.concatenate(codes).astype(np.int64), text.astype(object)


def _codes(labels: pd.Series) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    categorical = isinstance(labels.dtype, pd.CategoricalDtype)
    codes, names = (
        (labels.cat.codes, labels.cat.categories) if categorical else pd.factorize(labels)
    )
    return np.array(codes, dtype=np.int64), np.array(names, dtype=np.str_)


def _ms(frame: pd.DataFrame) -> NDArray[np.int64]:
    if frame.empty:
        return np.empty(0, dtype=np.int64)
    return frame["ts"].dt.as_unit("ms").astype("int64").to_numpy()


def _step(code: NDArray[np.int64], ts: NDArray[np.int64]) -> pd.Timedelta:
    few = np.isin(code, np.unique(code)[:_STEP_FROM_SERIES])
    order = np.lexsort((ts[few], code[few]))
    return infer_step(code[few][order], ts[few][order])


def _matrix(
    row: NDArray[np.int64], column: NDArray[np.int64], value: Floats, shape: tuple[int, int]
) -> Floats:
    """Means of the values in each cell, NaN where there is none.

    Means, not sums, are added up: a sum of two values near 1e308 is no number.
    """
    cell, size = row * shape[1] + column, shape[0] * shape[1]
    count = np.bincount(cell, minlength=size)
    total = np.bincount(cell, weights=value / count[cell], minlength=size)
    return np.where(count > 0, total, np.nan).reshape(shape)
