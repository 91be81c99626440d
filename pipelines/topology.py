"""The call graph of a run: a file that the settings name, and calls that were ingested."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from features.topology import CALLS_METRIC, EDGE_COLUMNS, call_edges
from pipelines.errors import ConfigError, HistoryError
from pipelines.run import Run

__all__ = ["edges_of", "read_edges"]


def edges_of(run: Run) -> pd.DataFrame | None:
    """Who calls whom, ``caller, callee``; nothing where neither a file nor a metric says it.

    The calls are those of the last ``detect.regroup_h``. Names are as they came: see
    ``features.topology.resolve_edges``.

    Raises
    ------
    ConfigError
        The file of ``detect.graph`` cannot be read.
    """
    start = run.as_of - pd.Timedelta(hours=run.settings.detect.regroup_h)
    try:
        calls = run.samples(start, run.as_of, [CALLS_METRIC])
        seen = calls.loc[calls["value"] > 0, "workload"].unique()
    except HistoryError:
        seen = []
    parts = [call_edges(str(w) for w in seen)]
    if run.settings.detect.graph:
        parts.append(read_edges(run.settings.detect.graph))
    edges = pd.concat(parts, ignore_index=True)
    return edges if len(edges) else None


def read_edges(path: str) -> pd.DataFrame:
    """A CSV file with the columns ``caller`` and ``callee``; others are ignored.

    Raises
    ------
    ConfigError
        There is no such file, it is no CSV, or it lacks a column.
    """
    try:
        table = pd.read_csv(Path(path), dtype="str", skipinitialspace=True)
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"detect.graph: {path} cannot be read as CSV: {why}") from error
    missing = [c for c in EDGE_COLUMNS if c not in table.columns]
    if missing:
        raise ConfigError(
            f"detect.graph: {path} must have the columns caller and callee (workload ids or "
            f"names); {' and '.join(missing)} not found, got {', '.join(table.columns)}"
        )
    return table[list(EDGE_COLUMNS)].dropna().reset_index(drop=True)
