"""Leaks of a stretch of time: which series are bounded resources, and what stands beside each."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.frames import LEAKS
from features.metrics import Catalog
from features.panel import Floats, Panel
from models.memory_slope import LEAK_COLUMNS, MemorySlope, prefer_anonymous
from pipelines.settings import Settings

__all__ = ["find_leaks"]

_USED = re.compile(
    r"(?:^|(?<=_))(?P<used>used|usage|anon|rss|working_set|open|active|current|in_use)(?=_|$)"
)
_BOUND = ("limit", "max", "maximum", "capacity", "total", "size")


def find_leaks(
    panel: Panel, start: pd.Timestamp, catalog: Catalog, settings: Settings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Leaks issued in ``(start, panel.end]``, and the resources that could not be judged.

    Leaks are judged on the full hours (``leak_every_s``) however the runs are cut, since what
    persists is counted in issues; a window without one has nothing to say.
    """
    every = pd.Timedelta(settings.detect.leak_every_s, "s")
    issued = pd.date_range(start.floor(every) + every, panel.end, freq=every).as_unit("ms")
    if not len(issued):
        nothing: pd.DataFrame = LEAKS.schema.empty_table().to_pandas()
        return nothing[list(LEAK_COLUMNS)], panel.keys[:0].assign(reason="")
    limits = _limits(panel, catalog)
    resources = prefer_anonymous(panel.select(limits != ""))
    found = MemorySlope(settings.detect.memory_slope).detect(
        resources,
        limit=_beside(panel, resources, limits[_positions(resources, panel)]),
        load=_load(panel, resources, catalog),
        restarts=_beside(panel, resources, "restarts_total"),
        deploys=_beside(panel, resources, "deploy_timestamp_seconds"),
        issued=issued,
    )
    return found.leaks, found.skipped


def _limits(panel: Panel, catalog: Catalog) -> NDArray[np.str_]:
    """For each series the metric that bounds it, or nothing where it is no bounded resource.

    What the catalog calls a resource is judged without its limit too; a name that it does not know
    is a resource where the panel has a name that looks like its limit.
    """
    there = set(panel.keys["metric"])

    def of(name: str) -> str:
        if catalog.knows(name):
            return catalog[name].limit or ""
        return next((bound for bound in _bounds_of(name) if bound in there), "")

    bounds = {str(name): of(str(name)) for name in panel.keys["metric"].unique()}
    return np.array([bounds[str(m)] for m in panel.keys["metric"]], dtype=str)


def _bounds_of(name: str) -> list[str]:
    """Names that the limit of an amount in use may have, e.g. for pool_used_bytes
    pool_limit_bytes, pool_max_bytes and pool_used_bytes_limit."""
    names = [f"{name}_{bound}" for bound in _BOUND[:-2]]  # a total may be a count of something
    for match in _USED.finditer(name):
        head, tail = name[: match.start("used")], name[match.end("used") :]
        names += [f"{head}{bound}{tail}" for bound in _BOUND]
    return names


def _positions(part: Panel, whole: Panel) -> NDArray[np.intp]:
    return pd.MultiIndex.from_frame(whole.keys).get_indexer(pd.MultiIndex.from_frame(part.keys))


def _beside(panel: Panel, resources: Panel, metric: str | NDArray[np.str_]) -> Floats:
    """A metric of the same workload on the same grid, one row a resource; NaN where it has none."""
    wanted = pd.MultiIndex.from_arrays(
        [resources.keys["workload"], np.broadcast_to(metric, resources.n_series)]
    )
    row = pd.MultiIndex.from_frame(panel.keys).get_indexer(wanted)
    return np.vstack([panel.values, np.full(panel.n_steps, np.nan)])[row]


def _load(panel: Panel, resources: Panel, catalog: Catalog) -> Floats:
    """What explains a resource: the workload's first demand metric that there is."""
    out = np.full(resources.values.shape, np.nan)
    for metric in catalog.names("demand"):
        candidate = _beside(panel, resources, metric)
        none_yet = np.isnan(out).all(axis=1)
        out[none_yet] = candidate[none_yet]
    return out
