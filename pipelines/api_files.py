"""Files of samples as a frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from features.workloads import with_workload
from pipelines.adapters.files import read_samples
from pipelines.api_data import Config
from pipelines.catalogs import open_catalog
from pipelines.errors import InputError
from pipelines.grids import possible
from pipelines.settings import load_settings

__all__ = ["samples_of"]


def samples_of(paths: Sequence[str | Path], config: Config) -> pd.DataFrame:
    """As ``pipelines.api.read``."""
    if not paths:
        raise InputError("read: expected one or more files or folders of samples, got none")
    settings = load_settings(config)
    catalog = open_catalog(settings.source.catalog_name, settings.metrics)
    table = read_samples([str(p) for p in paths])
    frame: pd.DataFrame = table.to_pandas()
    frame.insert(0, "workload", with_workload(table)["workload"])
    return possible(frame, catalog)[0]
