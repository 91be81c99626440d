"""What a finished run tells the others: only a live run that wrote something starts anything."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from pipelines.events import done
from pipelines.outcome import Outcome

NOW = pd.Timestamp("2026-06-01T09:20", tz="UTC")


def event(
    *,
    as_of: str = "2026-06-01T09:15:00+00:00",
    of_deployment: bool = True,
    outputs: tuple[str, ...] = ("scores",),
    **asked: Any,
) -> Any:
    places = dict.fromkeys(outputs, "somewhere")
    outcome = Outcome("score", "r", as_of, "series", 3, {"too short": 2}, ("boom",), places)
    known = {"config": "config/foretide.yaml"} | asked
    return done("score", outcome.to_dict(), known, NOW, of_deployment=of_deployment)


def test_an_event_hands_the_clock_along() -> None:
    told = event()
    assert told.event == "foretide.score.done"
    assert told.resource["foretide.live"] == "yes"
    assert told.resource["foretide.config"] == "config/foretide.yaml"
    assert told.payload == {
        "as_of": "2026-06-01T09:15:00+00:00",
        "done": 3,
        "skipped": 2,
        "failed": 1,
        "out": "",
    }


@pytest.mark.parametrize(
    "other",
    [
        {"as_of": "2026-06-01T08:00:00+00:00"},  # a back-fill
        {"as_of": "2026-06-02T09:15:00+00:00"},
        {"dry_run": True},
        {"inputs": ["samples.parquet"]},
        {"of_deployment": False},  # a person's run
        {"outputs": ()},  # nothing was written
    ],
)
def test_what_is_not_of_the_present_starts_nothing(other: dict[str, Any]) -> None:
    assert event(**other).resource["foretide.live"] == "no"


@pytest.mark.parametrize(
    ("minute", "quarter"), [("00", "0"), ("14", "0"), ("15", "1"), ("59", "3")]
)
def test_the_quarter_of_the_hour_tells_the_forecasts_apart(minute: str, quarter: str) -> None:
    told = event(as_of=f"2026-06-01T09:{minute}:00+02:00")
    assert told.resource["foretide.quarter"] == quarter
