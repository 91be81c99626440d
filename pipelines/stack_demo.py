"""What ``make up`` reads where nobody said what to read: a simulated cluster, past and to come.

Its samples reach two weeks into the future, and a run sees none after its clock: the schedules find
new ones every quarter of an hour, as of a real source.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from pipelines.events import LIVE
from pipelines.settings import load_settings
from pipelines.settings_outside import SourceSettings

__all__ = ["Prepared", "first_runs", "prepared"]

_CONFIG = "config/foretide.yaml"
_DEMO = ".foretide/demo"
_PAST, _WEEKS = pd.Timedelta(21, "D"), 5
_FIRST_TRAINING_S = 60


@dataclass(frozen=True, slots=True)
class Prepared:
    """The configuration that runs read.

    Attributes
    ----------
    config : its file, relative to the folder
    tracking_uri : the model tracker that it names, if it does
    is_new : whether nothing was done with it yet, and somebody should begin
    """

    config: str
    tracking_uri: str = ""
    is_new: bool = False


def prepared(home: Path, now: pd.Timestamp, say: Callable[[str], None]) -> Prepared:
    """The folder's own configuration, or a simulated cluster's where that names no source.

    Raises
    ------
    ConfigError
        The folder's own is wrong.
    """
    file = home / _CONFIG
    own = load_settings(file if file.is_file() else None)
    if own.source != SourceSettings():
        return Prepared(_CONFIG if file.is_file() else _default(home), own.tracking.uri)
    say(f"no source is configured ({_CONFIG}, or FORETIDE_SOURCE__…): a simulated cluster it is")
    _simulate(home / _DEMO, now)
    return Prepared(f"{_DEMO}/foretide.yaml", is_new=not (home / _DEMO / "data").is_dir())


def first_runs(api: str) -> None:
    """Ingest now, and learn when that is done: what the schedules have waiting for Sunday night.

    The first ingestion's clock is no live one: it would begin a chain that has no model yet.
    """
    from prefect.deployments import run_deployment
    from prefect.settings import PREFECT_API_URL, temporary_settings

    now = pd.Timestamp.now("UTC")
    later = (now + pd.Timedelta(_FIRST_TRAINING_S, "s")).to_pydatetime()
    with temporary_settings({PREFECT_API_URL: api}):
        before = (now - LIVE - pd.Timedelta(1, "min")).isoformat()
        run_deployment("ingest/ingest", parameters={"as_of": before}, timeout=0, as_subflow=False)
        run_deployment("train/train", scheduled_time=later, timeout=0, as_subflow=False)


def _default(home: Path) -> str:
    """A configuration of defaults, where the environment alone says what differs."""
    file = home / ".foretide" / "foretide.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}\n", encoding="utf-8")
    return str(file.relative_to(home))


def _simulate(folder: Path, now: pd.Timestamp) -> None:
    """Make the samples and their configuration where there are none, or none to come any more."""
    import pyarrow.parquet as pq

    from features.synthetic import ClusterSpec, simulate

    samples = folder / "samples.parquet"
    if samples.is_file():
        end = pd.Timestamp(samples.stat().st_mtime, unit="s", tz="UTC")
        if now < end + pd.Timedelta(weeks=_WEEKS) - _PAST - pd.Timedelta(2, "D"):
            return
        shutil.rmtree(folder)
    start = (now - _PAST).floor("D")
    spec = ClusterSpec(n_workloads=6, weeks=_WEEKS, start=start.to_pydatetime())
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "source": {"kind": "files", "paths": [f"{_DEMO}/samples.parquet"]},
        "store": {"path": f"{_DEMO}/data"},
        "history": {"days": 21, "step_s": 300},
    }
    (folder / "foretide.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    pq.write_table(simulate(spec).samples, samples)
