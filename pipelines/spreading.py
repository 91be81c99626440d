"""A shard sent to another process: what goes with it, and what comes back.

A shard on Dask writes into a folder of its own, and what it kept comes back with its result; only
the flow's process writes into the run's folder aside. A shard that Dask runs twice, because its
worker was killed or was only thought dead, therefore leaves what running once leaves, whoever
shares a disk with whom; and nothing has to be cleaned up in a bucket.

What the flow laid aside for its shards (a few files, before they start) is linked where the worker
sees the flow's folder, and sent along where it cannot: a store in a bucket, a cluster elsewhere.
"""

from __future__ import annotations

import importlib
import tempfile
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from prefect import Task

from pipelines.batches import each
from pipelines.errors import ConfigError, StoreError
from pipelines.run import Run, RunRef
from pipelines.staging import aside, aside_in
from pipelines.telemetry import carried, carrier

__all__ = ["HERE", "Back", "Baggage", "Parcel", "Where", "run_elsewhere", "sees", "signed", "where"]

_SIGN = ".seen"
_SHARE = (
    "give all workers the same volume at the same absolute path, or take a store and inputs in S3"
)


@dataclass(frozen=True, slots=True)
class Where:
    """What runs a run's shards.

    Attributes
    ----------
    backend : threads, processes or dask
    address : of a Dask scheduler; empty for a local cluster
    run, run_id : whose shards they are; every worker must read the same configuration
    verb : whose folder aside the shards read and fill, where they do
    tasks_max : task runs of one step, in a flow run
    """

    backend: Literal["threads", "processes", "dask"] = "threads"
    address: str = ""
    run: RunRef | None = None
    run_id: str = ""
    verb: str = ""
    tasks_max: int = 48

    @property
    def is_far(self) -> bool:
        """Whether workers may be on other machines."""
        return self.backend == "dask" and bool(self.address)

    @property
    def is_apart(self) -> bool:
        """Whether workers cannot see the run's folder aside: it is beside a bucket, not in it."""
        return self.is_far and self.run is not None and "://" in self.run.out

    def folder(self) -> Path:
        """The run's folder aside, as this process sees it; a shard's own where it is in one."""
        if self.run is None:
            raise ValueError("no run: nothing is put aside")
        return aside(self.run.open(), self.verb)


HERE = Where()


def where(run: Run, verb: str = "") -> Where:
    """As configured; ``verb`` names the folder aside that the shards use."""
    knobs = run.settings.shards
    return Where(knobs.backend, knobs.dask_address, run.ref, run.run_id, verb, knobs.tasks_max)


@dataclass(frozen=True, slots=True)
class Baggage:
    """What a shard finds in its folder; ``links`` are names in the run's own folder aside."""

    where: Where
    links: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    @classmethod
    def of(cls, where: Where) -> Baggage:
        """All files that the flow has laid aside so far."""
        if not (where.run and where.verb):
            return cls(where)
        folder = where.folder()
        there = sorted(p for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []
        if where.is_apart:
            return cls(where, (), {p.name: p.read_bytes() for p in there})
        return cls(where, tuple(p.name for p in there))

    def unpack(self, folder: Path) -> None:
        """Lay everything out in a shard's folder.

        Raises
        ------
        StoreError
            The run's folder aside is not seen from here.
        """
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        if self.links and self.where.run:
            theirs = self.where.folder().absolute()
            for name in self.links:
                if not (theirs / name).is_file():
                    raise StoreError(f"{theirs / name} is not seen by this worker; {_SHARE}")
                (folder / name).symlink_to(theirs / name)


@dataclass(frozen=True, slots=True)
class Parcel:
    """One shard on its way: the task as ``module:name``, its argument, and what goes with it."""

    task: str
    shard: Any
    baggage: Baggage | None = None
    trace: str = ""
    """The flow's run, as ``telemetry.carrier`` tells it."""

    @classmethod
    def of(cls, task: Task[Any, Any], shard: Any, baggage: Baggage | None) -> Parcel:
        """Name the task; it must be one of a module, by that name.

        Raises
        ------
        ValueError
            It is not: another process could not find it.
        """
        module, name = task.fn.__module__, task.fn.__qualname__
        if getattr(importlib.import_module(module), name, None) is not task:
            raise ValueError(f"{module}:{name} is no task of a module; only threads can run it")
        return cls(f"{module}:{name}", shard, baggage, carrier())


@dataclass(frozen=True, slots=True)
class Back:
    """What came of a shard: its result, and the files that it kept, by their relative path."""

    result: Any
    kept: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    def unpack(self, where: Where) -> Any:
        """Put what was kept into the run's folder aside; gives the result."""
        if self.kept and where.run:
            folder = where.folder()
            for name, data in self.kept.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)
        return self.result


