"""Stores as earlier releases left them: small, synthetic, written by their own code.

``FIRST`` has tables of the contracts' first versions, ``LAST`` also what ``apply`` wrote. Both are
of two workloads, two weeks by the hour to 2026-06-08, trained a day before.
"""

from __future__ import annotations

import sqlite3
import tarfile
from pathlib import Path

import pandas as pd
import yaml

__all__ = ["FIRST", "LAST", "MADE", "config_of", "restored"]

_DATA = Path(__file__).parents[1] / "data"
_HOME = "file:///srv/foretide/store"
FIRST, LAST = "store-v0.1-first", "store-v0.1"
MADE = pd.Timestamp("2026-06-08T00:00Z")


def restored(name: str, folder: Path) -> Path:
    """The store, unpacked; its own tracker's file knows where it lies now."""
    with tarfile.open(_DATA / f"{name}.tar.xz") as packed:
        packed.extractall(folder)  # noqa: S202 - our own file
    root = folder / "store"
    tracker = sqlite3.connect(root / "mlflow.db", isolation_level=None)
    try:
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("model_versions", "source"),
            ("model_versions", "storage_location"),
        ):
            change = f"update {table} set {column} = replace({column}, ?, ?)"  # noqa: S608
            tracker.execute(change, (_HOME, root.as_uri()))
    finally:
        tracker.close()
    return root


def config_of(root: Path) -> str:
    """The configuration it was written with, in this release's words."""
    file = root.parent / "foretide.yaml"
    models = ["seasonal_naive", "seasonal_level", "decomposition", "prophet"]
    settings = {
        "history": {"days": 14, "step_s": 3600},
        "store": {"path": str(root)},
        "forecast": {"horizon_h": 12, "models": models},
        "detect": {"isolation_forest": {"n_trees": 20}},
    }
    file.write_text(yaml.safe_dump(settings))
    return str(file)
