"""The only place that asks what time it is; everything below a flow gets it as an argument."""

from __future__ import annotations

import pandas as pd

__all__ = ["now"]


def now() -> pd.Timestamp:
    """The moment a run is for: when it was scheduled, so that a late run does what it was meant to.

    Outside a scheduled run, the present. UTC, whole seconds.
    """
    from prefect.runtime import flow_run

    planned = flow_run.scheduled_start_time
    moment = pd.Timestamp(planned) if planned is not None else pd.Timestamp.now("UTC")
    return moment.tz_convert("UTC").floor("s").as_unit("ms")
