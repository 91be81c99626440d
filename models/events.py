"""Measures of a detector over events: what was found, how soon, and how often it cried wolf.

An event is found when somebody was told while it lasted. Points are never adjusted: with
point-adjusted F1 a random score looks excellent (Kim et al. 2022, "Towards a rigorous evaluation
of time-series anomaly detection").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["EventScores", "alerts_per_week", "event_scores"]


@dataclass(frozen=True, slots=True)
class EventScores:
    """How a detector did; NaN is "n/a", e.g. the precision of no detection at all.

    Attributes
    ----------
    events : frame
        One row an event: ``workload, start, end, kind``, and ``delay_s``, NaN where it was missed.
    kinds : frame
        One row a kind of event: ``kind``, ``events``, ``found``, ``recall``, ``median_delay_s``.
    recall : share of the events found
    precision : share of the detections that found an event
    f1 : their harmonic mean
    median_delay_s : from an event's start to its first detection, 0 where told before
    """

    events: pd.DataFrame
    kinds: pd.DataFrame
    recall: float
    precision: float
    f1: float
    median_delay_s: float


def event_scores(
    detected: pd.DataFrame, truth: pd.DataFrame, *, early_s: float = 3600.0
) -> EventScores:
    """Hold detections against labelled events of the same workload.

    Parameters
    ----------
    detected
        ``workload, start, end, detected_at``: half-open intervals, and when somebody was told.
    truth
        ``workload, start, end, kind``: labelled half-open intervals.
    early_s
        A detection counts for an event if it overlaps it and was told between ``early_s`` before
        the event's start (labels are not that exact) and its end. So one endless detection finds
        at most what went wrong when it was told.
    """
    events = truth[["workload", "start", "end", "kind"]].reset_index(drop=True)
    alerts = detected[["workload", "start", "end", "detected_at"]].reset_index(drop=True)
    pairs = events.rename_axis("event").reset_index().merge(
        alerts.rename_axis("alert").reset_index(), on="workload", suffixes=("", "_alert")
    )  # fmt: skip
    told = pairs["detected_at"]
    pairs = pairs[
        (pairs["start_alert"] < pairs["end"])
        & (pairs["end_alert"] > pairs["start"])
        & (told >= pairs["start"] - pd.Timedelta(early_s, "s"))
        & (told < pairs["end"])
    ]
    delay = (pairs["detected_at"] - pairs["start"]).dt.total_seconds().clip(lower=0)
    events["delay_s"] = delay.groupby(pairs["event"]).min().reindex(events.index)
    found = events["delay_s"].notna()
    recall = float(found.mean()) if len(events) else float("nan")
    precision = pairs["alert"].nunique() / len(alerts) if len(alerts) else float("nan")
    return EventScores(
        events=events,
        kinds=_by_kind(events),
        recall=recall,
        precision=precision,
        f1=_f1(recall, precision),
        median_delay_s=float(events["delay_s"].median()) if found.any() else float("nan"),
    )


def alerts_per_week(
    detected: pd.DataFrame, n_workloads: int, start: pd.Timestamp, end: pd.Timestamp
) -> float:
    """Detections told in ``[start, end)`` for each workload and week; NaN for an empty window."""
    weeks = (end - start) / pd.Timedelta(weeks=1) * n_workloads
    told = detected["detected_at"]
    return float(((told >= start) & (told < end)).sum() / weeks) if weeks > 0 else float("nan")


def _by_kind(events: pd.DataFrame) -> pd.DataFrame:
    groups = events.groupby("kind", observed=True, sort=True)["delay_s"]
    kinds = groups.agg(events="size", found="count", median_delay_s="median").reset_index()
    kinds["recall"] = kinds["found"] / kinds["events"]
    return kinds[["kind", "events", "found", "recall", "median_delay_s"]]


def _f1(recall: float, precision: float) -> float:
    """Harmonic mean; no detection where there are events is 0, not n/a."""
    if np.isnan(recall):
        return float("nan")
    precision = 0.0 if np.isnan(precision) else precision
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0
