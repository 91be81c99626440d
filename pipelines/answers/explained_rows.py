"""The rows of the store's tables that are about one workload, and plain values out of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from features.frames import CAPACITY, FORECASTS, SCORES, SKIPS, Contract
from models.metric_words import amounts, metric_words
from pipelines.errors import InputError
from pipelines.run import Run, part_name

__all__ = [
    "Rows",
    "amount",
    "close_to",
    "iso",
    "known_workloads",
    "newest_rows",
    "number",
    "require_known",
    "rows_that_scored",
]

Rows = pd.DataFrame
_LOOK_BACK = 48
"""Parts: a workload that is in none of the last ones is not known any more."""


def iso(at: Any) -> str:
    """``2026-06-08T00:05:00Z``; empty for what is no moment."""
    stamp = pd.Timestamp(at)
    return "" if pd.isna(stamp) else f"{stamp:%Y-%m-%dT%H:%M:%SZ}"


def number(value: Any) -> float | None:
    """A finite float, or nothing."""
    return float(value) if value is not None and np.isfinite(value) else None


def amount(value: float, metric: str) -> str:
    """A value as a person says it: ``840 ms``."""
    return amounts(np.array([value]), metric_words([metric]).kind)[0]


def newest_rows(run: Run, contract: Contract, workload: str) -> Rows:
    """The rows about a workload in the newest part that has any; empty where none has."""
    return _first(run, contract, workload, reversed(run.parts(contract)[-_LOOK_BACK:]))


def rows_that_scored(run: Run, workload: str, at: pd.Timestamp) -> Rows:
    """The scores of a workload before or at a moment, by the first run that saw it: what was told
    then. Where none did, those of the newest run."""
    later = [p for p in run.parts(SCORES) if p.split("-", 1)[0] > part_name(at)][:_LOOK_BACK]
    for part in later:
        rows = _first(run, SCORES, workload, [part])
        rows = rows[rows["ts"] <= at]
        if len(rows):
            return rows
    earlier = [p for p in run.parts(SCORES) if p not in later]
    rows = _first(run, SCORES, workload, reversed(earlier[-_LOOK_BACK:]))
    return rows[rows["ts"] <= at]


def known_workloads(run: Run) -> list[str]:
    """Who is in the newest parts of the tables; cheap, since only their names are read."""
    names: set[str] = set()
    for contract in (CAPACITY, FORECASTS, SCORES, SKIPS):
        for part in run.parts(contract)[-1:]:
            table = run.store.read(contract, part=part, columns=["workload"])
            names |= {str(n) for n in table["workload"].unique().to_pylist() if n}
    return sorted(names)


def require_known(run: Run, workload: str) -> str:
    """The workload that is meant by its whole id, or by the end of one alone.

    Raises
    ------
    InputError
        It is in none of them: it says who comes close.
    """
    names = known_workloads(run)
    if workload in names:
        return workload
    ends = [n for n in names if workload and n.endswith(f"/{workload}")]
    if len(ends) == 1:
        return ends[0]
    if not names:
        raise InputError(
            f"nothing is known of any workload in {run.ref.out}; run `foretide run` first, or name "
            "the store with --out or --config"
        )
    hint = close_to(workload, names)
    told = f" (did you mean {', '.join(hint)}?)" if hint else ""
    raise InputError(
        f"no table in {run.ref.out} knows a workload {workload!r}{told}; "
        "expected cluster/namespace/kind/name, or the end of one alone"
    )


def close_to(workload: str, names: Sequence[str], most: int = 3) -> list[str]:
    """Who may have been meant: by the last part of the name where only that was given."""
    own = [n for n in names if n.rsplit("/", 1)[-1] == workload.rsplit("/", 1)[-1]]
    close = difflib.get_close_matches(workload, names, n=most, cutoff=0.5)
    last = {n.rsplit("/", 1)[-1]: n for n in names}
    alike = [last[n] for n in difflib.get_close_matches(workload, last, n=most, cutoff=0.6)]
    return list(dict.fromkeys([*own, *close, *alike]))[:most]


def _first(run: Run, contract: Contract, workload: str, parts: Iterable[str]) -> Rows:
    for part in parts:
        mine = run.store.read(contract, part=part, workload=workload)
        if len(mine):
            frame: pd.DataFrame = mine.to_pandas()
            labels = frame.select_dtypes("category").columns
            return frame.assign(**{c: frame[c].astype("str") for c in labels})
    empty: pd.DataFrame = contract.schema.empty_table().to_pandas()
    return empty
