"""A scheduled run that only stands in for one that its event should have started.

Where the chain of events did its work, such a run finds that and ends at once; where an event was
lost, or the step before it failed, it does the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from features.frames import Contract
from pipelines.outcome import Outcome
from pipelines.plans import plan_clocks
from pipelines.run import Run, part_name

__all__ = ["caught_up", "caught_up_plan"]


def caught_up(run: Run, verb: str, contract: Contract) -> dict[str, Any] | None:
    """What to say where a run of this round wrote the table already; nothing where none did."""
    return _told(run, verb, (p.split("-", 1)[0] for p in run.parts(contract, _since(run))))


def caught_up_plan(run: Run, verb: str) -> dict[str, Any] | None:
    """What to say where there is a plan of this round already; nothing where there is none."""
    since, until = part_name(_since(run)), run.part
    return _told(run, verb, (c for c in plan_clocks(run) if since <= c <= until))


def _since(run: Run) -> pd.Timestamp:
    """A round is as long as floors are issued apart; the one of exactly so long ago is another."""
    return run.as_of - pd.Timedelta(run.settings.prescale.issue.every_min * 60 - 1, "s")


def _told(run: Run, verb: str, clocks: Iterable[str]) -> dict[str, Any] | None:
    newest = max(clocks, default=None)
    if newest is None:
        return None
    return Outcome(
        verb=verb,
        run_id=run.run_id,
        as_of=run.ref.as_of,
        unit="runs",
        done=0,
        notes=(f"nothing to catch up with: it was done for {pd.Timestamp(newest):%H:%M} UTC",),
    ).to_dict()
