"""What diagnose reads: samples parted into normal and incident, and a call graph."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from features.workloads import split_workload, with_workload
from pipelines.adapters.files import read_samples
from pipelines.errors import ConfigError, HistoryError, InputError

__all__ = ["Parted", "name_of", "read_calls", "read_parted", "resolve_target"]

_HEADINGS = (
    ("caller", "callee"), ("source", "target"), ("source", "destination"), ("src", "dst"),
    ("from", "to"), ("parent", "child"), ("client", "server"),
)  # fmt: skip
_SAME_TIME = pd.Timedelta(1, "h")


@dataclass(frozen=True, slots=True)
class Parted:
    """``before`` and ``after``: ``workload, metric, ts, value``; ``notes`` are for a person."""

    before: pd.DataFrame
    after: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def workloads(self) -> list[str]:
        """All that either part names."""
        named = [f["workload"].cat.remove_unused_categories() for f in (self.before, self.after)]
        return sorted({str(w) for part in named for w in part.cat.categories})


def read_parted(
    inputs: Sequence[str], at: pd.Timestamp, until: pd.Timestamp | None = None
) -> Parted:
    """Samples before ``at`` are normal, from it on they are the incident, up to ``until``.

    An input that begins well after the one with the onset has ended, by more than the incident is
    long and more than an hour, was recorded at another time: all of it is normal.

    Raises
    ------
    InputError
        A file cannot be read as samples.
    HistoryError
        No sample lies before ``at``, or none from it on.
    """
    tables = [read_samples([path]) for path in inputs]
    frame = with_workload(pa.concat_tables(tables).unify_dictionaries())
    frame["file"] = np.repeat(np.arange(len(tables)), [len(t) for t in tables])
    frame = frame[np.isfinite(frame["value"])]
    if until is not None:
        frame = frame[frame["ts"] < until]
    late = (frame["ts"] >= at).to_numpy()
    if not late.any():
        end = frame["ts"].max()
        raise HistoryError(f"--at {_told(at)}: no sample from it on; they end at {_told(end)}")
    elsewhere = _elsewhere(frame, late, at)
    after = late & ~frame["file"].isin(elsewhere).to_numpy()
    if after.all():
        raise HistoryError(
            f"--at {_told(at)}: no sample before it says what is normal; "
            f"they begin at {_told(frame['ts'].min())}"
        )
    notes = [f"{inputs[i]} was recorded at another time: all of it is normal" for i in elsewhere]
    frame = frame.drop(columns="file")
    return Parted(frame[~after], frame[after], tuple(notes))


def _elsewhere(frame: pd.DataFrame, late: np.ndarray, at: pd.Timestamp) -> list[int]:
    spans = frame.groupby("file")["ts"].agg(["min", "max"])
    first = frame[late].groupby("file")["ts"].min()
    home = first[first == first.min()].index[-1]  # the last input named, where two begin at once
    end = spans.loc[home, "max"]
    away = spans["min"] - end > max(end - at, _SAME_TIME)
    return [int(i) for i in spans.index[away]]


def _told(at: pd.Timestamp) -> str:
    return "nothing" if pd.isna(at) else f"{at:%Y-%m-%dT%H:%MZ}"


def name_of(workload: str) -> str:
    """The last part of ``cluster/namespace/kind/name``."""
    return split_workload(workload)[3]


def resolve_target(target: str, workloads: Sequence[str]) -> str:
    """The workload that is meant by a whole workload, ``kind/name`` or a name.

    Raises
    ------
    ConfigError
        There is none, or there are several.
    """
    if target in workloads:
        return target
    found = [w for w in workloads if name_of(w) == target or w.endswith("/" + target)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(
            f"--target: {len(found)} workloads are called {target!r}; "
            f"name one: {', '.join(found[:3])}"
        )
    close = difflib.get_close_matches(target, {name_of(w) for w in workloads}, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    raise ConfigError(f"--target: the samples have no workload {target!r}{hint}")


def read_calls(path: str, workloads: Sequence[str]) -> pd.DataFrame:
    """``caller, callee`` of a CSV file, as workloads of the samples where it names such.

    The file lists calls, in two columns with a heading such as ``caller,callee`` or
    ``source,target``; or it is a matrix: a row for each caller, a column for each callee, the same
    names on both sides, and more than 0 where one calls the other.

    Raises
    ------
    InputError
        It cannot be read, is neither, or names none of the workloads.
    """
    try:
        table: pd.DataFrame = pd.read_csv(Path(path), dtype="str", keep_default_na=False)
    except (OSError, ValueError) as error:  # undecodable text and broken rows are ValueErrors
        raise InputError(f"--graph {path}: {' '.join(str(error).split())}") from error
    calls = _listed(table)
    if calls is None:
        calls = _matrix(table, path)
    named: dict[str, list[str]] = {}
    for workload in workloads:
        named.setdefault(name_of(workload), []).append(workload)
    known = named | {w: [w] for w in workloads}
    if not (set(calls["caller"]) | set(calls["callee"])) & set(known):
        raise InputError(
            f"--graph {path}: none of its names is a workload of the samples; expected names such "
            f"as {name_of(workloads[0])!r}"
        )
    for side in ("caller", "callee"):
        calls[side] = [known.get(name, [name]) for name in calls[side]]
        calls = calls.explode(side, ignore_index=True)
    return calls


def _listed(table: pd.DataFrame) -> pd.DataFrame | None:
    heads = {str(c).strip().lower(): c for c in table.columns}
    pair = next((p for p in _HEADINGS if p[0] in heads and p[1] in heads), None)
    if pair is None:
        return None
    sides = {
        side: table[heads[head]] for side, head in zip(("caller", "callee"), pair, strict=True)
    }
    calls = pd.DataFrame(sides).apply(lambda c: c.str.strip())
    return calls[(calls != "").all(axis=1)].reset_index(drop=True)


def _matrix(table: pd.DataFrame, path: str) -> pd.DataFrame:
    names = [str(c) for c in table.columns[1:]]
    if not names or set(table.iloc[:, 0]) != set(names):
        raise InputError(
            f"--graph {path}: expected columns caller,callee or a matrix with the same names on "
            f"both sides, got the columns {', '.join(map(str, table.columns[:4]))}"
        )
    weights = table.iloc[:, 1:].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    if np.isnan(weights).any():
        row, column = np.argwhere(np.isnan(weights))[0]
        cell = table.iloc[row, column + 1]
        raise InputError(f"--graph {path}: row {row + 1}: expected a number, got {cell!r}")
    row, column = np.nonzero(weights > 0)
    callers = table.iloc[:, 0].to_numpy(dtype=object)
    return pd.DataFrame({"caller": callers[row], "callee": np.array(names, dtype=object)[column]})
