"""The only place that asks what time it is; everything below a flow gets it as an argument."""

from __future__ import annotations

import sys

import pandas as pd

__all__ = ["now", "present"]


def now() -> pd.Timestamp:
    """The moment a run is for: when it was scheduled, so that a late run does what it was meant to.

    Outside a scheduled run, the present. UTC, whole seconds.
    """
    if "prefect" not in sys.modules:  # no flow can be running; to bring it takes seconds
        return present()
    from prefect.runtime import flow_run

    planned = flow_run.scheduled_start_time
    return present() if planned is None else _whole(pd.Timestamp(planned))


def present() -> pd.Timestamp:
    """What the clock says, whatever a run was scheduled for: what acts on a cluster acts now.

    UTC, whole seconds.
    """
    return _whole(pd.Timestamp.now("UTC"))


def _whole(moment: pd.Timestamp) -> pd.Timestamp:
    return moment.tz_convert("UTC").floor("s").as_unit("ms")
