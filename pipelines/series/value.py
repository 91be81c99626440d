"""The newest weekly value report as metrics."""

from __future__ import annotations

import pandas as pd

from features.frames import VALUE
from pipelines.errors import StoreError
from pipelines.run import Run
from pipelines.series.gauge import Gauge

__all__ = ["value_gauges"]

_FAMILIES = (
    ("foretide_value", "value", "A figure of the newest weekly value report."),
    ("foretide_value_lower", "lower", "The lower end of the figure's interval."),
    ("foretide_value_upper", "upper", "The upper end of the figure's interval."),
)


def value_gauges(run: Run) -> list[Gauge]:
    """``foretide_value{scope,name,unit}`` and its bounds; what is not known, or of a report
    older than two of its weeks, is left out."""
    try:
        since = run.as_of - 2 * pd.Timedelta(run.settings.evaluate.window_days, "D")
        table: pd.DataFrame = run.read(VALUE, since, newest=True).to_pandas()
    except StoreError:
        return []
    gauges: list[Gauge] = []
    for family, column, help_text in _FAMILIES:
        rows = table[table[column].notna()]
        labels = rows[["scope", "name", "unit"]].astype("str").reset_index(drop=True)
        if len(rows):
            gauges.append(Gauge(family, help_text, labels, rows[column].to_numpy(dtype=float)))
    return gauges
