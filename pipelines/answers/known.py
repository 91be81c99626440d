"""Which workloads there are: what a caller names is looked up here, and is never part of a path or
a query."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

import pandas as pd
import pyarrow as pa

from features.frames import CAPACITY, FORECASTS, LEAKS, SCORES, Contract
from pipelines.answers.shared import NoSuchName
from pipelines.run import Run
from pipelines.series.reaching import newest_parts

__all__ = ["known_workload", "known_workloads", "rows_of", "told_runs"]

_DAY = pd.Timedelta(1, "D")
_CLOSE = 3
_RUNS = 40
"""So many runs of a table are looked through for a workload that the newest do not tell of."""


def known_workloads(run: Run) -> list[str]:
    """Those that the newest day of samples holds, and those that the newest runs tell of."""
    found: set[str] = set()
    newest = run.store.newest(run.as_of) if run.store.days() else None
    if newest is not None:
        end = newest + pd.Timedelta(1, "s")
        census = run.store.census(end - _DAY, end)
        found |= set(census[0]) if census is not None else set()
    for contract in (CAPACITY, FORECASTS, LEAKS, *(() if found else (SCORES,))):
        for part in newest_parts(run, contract):
            found |= _names(run.store.read(contract, part=part, columns=("workload",)))
    return sorted(found)


def known_workload(run: Run, asked: str) -> str:
    """The workload that is meant by its whole id, or by the end of one alone.

    Raises
    ------
    NoSuchName
        There is none, or there are several.
    """
    return chosen(asked, known_workloads(run))


def chosen(asked: str, names: Sequence[str]) -> str:
    """The same, of given names."""
    asked = asked.strip()
    if asked in names:
        return asked
    ends = [n for n in names if asked and n.endswith(f"/{asked}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise NoSuchName(
            f"workload: {len(ends)} workloads end so; expected one as cluster/namespace/kind/name",
            tuple(ends[:_CLOSE]),
        )
    if not names:
        raise NoSuchName("workload: none is known yet; run `foretide ingest` and `foretide train`")
    raise NoSuchName(
        "workload: there is none of that name; expected cluster/namespace/kind/name, or its end",
        tuple(_similar(asked, names)),
    )


def told_runs(run: Run, contract: Contract) -> Iterator[tuple[pd.Timestamp, list[str]]]:
    """The clock and the parts of a table's runs, the newest first."""
    grouped = groupby(run.parts(contract), key=lambda part: part.split("-", 1)[0])
    every = [(pd.Timestamp(clock), list(parts)) for clock, parts in grouped]
    yield from reversed(every)


def rows_of(
    run: Run, contract: Contract, workload: str, *, until: pd.Timestamp | None = None
) -> pd.DataFrame:
    """What the newest runs say of one workload, the newest first; empty where none does.

    With ``until`` older runs that reach further ahead (``ts``) are taken as well, up to there; each
    step is as the newest run says it.
    """
    frames: list[pd.DataFrame] = []
    last: pd.Timestamp | None = None
    for n, (_, parts) in enumerate(told_runs(run, contract)):
        if n >= _RUNS or (frames and (until is None or (last is not None and last >= until))):
            break
        for part in parts:
            rows = _mine(run, contract, part, workload)
            if rows.empty:
                continue
            kept = rows if last is None else rows[rows["ts"] > last]
            if len(kept):
                frames.append(kept)
        if until is not None and frames:
            last = max(pd.Timestamp(f["ts"].max()) for f in frames)
    if not frames:
        empty: pd.DataFrame = contract.schema.empty_table().to_pandas()
        return empty
    return pd.concat(frames, ignore_index=True)


def _mine(run: Run, contract: Contract, part: str, workload: str) -> pd.DataFrame:
    rows: pd.DataFrame = run.store.read(contract, part=part, workload=workload).to_pandas()
    labels = [c for c in rows.columns if isinstance(rows.dtypes[c], pd.CategoricalDtype)]
    return rows.astype(dict.fromkeys(labels, "str"))


def _names(table: pa.Table) -> set[str]:
    return {str(name) for name in table["workload"].unique().to_pylist()}


def _similar(asked: str, names: Collection[str]) -> list[str]:
    """By the whole id and by its name; a long text is cut, comparing takes its square."""
    asked = asked[:120]
    short: dict[str, str] = {}
    for name in names:
        short.setdefault(name.rsplit("/", 1)[-1], name)
    whole = difflib.get_close_matches(asked, names, n=_CLOSE, cutoff=0.6)
    ends = difflib.get_close_matches(asked.rsplit("/", 1)[-1], short, n=_CLOSE, cutoff=0.6)
    return list(dict.fromkeys([*whole, *(short[e] for e in ends)]))[:_CLOSE]
