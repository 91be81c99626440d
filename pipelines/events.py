"""What a flow tells the others once it has committed: ``foretide.VERB.done``.

Flows do not call each other. Deployments are started by triggers on these events, in
``config/prefect.yaml``, with the clock of the run that began the chain. A trigger can match labels,
not the payload; so what it must tell apart are labels:

- ``foretide.live`` is ``yes`` only for a deployment's run whose clock is about now and that wrote
  to the store: a run of the past, one that found nothing to do, a dry run or a run on files starts
  nothing;
- ``foretide.config`` keeps installations that share a Prefect server apart;
- ``foretide.quarter`` (``0`` … ``3``, of the hour of the run's clock) tells the hourly forecast
  from those in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

__all__ = ["LIVE", "Done", "done", "emit", "is_live"]

LIVE = pd.Timedelta(1, "h")
"""A run whose clock is further from the present says nothing about it."""


@dataclass(frozen=True, slots=True)
class Done:
    """An event before it is sent."""

    event: str
    resource: Mapping[str, str]
    payload: Mapping[str, Any]


def is_live(as_of: pd.Timestamp, present: pd.Timestamp) -> bool:
    """Whether a run's clock is about now."""
    return abs(present - as_of) <= LIVE


def done(
    verb: str,
    result: Mapping[str, Any],
    asked: Mapping[str, Any],
    present: pd.Timestamp,
    *,
    of_deployment: bool,
) -> Done:
    """The event of a run that has committed.

    Parameters
    ----------
    verb
        The flow's name.
    result, asked
        Its outcome as plain types, and its parameters.
    of_deployment
        Whether a deployment's run did it; a person's run starts nothing.
    """
    as_of = pd.Timestamp(result["as_of"]).tz_convert("UTC")
    wrote = bool(result.get("outputs")) and not asked.get("dry_run") and not asked.get("inputs")
    live = of_deployment and wrote and is_live(as_of, present)
    skipped: Mapping[str, int] = result.get("skipped") or {}
    return Done(
        f"foretide.{verb}.done",
        {
            "prefect.resource.id": f"foretide.run.{verb}.{result['run_id']}",
            "prefect.resource.name": f"{verb} {as_of:%Y-%m-%d %H:%M}",
            "foretide.live": "yes" if live else "no",
            "foretide.config": str(asked.get("config") or ""),
            "foretide.quarter": str(as_of.minute // 15),
        },
        {
            "as_of": as_of.isoformat(),
            "done": int(result.get("done", 0)),
            "skipped": int(sum(skipped.values())),
            "failed": len(result.get("failed") or ()),
            "out": str(asked.get("out") or ""),
        },
    )


def emit(event: Done) -> None:
    """Send it to Prefect; without a server there is nobody to tell."""
    from prefect.events import emit_event

    emit_event(event=event.event, resource=dict(event.resource), payload=dict(event.payload))
