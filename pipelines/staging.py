"""What a run writes, before it is known to be good: aside first, then into the store.

A run that breaks leaves the store as it was. A run that is repeated replaces what it wrote before,
also where its work is cut into other shards now.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import pandas as pd
import pyarrow as pa

from features.frames import CONTRACTS, SKIPS, Contract
from pipelines.adapters.store import Store
from pipelines.errors import StoreError
from pipelines.run import Run, part_name

__all__ = ["aside", "aside_in", "commit_tables", "keep", "staged", "sweep", "tables_aside"]

_own: ContextVar[Path | None] = ContextVar("own", default=None)
"""A folder instead of the run's: that of a shard which runs elsewhere, see ``spreading``."""


def aside(run: Run, verb: str) -> Path:
    """The folder of what one run of a verb has written so far, on this machine's disk."""
    if (own := _own.get()) is not None:
        return own
    name = f".{verb}-{run.run_id}"
    if "://" not in run.ref.out:
        return Path(run.ref.out) / name
    bucket = hashlib.sha256(run.ref.out.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"foretide-{bucket}" / name


@contextmanager
def aside_in(folder: Path) -> Generator[Path]:
    """Within it, whatever is put aside goes to the given folder."""
    token = _own.set(folder)
    try:
        yield folder
    finally:
        _own.reset(token)


@contextmanager
def staged(run: Run, verb: str, *, alone: bool = True) -> Generator[Path]:
    """An empty folder aside, gone afterwards.

    ``alone`` gives it the run's own name, and takes it from whoever began the same run before;
    otherwise two runs at once do not touch each other.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """
    folder = aside(run, verb)
    if not alone:
        folder = folder.with_name(f"{folder.name}-{uuid.uuid4().hex[:8]}")
    root = folder.parent
    is_new = not root.exists()
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise StoreError(
            f"{root} cannot be written: {error.strerror}; choose another --out, or mend it"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if is_new:
            with suppress(OSError):  # what was written to it stays
                root.rmdir()


def sweep(run: Run, verb: str, now: pd.Timestamp) -> None:
    """Remove what killed runs of a verb have left aside, a day after they wrote last."""
    before_s = (now - pd.Timedelta(days=1)).timestamp()
    for left in aside(run, verb).parent.glob(f".{verb}-*"):
        with suppress(OSError):  # someone else's, who is just done with it
            if max(p.stat().st_mtime for p in (left, *left.rglob("*"))) < before_s:
                shutil.rmtree(left)


def keep(
    run: Run, verb: str, contract: Contract, table: pa.Table | pd.DataFrame, *, beside: bool = False
) -> None:
    """Write this shard's table aside; ``beside`` the shards' for what belongs to none of them."""
    base = _base(run, verb, contract)
    part = base if run.ref.shards == 1 else f"{base}-{run.ref.shard:04d}"
    Store(aside(run, verb)).write(contract, table, f"{base}-beside" if beside else part)


def tables_aside(run: Run, verb: str, contract: Contract) -> pa.Table | None:
    """What all shards have written of a table so far; nothing where none did."""
    store = Store(aside(run, verb))
    return store.read(contract) if store.parts(contract) else None


def commit_tables(run: Run, verb: str) -> dict[str, str]:
    """Move everything into the store; gives table → its file, or its folder where it has several.

    What an earlier run of the verb wrote at the same clock goes away.
    """
    written = Store(aside(run, verb))
    places: dict[str, str] = {}
    for contract in CONTRACTS.values():
        parts = written.parts(contract)
        if parts:
            own = re.compile(re.escape(_base(run, verb, contract)) + r"(-\d{4}|-beside)?")
            stale = [p for p in run.store.parts(contract) if own.fullmatch(p)]
            paths = run.store.adopt(contract, written, replacing=stale)
            places[contract.name] = paths[0] if len(paths) == 1 else paths[0].rpartition("/")[0]
    return places


def _base(run: Run, verb: str, contract: Contract) -> str:
    """A part's name without its shard; every verb that skips has a part of its own."""
    stamp = part_name(run.as_of)
    return f"{stamp}-{verb}" if contract is SKIPS else stamp
