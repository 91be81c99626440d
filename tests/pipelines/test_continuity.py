"""One trouble is one incident, however often it is looked at and however long it lasts."""

from __future__ import annotations

import pandas as pd

from features.frames import INCIDENTS
from models.incidents import IncidentParams, group_incidents
from pipelines.continuity import continued

T0 = pd.Timestamp("2026-06-01", tz="UTC").as_unit("ms")
STEP = pd.Timedelta(300, "s")
COLUMNS = [c for c in INCIDENTS.schema.names if c != "run_id"]
NONE = pd.DataFrame(columns=COLUMNS)
NO_LEAKS = pd.DataFrame(columns=["workload", "metric", "issued_at", "score"]).astype(
    {"issued_at": "datetime64[ms, UTC]", "score": float}
)


def scores(anomalous: list[tuple[int, int]], lo: int, hi: int) -> pd.DataFrame:
    """Scores of one series of the steps [lo, hi); 2 in the given stretches, else 0."""
    steps = pd.RangeIndex(lo, hi)
    level = [2.0 if any(a <= s < b for a, b in anomalous) else 0.0 for s in steps]
    frame = pd.DataFrame({"workload": "c/n/D/w", "metric": "m", "ts": T0 + steps * STEP})
    return frame.assign(score=level, value=1.0 + pd.Series(level), detector="band")


def replayed(anomalous: list[tuple[int, int]], *, n: int, memory: int, every: int) -> pd.DataFrame:
    """What a store holds after a run every so many steps, each seeing so many steps back."""
    told = NONE
    for clock in range(every, n + 1, every):
        lo = max(clock - every - memory, 0)
        found = group_incidents(scores(anomalous, lo, clock), NO_LEAKS, IncidentParams())
        rows = continued(found, told, T0 + (clock - every) * STEP)
        told = pd.concat([t for t in (told, rows) if len(t)] or [NONE], ignore_index=True)
    return told.drop_duplicates("incident_id", keep="last")


def test_a_long_incident_keeps_its_name_and_its_beginning() -> None:
    told = replayed([(20, 400)], n=600, memory=48, every=12)
    assert len(told) == 1
    assert told["started_at"].iloc[0] == T0 + 20 * STEP
    assert told["ended_at"].notna().all()


def test_two_troubles_far_apart_are_two() -> None:
    told = replayed([(20, 60), (300, 340)], n=600, memory=48, every=12)
    assert len(told) == 2
    assert told["ended_at"].notna().all()


def test_an_open_incident_that_is_gone_is_closed() -> None:
    found = group_incidents(
        scores([(2, 20)], 0, 20),
        NO_LEAKS,
        IncidentParams(),
    )
    assert found["ended_at"].isna().all()
    later = continued(found[:0], found, T0 + 100 * STEP)
    assert later["incident_id"].tolist() == found["incident_id"].tolist()
    assert later["ended_at"].tolist() == [T0 + 100 * STEP]


def test_what_nobody_told_of_stays_as_it_was_found() -> None:
    found = group_incidents(
        scores([(2, 20)], 0, 40),
        NO_LEAKS,
        IncidentParams(),
    )
    pd.testing.assert_frame_equal(continued(found, NONE, T0), found)
