"""What the API gives back: tables, and what was fitted."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from models.champion import Champions
from pipelines.api_data import GivenRun
from pipelines.learning import forecasters as known_forecasters

__all__ = ["Backtested", "Fitted", "Replayed", "Scored"]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Who forecasts each series, fitted and calibrated.

    Attributes
    ----------
    champions : one part a calendar that workloads follow
    skipped : frame ``workload, metric, step, reason`` of the series that nobody forecasts
    run : what was asked, without the samples
    """

    champions: tuple[Champions, ...]
    skipped: pd.DataFrame
    run: GivenRun

    @property
    def chosen(self) -> pd.DataFrame:
        """One row a series: ``workload, metric, model, reason``, the champion's ``loss`` in the
        backtest beside the bar's ``bar_loss`` (in the metric's unit), ``wape``, ``naive_wape``,
        ``origins``."""
        return pd.concat([c.chosen for c in self.champions], ignore_index=True)

    @property
    def backtest(self) -> pd.DataFrame:
        """What was chosen by: the BACKTEST table, a row a series, model and origin."""
        return pd.concat([c.table for c in self.champions], ignore_index=True)

    @property
    def end(self) -> pd.Timestamp:
        """Where the history ended: forecasts begin there."""
        return self.run.as_of

    @property
    def step(self) -> pd.Timedelta:
        """Length of a step of the forecasts."""
        return self.champions[0].step

    @property
    def names(self) -> tuple[str, ...]:
        """The forecasters that could be chosen."""
        return tuple(f.name for f in known_forecasters(self.run.settings))


@dataclass(frozen=True, slots=True)
class Scored:
    """The tables of ``foretide score``.

    Attributes
    ----------
    scores, leaks, incidents : frames in the columns of their contracts
    skips : frame ``workload, metric, step, reason``
        ``step`` says of what: ``score`` or ``leaks``.
    """

    scores: pd.DataFrame
    leaks: pd.DataFrame
    incidents: pd.DataFrame
    skips: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Backtested:
    """What ``foretide backtest`` says.

    Attributes
    ----------
    table : frame, the BACKTEST contract: a row a series, model and origin
    summary : frame, a row a model
        ``wape`` and ``mase`` are medians over series, ``wape_mean`` and the coverages means;
        ``pinball_*`` are in the metric's unit, ``pinball_*_vs_bar`` beside last week's.
    skips : frame ``workload, metric, step, reason``
    """

    table: pd.DataFrame
    summary: pd.DataFrame
    skips: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Replayed:
    """What ``foretide replay`` says.

    Attributes
    ----------
    totals : frame, a row a policy: sums over workloads and weeks
    workloads : frame, a row a workload, metric, week and policy
    verdicts : frame, a row a workload and metric; empty after a single week
    skips : frame ``workload, metric, step, reason``
    """

    totals: pd.DataFrame
    workloads: pd.DataFrame
    verdicts: pd.DataFrame
    skips: pd.DataFrame
