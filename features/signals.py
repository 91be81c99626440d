"""Signals: what the isolation forest sees of a workload, one row a step, one column a signal.

Every row uses its own step and earlier ones only, and (but for counters, which look back to their
last sample, ``LOOK_BACK_STEPS`` at most) nothing but its own step: the signals of a window are the
window of the signals, from its ``LOOK_BACK_STEPS``-th row on.

======================  ================================================================
``M:residual``          of a demand, resource or signal, also of a metric no catalog knows:
                        √value − √expected (signed roots). The root keeps busy hours from
                        drowning quiet ones (Anscombe, Biometrika 35, 1948) and needs no
                        scale of its own: trees do not care for units.
``M:saturation``        resource / its limit; ``cpu_usage_cores`` / ``cpu_request_cores``
``M:increase``          growth of a counter (``…_total``) since its last sample, never negative:
                        a counter summed over pods falls whenever a pod goes; NaN
                        where that sample is further than ``LOOK_BACK_STEPS`` back
``cpu_per_request``     ``cpu_usage_cores`` / ``requests_per_second``
``requests_per_replica``  ``requests_per_second`` / ``replicas``
======================  ================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.metrics import Catalog
from features.panel import Floats, Panel

__all__ = ["LOOK_BACK_STEPS", "Signals", "build_signals"]

LOOK_BACK_STEPS = 12
"""Steps before its own that a row may use: an hour of 5-minute steps. What a counter has grown over
a longer hole says nothing about its last step."""

_COUNTER = "_total"
_RATIOS = (
    ("cpu_usage_cores:saturation", "cpu_usage_cores", "cpu_request_cores"),
    ("cpu_per_request", "cpu_usage_cores", "requests_per_second"),
    ("requests_per_replica", "requests_per_second", "replicas"),
)
_RATIO_SIGNS = {"cpu_per_request": 1, "requests_per_replica": 0}
_SIGNS = {"up": 1, "down": -1, "both": 0}


@dataclass(frozen=True, slots=True)
class Signals:
    """Signals of many workloads on one grid.

    Attributes
    ----------
    workloads : list, (n_workloads,)
        Sorted.
    names : list, (n_signals,)
        Every signal that some workload has, sorted: one column has one meaning for all workloads.
    start, step
        The grid, as in ``Panel``.
    values : float64, (n_workloads, n_steps, n_signals)
        NaN where nothing is known; all NaN in the column of a signal that the workload lacks.
    signs : tuple, (n_signals,)
        The side on which a signal is trouble: 1 above, -1 below, 0 both. Empty: both, for all.
    """

    workloads: list[str]
    names: list[str]
    start: pd.Timestamp
    step: pd.Timedelta
    values: Floats
    signs: tuple[int, ...] = ()


def build_signals(panel: Panel, expected: Floats, catalog: Catalog) -> Signals:
    """Make the signals of all workloads of a panel.

    Parameters
    ----------
    panel
        Any metrics of any workloads.
    expected : (n_series, n_steps)
        Forecast on the same grid; a metric without a forecast (NaN) has no residual.
    """
    workloads = sorted(panel.keys["workload"].unique())
    forecast = panel.with_values(expected)
    columns = dict(_columns(panel, forecast, catalog, workloads))
    names = sorted(name for name, values in columns.items() if not np.isnan(values).all())
    values = np.empty((len(workloads), panel.n_steps, len(names)))
    for position, name in enumerate(names):
        values[:, :, position] = columns[name]
    signs = tuple(_sign(name, catalog) for name in names)
    return Signals(workloads, names, panel.start, panel.step, values, signs)


def _sign(name: str, catalog: Catalog) -> int:
    """Residuals are trouble on their metric's side; growth and what is used up above."""
    metric, _, kind = name.partition(":")
    if not kind:
        return _RATIO_SIGNS[name]
    return _SIGNS[catalog[metric].direction] if kind == "residual" else 1


def _columns(
    panel: Panel, forecast: Panel, catalog: Catalog, workloads: list[str]
) -> Iterator[tuple[str, Floats]]:
    present = {
        str(m): panel.matrix(str(m), workloads) for m in sorted(panel.keys["metric"].unique())
    }
    for name, values in present.items():
        metric = catalog[name]
        if name.endswith(_COUNTER):
            yield f"{name}:increase", _increase(values)
        elif metric.role in ("demand", "resource", "signal"):
            yield f"{name}:residual", _root(values) - _root(forecast.matrix(name, workloads))
        if metric.role == "resource" and metric.limit in present:
            yield f"{name}:saturation", _ratio(values, present[metric.limit])
    for name, part, whole in _RATIOS:
        if part in present and whole in present:
            yield name, _ratio(present[part], present[whole])


def _root(values: Floats) -> Floats:
    return np.sign(values) * np.sqrt(np.abs(values))


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Quotient, NaN where the whole is not above zero."""
    out = np.full(part.shape, np.nan)
    with np.errstate(over="ignore"):
        np.divide(part, whole, out=out, where=whole > 0)
    out[np.isinf(out)] = np.nan
    return out


def _increase(values: Floats) -> Floats:
    """Growth since the last sample, (n, n_steps); NaN where there is none, now or lately."""
    there = ~np.isnan(values)
    seen = np.maximum.accumulate(np.where(there, np.arange(values.shape[1]), -1), axis=1)
    before = np.c_[np.full(len(values), -1), seen[:, :-1]]
    last = np.take_along_axis(values, np.maximum(before, 0), axis=1)
    near = (before >= 0) & (np.arange(values.shape[1]) - before <= LOOK_BACK_STEPS)
    return np.maximum(np.where(near, values - last, np.nan), 0.0)