def run_elsewhere(parcel: Parcel) -> Back:
    """Run a shard in this process, in a folder of its own that is gone afterwards.

    Raises
    ------
    ConfigError, StoreError
        This process does not see what the flow sees.
    """
    module, _, name = parcel.task.partition(":")
    task: Task[Any, Any] = getattr(importlib.import_module(module), name)
    if parcel.baggage is None:
        with carried(parcel.trace, None):
            return Back(each(task.fn, parcel.shard))
    if wrong := _unlike(parcel.baggage.where):
        raise ConfigError(f"this worker {wrong}")
    with tempfile.TemporaryDirectory(prefix="foretide-", dir=_scratch()) as text:
        folder = Path(text)
        parcel.baggage.unpack(folder)
        ref = parcel.baggage.where.run
        with aside_in(folder), carried(parcel.trace, ref.config if ref else None):
            result = each(task.fn, parcel.shard)
        files = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink())
        given = parcel.baggage.files
        kept = {str(p.relative_to(folder)): p for p in files}
        return Back(result, {name: p.read_bytes() for name, p in kept.items() if name not in given})


def sees(where: Where, sign: str) -> str:
    """What this process sees otherwise than the flow, in words; empty where nothing.

    ``sign`` is what the flow has ``signed`` its folder with.
    """
    if wrong := _unlike(where):
        return wrong
    ref = where.run
    if ref is None:
        return ""
    lacking = [f for f in ref.inputs if "://" not in f and not Path(f).exists()]
    if lacking:
        return f"has no {lacking[0]}; {_SHARE}"
    if "://" in ref.out:
        return ""
    if not Path(ref.out).is_dir():
        return f"has no folder {Path(ref.out).absolute()}; {_SHARE}"
    file = where.folder() / _SIGN
    if where.verb and (not file.is_file() or file.read_text(encoding="utf-8") != sign):
        return f"sees another {Path(ref.out).absolute()} than this process; {_SHARE}"
    return ""


@contextmanager
def signed(where: Where) -> Generator[str]:
    """Write what ``sees`` looks for, as long as somebody looks."""
    sign = uuid.uuid4().hex
    if not (where.run and where.verb) or "://" in where.run.out:
        yield sign
        return
    file = where.folder() / _SIGN
    file.write_text(sign, encoding="utf-8")
    try:
        yield sign
    finally:
        file.unlink(missing_ok=True)


def _unlike(where: Where) -> str:
    if where.run is None:
        return ""
    try:
        run_id = where.run.open().run_id
    except ConfigError as error:
        return f"cannot read the configuration: {error}"
    if run_id == where.run_id:
        return ""
    return (
        f"reads another configuration ({where.run.config or 'defaults'} and FORETIDE_… variables) "
        "than the flow; give all the same"
    )


def _scratch() -> str | None:
    """A Dask worker's own folder, which goes away with it even when it is killed."""
    from distributed import get_worker

    try:
        folder = Path(get_worker().local_directory)
    except ValueError:
        return None
    folder.mkdir(parents=True, exist_ok=True)  # a worker that starts may sweep a neighbour's away
    return str(folder)
