"""What it was worth: the newest weekly value report, figure by figure."""

from __future__ import annotations

import pandas as pd

from features.frames import VALUE
from pipelines.answers.shared import Answer, Data, Part, age, data, iso, number
from pipelines.run import Run
from pipelines.series.reaching import newest_parts
from pipelines.value import ALL
from pipelines.value_text import told_value

__all__ = ["Figure", "Value", "value"]

_CLUSTERS = 8


class Figure(Part):
    """One figure with its interval, or the reason why it is not known."""

    name: str
    value: float | None
    lower: float | None
    upper: float | None
    unit: str
    reason: str


class ClusterValue(Part):
    """The same of one of several clusters."""

    cluster: Data
    figures: tuple[Figure, ...]


class Value(Answer):
    """The value of the window ``from_at`` to ``as_of``."""

    from_at: str | None
    confidence_share: float
    """Of the intervals."""
    told: tuple[str, ...]
    """What is known of what matters most, in words."""
    figures: tuple[Figure, ...]
    clusters: tuple[ClusterValue, ...]
    clusters_count: int


def value(run: Run, *, by_cluster: bool = False) -> Value:
    """The newest report at the run's clock; good until the next one is due.

    Raises
    ------
    StoreError
        The table is damaged.
    """
    parts = newest_parts(run, VALUE)
    rows: pd.DataFrame = (
        pd.concat([run.store.read(VALUE, part=p).to_pandas() for p in parts], ignore_index=True)
        if parts
        else VALUE.schema.empty_table().to_pandas()
    )
    at = None if rows.empty else rows["evaluated_at"].max()
    lasts = pd.Timedelta(run.settings.evaluate.window_days, "D")
    scopes = [s for s in rows["scope"].astype("str").unique() if s != ALL]
    shown = scopes[:_CLUSTERS] if by_cluster else []
    return Value(
        **age(
            run,
            at,
            None if at is None else at + lasts,
            *(() if at is None else (f"table value, evaluation of {iso(at)}",)),
            nothing="nothing was evaluated yet: run `foretide evaluate`",
        ),
        from_at=None if rows.empty else iso(rows["started_at"].min()),
        confidence_share=run.settings.evaluate.value.confidence,
        told=tuple(line.strip() for line in told_value(rows)) if len(rows) else (),
        figures=_figures(rows, ALL),
        clusters=tuple(ClusterValue(cluster=data(s), figures=_figures(rows, s)) for s in shown),
        clusters_count=len(scopes),
    )


def _figures(rows: pd.DataFrame, scope: str) -> tuple[Figure, ...]:
    mine = rows[rows["scope"].astype("str") == scope]
    return tuple(
        Figure(
            name=str(row["name"]),
            value=number(row["value"]),
            lower=number(row["lower"]),
            upper=number(row["upper"]),
            unit=str(row["unit"]),
            reason=row["reason"] if isinstance(row["reason"], str) else "",
        )
        for row in mine.to_dict("records")
    )
