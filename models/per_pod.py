"""From requests to CPU, where only the requests can be forecast: a monotone curve that has to prove
itself.

Requests per second are cut into groups of equal size; a group's median requests and median CPU are
one knot, so that bursts and failed scrapes do not bend the curve; CPU never falls as requests rise
(a running maximum). The curve is drawn from the first part of the history and judged on the rest: a
curve that does not predict CPU there is refused with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from features.panel import Floats

__all__ = ["CurveParams", "RequestCurves", "per_pod_curve"]


@dataclass(frozen=True, slots=True)
class CurveParams:
    """How a curve is drawn and when it is believed."""

    knots: int = 12
    points_min: int = 288
    """Fewest steps with both metrics, in the fitted part and in the judged part together."""
    judged_share: float = 0.25
    """The newest share of the history, which judges."""
    wape_max: float = 0.2
    """Largest weighted absolute error on the judged part."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        if self.knots < 2:
            raise ValueError(f"curve: knots must be 2 or more, got {self.knots!r}")
        if self.points_min < 2 * self.knots:
            raise ValueError(
                f"curve: points_min must be at least twice knots, got {self.points_min!r}"
            )
        if not 0 < self.judged_share < 1:
            raise ValueError(f"curve: judged_share must be in (0, 1), got {self.judged_share!r}")
        if not self.wape_max > 0:
            raise ValueError(f"curve: wape_max must be more than 0, got {self.wape_max!r}")


@dataclass(frozen=True, slots=True)
class RequestCurves:
    """Curves of n workloads.

    Attributes
    ----------
    requests, cores : float64, (n, knots)
        Rising knots; NaN rows where a curve was refused.
    refusal : list of n strings
        Why there is no curve; empty where there is one.
    """

    requests: Floats
    cores: Floats
    refusal: list[str]

    def cores_at(self, requests: Floats) -> Floats:
        """CPU cores of (n, m) requests per second.

        Below the first knot the first knot's CPU stands; above the last CPU grows in proportion.
        NaN stays NaN.
        """
        return _evaluate(self.requests, self.cores, np.ascontiguousarray(requests, np.float64))


def per_pod_curve(
    requests: Floats, cpu_cores: Floats, params: CurveParams | None = None
) -> RequestCurves:
    """Curves from (n, m) requests per second and (n, m) CPU cores, both of one pod or both of a
    whole workload."""
    params = params or CurveParams()
    requests = np.ascontiguousarray(requests, np.float64)
    cpu_cores = np.ascontiguousarray(cpu_cores, np.float64)
    usable = np.isfinite(requests) & np.isfinite(cpu_cores) & (requests > 0) & (cpu_cores >= 0)
    points = usable.sum(axis=1)
    newest = np.cumsum(usable, axis=1) > (points * (1 - params.judged_share))[:, None]
    fitted = usable & ~newest
    x, y = _knots(requests, cpu_cores, fitted, params.knots)
    judged = usable & newest
    # divided by each row's largest value first: sums of 1e300 stay finite
    scale = np.where(judged, cpu_cores, 0.0).max(axis=1, initial=0.0)[:, None]
    scale = np.where(scale > 0, scale, 1.0)
    error = np.where(judged, np.abs(_evaluate(x, y, requests) - cpu_cores) / scale, 0.0).sum(axis=1)
    total = np.where(judged, cpu_cores / scale, 0.0).sum(axis=1)
    wape = np.where(total > 0, error / np.where(total > 0, total, 1.0), np.inf)
    refusal = [_refusal(int(n), float(w), params) for n, w in zip(points, wape, strict=True)]
    refused = np.array([bool(r) for r in refusal], dtype=bool)
    x[refused], y[refused] = np.nan, np.nan
    return RequestCurves(x, y, refusal)


def _refusal(points: int, wape: float, params: CurveParams) -> str:
    if points < params.points_min:
        return (
            f"requests and CPU were seen together in {points} steps, {params.points_min} are needed"
        )
    if not wape <= params.wape_max:
        return f"requests explain CPU to {wape:.0%} only, {params.wape_max:.0%} is allowed"
    return ""


@njit(cache=True, nogil=True)
def _knots(requests: Floats, cores: Floats, fitted: Any, n_knots: int) -> tuple[Floats, Floats]:
    n = requests.shape[0]
    x, y = np.full((n, n_knots), np.nan), np.full((n, n_knots), np.nan)
    for i in range(n):
        at = np.flatnonzero(fitted[i])
        if len(at) < n_knots:
            continue
        order = at[np.argsort(requests[i][at])]
        top = 0.0
        for k in range(n_knots):
            group = order[k * len(at) // n_knots : (k + 1) * len(at) // n_knots]
            x[i, k] = np.median(requests[i][group])
            top = max(top, np.median(cores[i][group]))
            y[i, k] = top
    return x, y


@njit(cache=True, nogil=True)
def _evaluate(x: Floats, y: Floats, requests: Floats) -> Floats:
    out = np.full(requests.shape, np.nan)
    last = x.shape[1] - 1
    for i in range(requests.shape[0]):
        if np.isnan(x[i, 0]):
            continue
        for t in range(requests.shape[1]):
            r = requests[i, t]
            if r > x[i, last]:
                out[i, t] = y[i, last] * (r / x[i, last])
            elif not np.isnan(r):
                out[i, t] = np.interp(r, x[i], y[i])
    return out
