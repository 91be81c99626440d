"""From a pod's requests to its CPU or memory: a monotone curve that has to prove itself.

Requests per second are cut into groups of equal size; a group's median requests and median CPU are
one knot, so that bursts and failed scrapes do not bend the curve; CPU never falls as requests rise
(a running maximum). The curve is drawn from the first part of the history and judged on the rest: a
curve that does not predict CPU there, or not better than one number for all steps would, is refused
with the reason.

Above the busiest group it goes on as steeply as its upper half rose. In proportion would be too
steep where an idle pod burns CPU already: the pods that a floor adds make all of them less busy, so
the next curve would end lower, claim that a pod carries less, and ask for more pods each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.measures import row_quantiles

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
    error_share_max: float = 0.75
    """Largest error there as a share of what the median of the fitted part makes: CPU that does not
    follow requests says nothing about how many of them a pod carries."""
    reach: float = 2.0
    """How far above the busiest group, as a multiple of its requests, a pod's capacity is still
    believed; a floor makes pods less busy by its own margin, which is seldom half of them."""

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
        if not self.error_share_max > 0:
            raise ValueError(
                f"curve: error_share_max must be more than 0, got {self.error_share_max!r}"
            )
        if not 1 <= self.reach < np.inf:
            raise ValueError(f"curve: reach must be 1 or more, got {self.reach!r}")


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
    reach: float = 2.0

    def take(self, rows: NDArray[np.intp]) -> RequestCurves:
        """The curves of the given rows."""
        refusal = [self.refusal[i] for i in rows]
        return RequestCurves(self.requests[rows], self.cores[rows], refusal, self.reach)

    def cores_at(self, requests: Floats) -> Floats:
        """CPU cores of (n, m) requests per second.

        Below the first knot the first knot's CPU stands; above the last CPU grows as steeply as in
        the upper half. NaN stays NaN.
        """
        return _evaluate(self.requests, self.cores, np.ascontiguousarray(requests, np.float64))

    def requests_at(self, cores: Floats) -> Floats:
        """The largest requests per second, (n,), whose CPU stays at (n,) cores.

        NaN where a curve was refused, where even its first knot burns more, and more than ``reach``
        above its last knot.
        """
        return _inverse(self.requests, self.cores, np.asarray(cores, np.float64), self.reach)


def per_pod_curve(
    requests: Floats, cpu_cores: Floats, params: CurveParams | None = None, what: str = "CPU"
) -> RequestCurves:
    """Curves from (n, m) requests per second and (n, m) CPU cores, both of one pod or both of a
    whole workload; or of another resource, ``what``."""
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
    told = _evaluate(x, y, np.where(judged, requests, np.nan))
    error = np.where(judged, np.abs(told - cpu_cores) / scale, 0.0).sum(axis=1)
    total = np.where(judged, cpu_cores / scale, 0.0).sum(axis=1)
    wape = np.where(total > 0, error / np.where(total > 0, total, 1.0), np.inf)
    plain = row_quantiles(np.where(fitted, cpu_cores, np.nan), (0.5,))[0]
    plain_error = np.where(judged, np.abs(plain[:, None] - cpu_cores) / scale, 0.0).sum(axis=1)
    share = np.where(plain_error > 0, error / np.where(plain_error > 0, plain_error, 1.0), np.inf)
    refusal = [
        _refusal(int(n), float(w), float(s), params, what)
        for n, w, s in zip(points, wape, share, strict=True)
    ]
    refused = np.array([bool(r) for r in refusal], dtype=bool)
    x[refused], y[refused] = np.nan, np.nan
    return RequestCurves(x, y, refusal, params.reach)


def _refusal(points: int, wape: float, share: float, params: CurveParams, what: str) -> str:
    if points < params.points_min:
        return (
            f"requests and {what} were seen together in {points} steps, "
            f"{params.points_min} are needed"
        )
    if not wape <= params.wape_max:
        return (
            f"requests explain {what} with an error of {wape:.0%}, {params.wape_max:.0%} is allowed"
        )
    if not share <= params.error_share_max:
        return f"{what} does not follow requests: its usual value predicts it as well"
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
def _slope(x: Floats, y: Floats) -> float:
    """How steeply a curve goes on above its last knot; at least a tenth of in proportion, so that
    it never ends."""
    last, middle = len(x) - 1, len(x) // 2
    whole = y[last] / x[last]
    if x[last] <= x[middle]:
        return whole
    return max((y[last] - y[middle]) / (x[last] - x[middle]), 0.1 * whole)


@njit(cache=True, nogil=True)
def _evaluate(x: Floats, y: Floats, requests: Floats) -> Floats:
    out = np.full(requests.shape, np.nan)
    last = x.shape[1] - 1
    for i in range(requests.shape[0]):
        if np.isnan(x[i, 0]):
            continue
        slope = _slope(x[i], y[i])
        for t in range(requests.shape[1]):
            r = requests[i, t]
            if r > x[i, last]:
                out[i, t] = y[i, last] + slope * (r - x[i, last])
            elif not np.isnan(r):
                out[i, t] = np.interp(r, x[i], y[i])
    return out


@njit(cache=True, nogil=True)
def _inverse(x: Floats, y: Floats, cores: Floats, reach: float) -> Floats:
    out = np.full(len(cores), np.nan)
    last = x.shape[1] - 1
    for i in range(len(cores)):
        c = cores[i]
        if np.isnan(x[i, 0]) or not c >= y[i, 0]:
            continue
        if c >= y[i, last]:
            slope = _slope(x[i], y[i])
            r = x[i, last] + (c - y[i, last]) / slope if slope > 0 else np.inf
            out[i] = r if r <= reach * x[i, last] else np.nan
            continue
        k = np.searchsorted(y[i], c, side="right")  # y[k - 1] <= c < y[k]
        part = (c - y[i, k - 1]) / (y[i, k] - y[i, k - 1])
        out[i] = x[i, k - 1] + part * (x[i, k] - x[i, k - 1])
    return out
