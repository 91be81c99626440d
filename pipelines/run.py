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

from features.frames import Contract, FrameError, with_workload
from features.metrics import Catalog
from features.panel import Panel
from pipelines.adapters.catalog import load_catalog
from pipelines.adapters.files import read_samples
from pipelines.adapters.store import Store
from pipelines.adapters.tracking import Tracking
from pipelines.errors import ConfigError, HistoryError
from pipelines.settings import CONFIG_DIR, Settings, load_settings

__all__ = ["Run", "RunRef", "parse_duration", "parse_time", "part_name"]


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
        files = tuple(str(Path(f)) for f in inputs or ())
        if as_of is not None:
            moment = parse_time(as_of, "--as-of")
        elif files:
            stamps = read_samples(files).column("ts")
            moment = _end(stamps.cast(pa.int64()).to_numpy())
        else:
            moment = now
        return cls(config, files, out or settings.store.path, moment.isoformat())

    def split(self, n_workloads: int, workloads_per_shard: int) -> list[RunRef]:
        """The same run, cut into shards of at most so many workloads."""
        shards = max(-(-n_workloads // workloads_per_shard), 1)
        return [replace(self, shard=i, shards=shards) for i in range(shards)]

    def open(self) -> Run:
        """Read the configuration and the catalog; open the store."""
        settings = load_settings(self.config)
        return Run(self, settings, _catalog(settings.source.catalog), Store(self.out))


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
        """The same configuration, inputs and clock give the same id, so a re-run replaces."""
        knobs = self.settings.model_dump_json(exclude={"source": {"headers"}})
        text = "\n".join((knobs, *self.ref.inputs, self.ref.as_of))
        return f"{part_name(self.as_of)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def part(self) -> str:
        """Name of this run's part of a table: its clock, and its shard where there are several."""
        name = part_name(self.as_of)
        return name if self.ref.shards == 1 else f"{name}-{self.ref.shard:04d}"

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
        """The model tracker; by default an SQLite file and a folder inside the store."""
        root = Path(self.ref.out).resolve()
        s = self.settings.tracking
        uri = s.uri or f"sqlite:///{root / 'mlflow.db'}"
        artifacts = None if s.uri else (root / "mlartifacts").as_uri()
        return Tracking(uri, s.experiment, s.model_prefix, artifacts)

    def samples(
        self, start: pd.Timestamp, end: pd.Timestamp, metrics: Collection[str] | None = None
    ) -> pd.DataFrame:
        """This shard's samples of ``[start, end)``: workload, metric, ts, value.

        With ``metrics`` only those.

        Raises
        ------
        HistoryError
            There is none.
        """
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
        frame = with_workload(table)
        if self.ref.shards > 1:
            frame = frame[_in_shard(frame["workload"], self.ref.shard, self.ref.shards)]
        return frame

    def panel(
        self, start: pd.Timestamp, end: pd.Timestamp, metrics: Collection[str] | None = None
    ) -> Panel:
        """This shard's samples of ``[start, end)`` on a grid; a last step that is not over is left
        out.

        Raises
        ------
        HistoryError
            There is no sample, or none that is a number.
        """
        frame = self.samples(start, end, metrics)
        names = frame["metric"].cat.categories
        usual = dict.fromkeys(names, self.ref.aggregate or "mean")
        aggregates = usual | self.catalog.aggregates()
        try:
            panel = Panel.from_frame(frame, step=self.step, aggregates=aggregates)
        except FrameError as error:
            raise HistoryError(str(error)) from error
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
        until, begin = part_name(self.as_of), part_name(since) if since is not None else ""
        parts = [p for p in self.store.parts(contract) if begin <= p[: len(until)] <= until]
        if newest:
            parts = [p for p in parts if p.startswith(parts[-1][: len(until)])]
        if not parts:
            return self.store.read(contract, part=part_name(self.as_of))
        tables = [self.store.read(contract, part=p) for p in parts]
        return pa.concat_tables(tables, promote_options="default").unify_dictionaries()

    def shards(self, start: pd.Timestamp | None = None) -> list[RunRef]:
        """This run, cut by the number of workloads that were seen since ``start``."""
        frame = self.samples(start or self.history_start, self.as_of)
        return self.ref.split(len(frame["workload"].cat.categories), self.settings.shards.workloads)


def parse_time(text: str, option: str) -> pd.Timestamp:
    """A moment given by the user, as UTC; without a zone it is taken as UTC.

    Raises
    ------
    ConfigError
        It is no moment.
    """
    try:
        moment = pd.Timestamp(text)
    except ValueError:
        moment = None
    if not isinstance(moment, pd.Timestamp):
        raise ConfigError(f"{option}: expected a moment like 2026-06-01T00:00Z, got {text!r}")
    moment = moment.tz_localize("UTC") if moment.tz is None else moment.tz_convert("UTC")
    return moment.as_unit("ms")


def parse_duration(text: str, option: str) -> pd.Timedelta:
    """A length of time given by the user, such as ``168h`` or ``30min``.

    Raises
    ------
    ConfigError
        It is none, or not above zero.
    """
    try:
        length = pd.Timedelta(text)
    except ValueError:
        length = None
    if not isinstance(length, pd.Timedelta) or length <= pd.Timedelta(0):
        raise ConfigError(f"{option}: expected a length of time like 168h or 30min, got {text!r}")
    return length


def part_name(moment: pd.Timestamp) -> str:
    """``20260601T000000Z``: how a run's clock names its files."""
    return f"{moment:%Y%m%dT%H%M%SZ}"


def _in_shard(workloads: pd.Series, shard: int, shards: int) -> pd.Series:
    """Cut by the name's hash: a workload stays in its shard whoever else is there."""
    categories = workloads.cat.categories
    home = np.array(
        [int(hashlib.sha256(str(w).encode()).hexdigest()[:8], 16) % shards for w in categories]
    )
    return pd.Series(home[workloads.cat.codes.to_numpy()] == shard, index=workloads.index)


def _end(ts_ms: NDArray[np.int64]) -> pd.Timestamp:
    """Where the samples end: one usual step after the last stamp."""
    stamps = np.unique(ts_ms)
    step_ms = int(np.median(np.diff(stamps))) if len(stamps) > 1 else 1
    return pd.Timestamp(int(stamps[-1]) + step_ms, unit="ms", tz="UTC")


def _catalog(name: str) -> Catalog:
    is_path = name.endswith((".yaml", ".yml"))
    path = Path(name) if is_path else CONFIG_DIR / "metrics" / f"{name}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in (CONFIG_DIR / "metrics").glob("*.yaml")))
        raise ConfigError(
            f"source.catalog: {path} cannot be read ({error.strerror}); known: {known}, "
            "or give the path of a .yaml file"
        ) from None
    return load_catalog(text)
