"""The evidence plots of incidents: of each cause the samples around the onset, beside the band that
was scored then.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel
from pipelines.report.data import Row, listed, text, utc
from pipelines.report.evidence import Seen, drawn, usual_band
from pipelines.report.index import Index, to_ms
from pipelines.report.text import metric_title, stamp

__all__ = ["CAUSES_SHOWN", "evidence_plots"]

CAUSES_SHOWN = 3
_BAND = "band"
_H = pd.Timedelta(1, "h")
_BEFORE, _AFTER = (3 * _H, 24 * _H), (1 * _H, 6 * _H)
_USUAL = pd.Timedelta(1, "D")
_EXPECTED = ["lower", "expected", "upper"]
_Key = tuple[str, str]
_Band = tuple[NDArray[np.int64], Floats]
"""Steps of the panel, (n,), and the band's lower, middle and upper, (3, n)."""


def evidence_plots(index: Index, incidents: Iterable[Row]) -> dict[str, list[Row | None]]:
    """Incident id → the plot of each of its first causes; nothing for a cause without samples.

    ``incidents``: rows of that table.
    """
    if index.panel is None:
        return {}
    rows = list(incidents)
    wanted = {key for row in rows for key in _keys(row)}
    bands = _bands(index, wanted)
    return {
        text(row["incident_id"]): [_plot(index, index.panel, row, k, bands) for k in _keys(row)]
        for row in rows
    }


def _keys(incident: Row) -> list[_Key]:
    causes = [c for c in listed(incident["causes"]) if isinstance(c, dict)]
    return [(text(c.get("workload")), text(c.get("metric"))) for c in causes[:CAUSES_SHOWN]]


def _bands(index: Index, wanted: set[_Key]) -> dict[_Key, _Band]:
    """What was expected of these series, as it was scored."""
    scores, panel = index.data.scores, index.panel
    if panel is None or scores.empty or not {"detector", *_EXPECTED} <= set(scores.columns):
        return {}
    mine = scores["workload"].isin({w for w, _ in wanted}) & (scores["detector"] == _BAND)
    rows = scores.loc[mine & scores["metric"].isin({m for _, m in wanted})].dropna(subset=["ts"])
    start, step = (panel.start.timestamp() * 1000, panel.step.total_seconds() * 1000)
    at = ((to_ms(rows["ts"]) - start) // step).astype(np.int64)
    rows = rows[["workload", "metric", *_EXPECTED]].assign(at=at)
    return {
        (str(w), str(m)): (
            part["at"].to_numpy(dtype=np.int64),
            part[_EXPECTED].to_numpy(dtype=np.float64).T,
        )
        for (w, m), part in rows.groupby(["workload", "metric"], observed=True, sort=False)
        if (str(w), str(m)) in wanted
    }


def _plot(
    index: Index, panel: Panel, incident: Row, key: _Key, bands: dict[_Key, _Band]
) -> Row | None:
    values, began = index.measured(*key), utc(incident["started_at"])
    if values is None or began is None:
        return None
    lo, hi = _window(index, panel, began, utc(incident["ended_at"]))
    begins = _step(panel, began)
    if not lo <= begins < panel.n_steps or not np.isfinite(values[lo:hi]).any():
        return None
    low, usual, high = _expected(bands.get(key), lo, hi)
    scored = bool(np.isfinite(low).any())
    if not scored:
        day = max(begins - round(_USUAL / panel.step), 0)
        low, usual, high = usual_band(values[day:begins], hi - lo)
    seen = Seen(key[1], values[lo:hi], begins - lo, low, usual, high)
    ends = [stamp(panel.start + place * panel.step) for place in (lo, hi)]
    return drawn(seen) | {
        "metric": metric_title(key[1]),
        "from": ends[0],
        "to": ends[1],
        "onset": stamp(began),
        "scored": scored,
    }


def _window(
    index: Index, panel: Panel, began: pd.Timestamp, ended: pd.Timestamp | None
) -> tuple[int, int]:
    """Steps that are drawn: as long again before it, and some after it where it is over."""
    now = utc(index.data.as_of) or panel.end
    until = now if ended is None or ended > now else ended
    lasted = max(until - began, pd.Timedelta(0))
    lo = began - min(max(lasted, _BEFORE[0]), _BEFORE[1])
    hi = min(until + min(max(lasted / 2, _AFTER[0]), _AFTER[1]), now, panel.end)
    return max(_step(panel, lo), 0), min(max(_step(panel, hi), 0), panel.n_steps)


def _step(panel: Panel, at: pd.Timestamp) -> int:
    return int((at - panel.start) // panel.step)


def _expected(band: _Band | None, lo: int, hi: int) -> tuple[Floats, Floats, Floats]:
    out = np.full((3, hi - lo), np.nan)
    if band is not None:
        at, ends = band
        inside = (at >= lo) & (at < hi)
        found = ends[:, inside]
        out[:, at[inside] - lo] = np.where(np.isfinite(found), found, np.nan)
    return out[0], out[1], out[2]
