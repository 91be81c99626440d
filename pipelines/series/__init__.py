"""What Foretide publishes as metrics: named once, sent anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.run import Run
    from pipelines.series.gauge import Gauge

__all__ = ["all_gauges"]


def all_gauges(run: Run) -> list[Gauge]:
    """Every family that there is at the run's clock; see ``pipelines.series.names``."""
    # the makers import this package's names, and what imports them may import those
    from pipelines.series.every import gather_all

    return list(gather_all(run).gauges)
