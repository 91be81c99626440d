"""Which runs of a table speak of which time: a week is forecast once an hour, the next hours in
between, so the newest run that reaches a moment speaks of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import pandas as pd
import pyarrow as pa

from features.frames import Contract
from pipelines.run import Run

__all__ = ["Speaker", "newest_parts", "speakers"]


@dataclass(frozen=True, slots=True)
class Speaker:
    """One run's parts, and the time ``(after, until]`` of whose rows it is the newest."""

    clock: pd.Timestamp
    parts: tuple[str, ...]
    after: pd.Timestamp
    until: pd.Timestamp


def speakers(run: Run, contract: Contract, valid_for: pd.Timedelta) -> Iterator[Speaker]:
    """The runs of the last ``valid_for``, the newest first, that reach further than all newer ones.

    All workloads of a run are told of over the same time. Nothing is read of a run before it is
    asked for, and then one column of one part.
    """
    # also the newest of all, so that it can be said that its time is over
    parts = run.parts(contract, run.as_of - valid_for) or newest_parts(run, contract)
    by_clock = [(c, tuple(p)) for c, p in groupby(parts, key=lambda p: p.split("-", 1)[0])]
    after = run.as_of - valid_for
    for clock, own in reversed(by_clock):
        until = _last(run, contract, own)
        if until is not None and until > after:
            yield Speaker(pd.Timestamp(clock), own, after, until)
            after = until


def newest_parts(run: Run, contract: Contract) -> list[str]:
    """The parts of the newest run of a table."""
    parts = run.parts(contract)
    return [p for p in parts if p.split("-", 1)[0] == parts[-1].split("-", 1)[0]]


def _last(run: Run, contract: Contract, parts: tuple[str, ...]) -> pd.Timestamp | None:
    """The last step of a run; nothing where it has no rows."""
    for part in parts:
        table = run.store.read(contract, part=part, columns=("ts",))
        if len(table):
            return pd.Timestamp(
                int(table["ts"].cast(pa.int64()).to_numpy().max()), unit="ms", tz="UTC"
            )
    return None
