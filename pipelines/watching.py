"""The table of runs: when each flow ran, how it ended, how much it did and left out, and why.

``watched`` stands between ``@flow`` and the function. What it writes is a row a run, in a file a
UTC day of the run's clock, so that a run of the past does not count as one of today. A run on files
has no store of its own, and a dry run is none: neither is recorded. Nothing that goes wrong here
changes how a run ends.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import pandas as pd

from features.frames import RUNS
from pipelines.adapters.objects import open_objects
from pipelines.adapters.store.append import append_part
from pipelines.clock import now, present
from pipelines.errors import ConfigError, StoreError
from pipelines.plain import plain
from pipelines.run import Run, RunRef, part_name
from pipelines.say import say
from pipelines.telemetry import RunTrace, run_trace

__all__ = ["read_runs", "record", "watched"]

P = ParamSpec("P")
R = TypeVar("R")

_REASONS = 50
"""Most reasons of a run that are kept, the most frequent ones."""
_ERROR_CHARS = 300


@dataclass(frozen=True, slots=True)
class _Began:
    """A run that is going on: the flow's name for it, what it was asked, when it began."""

    verb: str
    asked: Mapping[str, Any]
    at: pd.Timestamp
    counter_s: float

    @property
    def is_recorded(self) -> bool:
        """Whether there is a store that this is a run of."""
        return not self.asked.get("inputs") and not self.asked.get("dry_run")

    def run_id(self) -> str:
        """As the run's tables will have it; empty for a run on files."""
        return "" if self.asked.get("inputs") else self.ref(None).open().run_id

    def ref(self, as_of: str | None) -> RunRef:
        """The run, by the clock that it had."""
        asked = self.asked
        moment = as_of or asked.get("as_of")
        return RunRef.resolve(asked.get("config"), None, asked.get("out"), moment, now())


def watched(
    verb: str, variants: Mapping[str, str] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Record every run of a flow, and trace it where that is configured.

    Parameters
    ----------
    verb
        The flow's name in the table.
    variants
        Parameter → the name of runs in which it is given: another schedule of the same flow, whose
        success says nothing of this one's.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def observed(*args: P.args, **kwargs: P.kwargs) -> R:
            asked = signature.bind_partial(*args, **kwargs).arguments
            name = next((v for p, v in (variants or {}).items() if asked.get(p)), verb)
            began = _Began(name, asked, present(), time.perf_counter())
            with run_trace(name, asked.get("config"), began.run_id) as trace:
                try:
                    result = function(*args, **kwargs)
                except BaseException as error:
                    _broke(began, error, trace)
                    raise
                _ended(began, result, trace)
                return result

        return observed

    return decorate


def record(run: Run, row: Mapping[str, Any]) -> str:
    """Append one row of RUNS to the file of its day; gives the file's place.

    Raises
    ------
    StoreError
        It cannot be read or written.
    """
    part = part_name(pd.Timestamp(row["as_of"]).floor("D"))
    frame = pd.DataFrame([row])
    for stamp in ("as_of", "started_at", "ended_at"):
        frame[stamp] = pd.to_datetime(frame[stamp], utc=True)
    return append_part(open_objects(run.ref.out), RUNS, frame[RUNS.schema.names], part)


def read_runs(run: Run, since: pd.Timestamp) -> pd.DataFrame:
    """The runs whose clock is in ``[since, as_of]``, by clock and then by when they began.

    Raises
    ------
    StoreError
        A file cannot be read.
    """
    tables = [run.store.read(RUNS, part=p) for p in run.parts(RUNS, since.floor("D"))]
    if not tables:
        none: pd.DataFrame = RUNS.schema.empty_table().to_pandas()
        return none
    frame: pd.DataFrame = pd.concat([t.to_pandas() for t in tables], ignore_index=True)
    labels = {c: frame[c].astype("str") for c in ("verb", "state", "unit")}
    frame = frame.assign(**labels)
    inside = frame[(frame["as_of"] >= since) & (frame["as_of"] <= run.as_of)]
    return inside.sort_values(["as_of", "started_at"], kind="stable", ignore_index=True)


def _ended(began: _Began, result: Any, trace: RunTrace) -> None:
    """A run that came to its end; what it says itself is recorded."""
    told = cast("Mapping[str, Any]", result) if isinstance(result, Mapping) else {}
    skipped: Mapping[str, int] = told.get("skipped") or {}
    failed = told.get("failed") or ()
    counts = {
        "state": "partly" if failed else "done",
        "unit": str(told.get("unit", "")),
        "done": int(told.get("done", 0)),
        "skipped": sum(skipped.values()),
        "failed": len(failed),
    }
    trace.ended({k: v for k, v in told.items() if k in ("run_id", "as_of")} | counts)
    is_done_already = bool(began.asked.get("catch_up")) and told.get("unit") == "runs"
    if not began.is_recorded or is_done_already:
        return
    common = sorted(skipped.items(), key=lambda item: -item[1])[:_REASONS]
    figures: Mapping[str, float] = told.get("figures") or {}
    lists = {
        "reasons": [{"reason": _one_line(r), "count": int(n)} for r, n in common],
        "figures": _named(figures),
    }
    try:
        run = began.ref(told.get("as_of")).open()
        record(run, _row(began, run, counts | lists | {"error": ""}))
    except Exception as error:  # noqa: BLE001 - no run is lost to its bookkeeping
        say(f"{began.verb}: this run is not in the table of runs: {_one_line(error)}")


def _broke(began: _Began, error: BaseException, trace: RunTrace) -> None:
    """A run that failed, or was stopped. It makes no store where there is none."""
    text = f"{type(error).__name__}: {_one_line(error)}"
    trace.broke(text)
    if not began.is_recorded:
        return
    counts = {"state": "failed", "unit": "", "done": 0, "skipped": 0, "failed": 1}
    try:
        run = began.ref(None).open()
        if "://" in run.ref.out or Path(run.ref.out).is_dir():
            counted: Mapping[str, float] = getattr(error, "figures", {})
            lists = {"reasons": [], "figures": _named(counted)}
            record(run, _row(began, run, counts | lists | {"error": text}))
    except Exception as other:  # noqa: BLE001 - what is raised is why the run failed
        # where the configuration or the store itself is what is wrong, the run says so
        if not isinstance(error, ConfigError | StoreError):
            say(f"{began.verb}: this run is not in the table of runs: {_one_line(other)}")


def _row(began: _Began, run: Run, more: Mapping[str, Any]) -> dict[str, Any]:
    took = pd.Timedelta(round(1000 * (time.perf_counter() - began.counter_s)), "ms")
    return {
        "verb": began.verb,
        "run_id": run.run_id,
        "as_of": run.as_of,
        "started_at": began.at,
        "ended_at": began.at + took,
        **more,
    }


def _named(figures: Mapping[str, float]) -> list[dict[str, Any]]:
    return [{"name": n, "value": float(v)} for n, v in figures.items()]


def _one_line(error: BaseException | str) -> str:
    return plain(" ".join(str(error).split()))[:_ERROR_CHARS]
