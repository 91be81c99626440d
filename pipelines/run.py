"""One run of a verb: its configuration, its clock, its input and its store.

Flows and tasks pass a ``RunRef`` (a few strings) around and open it where they work, so that a task
never receives a frame. ``as_of`` is the run's clock: nothing at or after it is seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from features.frames import Contract, FrameError
from features.metrics import Catalog
from features.panel import Panel
from features.workloads import with_workload
from pipelines.adapters.files import read_samples
from pipelines.adapters.store import Store
from pipelines.adapters.tracking import Tracking, artifacts_place
from pipelines.catalogs import open_catalog
from pipelines.errors import ConfigError, HistoryError
from pipelines.grids import end_of, homes, panel_of_shard, possible, usual_step
from pipelines.moments import parse_duration, parse_time
from pipelines.settings import Settings, load_settings

__all__ = ["Run", "RunRef", "part_name"]

_ASIDE = {"source": {"headers", "password"}} | dict.fromkeys(
    ["ingest", "shards", "watch", "publish", "notify", "mcp"], True
)


@dataclass(frozen=True, slots=True)
class RunRef:
    """What names a run: small enough to be a task's argument.

    Attributes
    ----------
    config : path of the YAML file, or nothing for the defaults
    inputs : files that replace the store's samples, or nothing
    out : folder of the store
    as_of : the run's clock, ISO 8601 UTC
    shard, shards : this task's share of the workloads
    step_s : length of a step, where it is not the configured one
    aggregate : how samples of metrics that the catalog does not know fall into a step
    """

    config: str | None
    inputs: tuple[str, ...]
    out: str
    as_of: str
    shard: int = 0
    shards: int = 1
    step_s: float | None = None
    aggregate: str | None = None

    @classmethod
    def resolve(
        cls,
        config: str | None,
        inputs: Sequence[str] | None,
        out: str | None,
        as_of: str | None,
        now: pd.Timestamp,
    ) -> RunRef:
        """Fill in what the user left out.

        ``as_of`` defaults to the end of the input files, or to ``now`` when the store is read.

        Raises
        ------
        ConfigError, InputError
            The configuration, the moment or a file is wrong.
        """
        settings = load_settings(config)
        folder = out or settings.store.path
        files = tuple(f if f.startswith("s3://") else str(Path(f)) for f in inputs or ())
        if as_of is not None:
            moment = parse_time(as_of, "--as-of")
        elif files:
            moment = end_of(with_workload(read_samples(files)))
        else:
            moment = now
        return cls(config, files, folder, moment.isoformat())

    def on_files(self, step: str | None, aggregate: str | None) -> RunRef:
        """The same run on another grid; a store's grid is its configuration's.

        Raises
        ------
        ConfigError
            The run reads the store, or the step is no length of time.
        """
        if (step or aggregate) and not self.inputs:
            raise ConfigError(
                "--step and --aggregate are for --input; the store's step is history.step_s"
            )
        step_s = None if step is None else parse_duration(step, "--step").total_seconds()
        return replace(self, step_s=step_s, aggregate=aggregate)

    def open(self) -> Run:
        """Read the configuration and the catalog; open the store."""
        settings = load_settings(self.config)
        known = open_catalog(settings.source.catalog_name, settings.metrics)
        return Run(self, settings, known, Store(self.out))


@dataclass(frozen=True, slots=True)
class Run:
    """An opened run."""

    ref: RunRef
    settings: Settings
    catalog: Catalog
    store: Store

    @property
    def as_of(self) -> pd.Timestamp:
        """The run's clock, UTC."""
        return pd.Timestamp(self.ref.as_of).as_unit("ms")

    @property
    def run_id(self) -> str:
        """The same configuration, inputs and clock give the same id, so a re-run replaces.

        How the work is cut into shards makes no other run of it.
        """
        knobs = self.settings.model_dump_json(exclude=_ASIDE)
        text = "\n".join((knobs, *self.ref.inputs, self.ref.as_of))
        return f"{part_name(self.as_of)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def part(self) -> str:
        """How files of this run are named: by its clock."""
        return part_name(self.as_of)

    @property
    def history_start(self) -> pd.Timestamp:
        """Where the history that is read begins."""
        return self.as_of - pd.Timedelta(days=self.settings.history.days)

    @property
    def step(self) -> pd.Timedelta | None:
        """The step that was asked for, if any was."""
        step_s = self.ref.step_s or self.settings.history.step_s
        return None if step_s is None else pd.Timedelta(step_s, "s")

    def tracking(self) -> Tracking:
        """The model tracker; by default an SQLite file and a folder inside the store.

        Raises
        ------
        ConfigError
            There is no such place inside the store.
        """
        s = self.settings.tracking
        if "://" in self.ref.out and not s.uri:
            told = f"needed where the store is {self.ref.out}; MLflow's SQLite file needs a disk"
            raise ConfigError(f"tracking.uri: {told}")
        uri = s.uri or f"sqlite:///{Path(self.ref.out).resolve() / 'mlflow.db'}"
        artifacts = artifacts_place(uri, self.ref.out)
        return Tracking(uri, s.experiment, s.model_prefix, artifacts)

    def samples(
        self, start: pd.Timestamp, end: pd.Timestamp, metrics: Collection[str] | None = None
    ) -> pd.DataFrame:
        """Workload, metric, ts and value of ``[start, end)``; what cannot be true is NaN.

        Raises
        ------
        HistoryError
            There is none.
        """
        return possible(self._every(start, end, metrics), self.catalog)[0]

    def _every(
        self, start: pd.Timestamp, end: pd.Timestamp, metrics: Collection[str] | None
    ) -> pd.DataFrame:
        if self.ref.inputs:
            table = read_samples(self.ref.inputs)
            ts_ms = table["ts"].cast(pa.int64()).to_numpy()
            inside = (ts_ms >= start.timestamp() * 1000) & (ts_ms < end.timestamp() * 1000)
            if metrics is not None:
                inside &= np.isin(table["metric"].to_numpy(), list(metrics))
            table = table.filter(pa.array(inside))
        else:
            table = self.store.read_samples(start, end, metrics)
        if not len(table):
            raise HistoryError(
                f"no samples from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC in "
                f"{', '.join(self.ref.inputs) or self.ref.out}; "
                "choose another --as-of, or ingest first"
            )
        return with_workload(table)

    def panel(
        self, start: pd.Timestamp, end: pd.Timestamp, metrics: Collection[str] | None = None
    ) -> Panel:
        """This shard's samples of ``[start, end)`` on a grid; a last step that is not over is left
        out.

        The grid is that of all workloads, so that nothing depends on how they are cut. A shard
        whose workloads have no sample gets a panel without series.

        Raises
        ------
        HistoryError
            There is no sample, or none that is a number.
        """
        panel = self._stored(start, end, metrics) or self._framed(start, end, metrics)
        panel = panel.window(end=end.floor(panel.step))
        if not panel.n_steps:
            raise HistoryError(f"the samples before {end} do not fill one step of {panel.step}")
        return panel

    def read(
        self, contract: Contract, since: pd.Timestamp | None = None, *, newest: bool = False
    ) -> pa.Table:
        """A table's runs between ``since`` and this run's clock, or only the newest of them.

        Raises
        ------
        StoreError
            There is none.
        """
        parts = self.parts(contract, since)
        if newest:
            parts = [p for p in parts if _clock_of(p) == _clock_of(parts[-1])]
        if not parts:
            return self.store.read(contract, part=self.part)
        tables = [self.store.read(contract, part=p) for p in parts]
        return pa.concat_tables(tables, promote_options="default").unify_dictionaries()

    def parts(self, contract: Contract, since: pd.Timestamp | None = None) -> list[str]:
        """Names of a table's parts whose clock is between ``since`` and this run's."""
        until, begin = part_name(self.as_of), part_name(since) if since is not None else ""
        return [p for p in self.store.parts(contract) if begin <= _clock_of(p) <= until]

    def shards(self, start: pd.Timestamp | None = None) -> list[RunRef]:
        """This run, cut by the workloads that were seen since ``start``, all on one step."""
        workloads, step = self._census(start or self.history_start)
        shards = -(-len(workloads) // self.settings.shards.workloads)
        step = self.step or step
        ref = replace(self.ref, shards=max(shards, 1), step_s=step.total_seconds())
        used = np.unique(homes(workloads, ref.shards))
        return [replace(ref, shard=int(i)) for i in used]

    def _census(self, start: pd.Timestamp) -> tuple[list[str], pd.Timedelta]:
        """All workloads since ``start`` and their samples' step."""
        known = None if self.ref.inputs else self.store.census(start, self.as_of)
        if known is not None:
            return known
        frame = self.samples(start, self.as_of)
        workload = frame["workload"].cat.remove_unused_categories()
        return [str(name) for name in workload.cat.categories], usual_step(frame)

    def _stored(
        self, start: pd.Timestamp, end: pd.Timestamp, metrics: Collection[str] | None
    ) -> Panel | None:
        """Straight from the store's files, where they are on this run's grid."""
        if self.ref.inputs or self.step is None:
            return None

        def mine(workloads: list[str]) -> NDArray[np.bool_]:
            return homes(workloads, self.ref.shards) == self.ref.shard

        is_cut = self.ref.shards > 1
        return self.store.panel(metrics, start, end, self.step, mine=mine if is_cut else None)

    def _framed(
        self, start: pd.Timestamp, end: pd.Timestamp, metrics: Collection[str] | None
    ) -> Panel:
        """By way of a frame: any samples, any grid."""
        frame, wrong = possible(self._every(start, end, metrics), self.catalog)
        usual = dict.fromkeys(frame["metric"].cat.categories, self.ref.aggregate or "mean")
        try:
            aggregates = usual | self.catalog.aggregates()
            return panel_of_shard(
                frame, end, self.step, aggregates, self.ref.shard, self.ref.shards, wrong
            )
        except FrameError as error:
            raise HistoryError(str(error)) from error


def part_name(moment: pd.Timestamp) -> str:
    """``20260601T000000Z``: how a run's clock names its files."""
    return f"{moment:%Y%m%dT%H%M%SZ}"


def _clock_of(part: str) -> str:
    """The moment in a part's name; what follows says which shard or step it is of."""
    return part.split("-", 1)[0]
