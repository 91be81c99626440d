"""The table of runs, and what is published from it."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from own_world import add_runs, fill_all, registry, run_row
from publish_store import opened

from features.frames import RUNS
from pipelines.adapters.store import Store
from pipelines.errors import HistoryError
from pipelines.run import Run, RunRef
from pipelines.series.gauge import Gauge
from pipelines.series.own import own_gauges, run_gauges
from pipelines.watching import read_runs, record, watched

CLOCK = pd.Timestamp("2026-06-08T12:00Z")


@watched("score", {"drifted": "rescore"})
def flow(
    config: str | None = None,
    inputs: list[str] | None = None,
    out: str | None = None,
    as_of: str | None = None,
    dry_run: bool = False,
    drifted: bool = False,
    catch_up: bool = False,
    error: BaseException | None = None,
    **told: Any,
) -> dict[str, Any]:
    """A flow."""
    if error is not None:
        raise error
    outcome = {"verb": "score", "as_of": as_of, "unit": "series", "done": 3, "skipped": {"old": 2}}
    return outcome | {"failed": (), "figures": {"incidents": 1.0}} | told


def at(hours: float) -> str:
    return (CLOCK + pd.Timedelta(round(3600 * hours), "s")).isoformat()


def opened_at(folder: Path, moment: str = at(0)) -> Run:
    return RunRef(None, (), str(folder), moment).open()


def rows(folder: Path) -> pd.DataFrame:
    return read_runs(opened_at(folder, at(48)), CLOCK - pd.Timedelta("48h"))


def test_a_run_is_one_row_with_what_it_says(tmp_path: Path) -> None:
    result = flow(out=str(tmp_path), as_of=at(0))
    assert result["done"] == 3
    row = rows(tmp_path).iloc[0]
    assert (row["verb"], row["state"], row["unit"]) == ("score", "done", "series")
    assert (row["done"], row["skipped"], row["failed"], row["error"]) == (3, 2, 0, "")
    assert list(row["reasons"]) == [{"reason": "old", "count": 2}]
    assert list(row["figures"]) == [{"name": "incidents", "value": 1.0}]
    assert row["as_of"] == CLOCK
    assert row["run_id"] == opened_at(tmp_path).run_id
    assert row["ended_at"] >= row["started_at"]


def test_a_run_that_fails_is_a_row_and_fails_as_it_would(tmp_path: Path) -> None:
    broken = HistoryError("too\nlittle \x1b[31mhistory" + "y" * 1000)
    with pytest.raises(HistoryError) as caught:
        flow(out=str(tmp_path), as_of=at(0), error=broken)
    assert caught.value is broken
    row = rows(tmp_path).iloc[0]
    assert (row["state"], row["done"], row["failed"]) == ("failed", 0, 1)
    assert row["error"].startswith("HistoryError: too little �[31mhistory")
    assert len(row["error"]) < 400
    with pytest.raises(KeyboardInterrupt):
        flow(out=str(tmp_path), as_of=at(1), error=KeyboardInterrupt())
    assert list(rows(tmp_path)["state"]) == ["failed", "failed"]


def test_parts_that_failed_make_it_partly(tmp_path: Path) -> None:
    flow(out=str(tmp_path), as_of=at(0), failed=("one", "two"))
    row = rows(tmp_path).iloc[0]
    assert (row["state"], row["failed"]) == ("partly", 2)


def test_another_schedule_of_a_flow_has_a_name_of_its_own(tmp_path: Path) -> None:
    flow(out=str(tmp_path), as_of=at(0), drifted=True)
    assert list(rows(tmp_path)["verb"]) == ["rescore"]


@pytest.mark.parametrize(
    "asked", [{"inputs": ["x.parquet"]}, {"dry_run": True}, {"catch_up": True, "unit": "runs"}]
)
def test_what_is_no_run_of_a_store_is_not_recorded(tmp_path: Path, asked: dict[str, Any]) -> None:
    flow(out=str(tmp_path), as_of=at(0), **asked)
    assert rows(tmp_path).empty
    assert not list(tmp_path.iterdir())


def test_a_failed_run_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(HistoryError):
        flow(out=str(tmp_path / "none"), as_of=at(0), error=HistoryError("no"))
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_recorded_changes_no_run_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "runs").write_text("a file where the table should be")
    with caplog.at_level("INFO", logger="foretide"):
        assert flow(out=str(tmp_path), as_of=at(0))["done"] == 3
        with pytest.raises(HistoryError):
            flow(out=str(tmp_path), as_of=at(0), error=HistoryError("no"))
    assert caplog.text.count("this run is not in the table of runs") == 2


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    moments = [at(i / 60) for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda moment: flow(out=str(tmp_path), as_of=moment), moments))
    assert list(rows(tmp_path)["as_of"]) == [pd.Timestamp(m) for m in moments]


def test_runs_are_read_by_their_clock(tmp_path: Path) -> None:
    for hours in (5, -30, 0, 1):
        flow(out=str(tmp_path), as_of=at(hours))
    run = opened_at(tmp_path, at(1))
    found = read_runs(run, CLOCK - pd.Timedelta("31h"))
    assert [t.isoformat() for t in found["as_of"]] == [at(-30), at(0), at(1)]
    assert len(read_runs(run, CLOCK)) == 2
    assert run.store.parts(RUNS) == ["20260607T000000Z", "20260608T000000Z"]


def test_retention_takes_days_of_runs_as_it_takes_other_tables(tmp_path: Path) -> None:
    run = opened_at(tmp_path)
    for days in (20, 1):
        record(run, run_row("score", CLOCK - pd.Timedelta(days, "D")))
    run.store.clean(CLOCK, 10, [RUNS])
    assert run.store.parts(RUNS) == ["20260607T000000Z"]


def test_a_flow_keeps_its_parameters(tmp_path: Path) -> None:
    assert list(inspect.signature(flow).parameters)[:4] == ["config", "inputs", "out", "as_of"]
    assert flow.__doc__ == "A flow."


# what is published of it


def told(gauges: list[Gauge]) -> dict[str, float]:
    return {
        f"{g.name.removeprefix('foretide_')}{list(map(str, row)) if row else ''}": float(v)
        for g in gauges
        for row, v in zip(
            g.labels.itertuples(index=False, name=None) if len(g.labels.columns) else [()],
            g.values,
            strict=True,
        )
    }


def test_a_store_without_runs_says_nothing_of_itself(tmp_path: Path) -> None:
    assert own_gauges(opened_at(tmp_path)) == []


def test_each_flow_is_told_of_by_its_newest_runs(tmp_path: Path) -> None:
    store, hour = Store(tmp_path), pd.Timedelta("1h")
    add_runs(store, [
        run_row("score", CLOCK - 3 * hour, done=7),
        run_row("score", CLOCK - 2 * hour, state="failed"),
        run_row("train", CLOCK - 9 * 24 * hour, state="failed"),
        run_row("score", CLOCK + hour),
    ])  # fmt: skip
    found = told(own_gauges(opened_at(tmp_path)))
    assert found["run_last_success_timestamp_seconds['score']"] == (CLOCK - 3 * hour).timestamp()
    assert found["run_last_timestamp_seconds['score']"] == (CLOCK - 2 * hour).timestamp()
    assert found["run_failed['score']"] == found["run_failed['train']"] == 1.0
    assert found["run_units['score', 'series', 'done']"] == 7.0
    assert found["run_skipped['score', 'history # d, needs # d']"] == 10.0
    assert "run_last_success_timestamp_seconds['train']" not in found
    assert not [name for name in found if name.startswith(("held", "rollbacks", "ingest"))]


def test_rollbacks_are_those_of_a_day_and_are_there_from_the_first_round_on() -> None:
    def rounds(*back: tuple[float, float]) -> dict[str, float]:
        made = [
            run_row("apply", CLOCK - pd.Timedelta(h, "h"),
                    figures=[{"name": "rolled_back", "value": n}, {"name": "held", "value": 4.0}])
            for h, n in back
        ]  # fmt: skip
        return told(run_gauges(pd.DataFrame(made)[RUNS.schema.names]))

    assert rounds((1, 0.0))["rollbacks"] == 0.0
    assert rounds((30, 5.0), (20, 1.0), (1, 2.0))["rollbacks"] == 3.0
    assert rounds((1, 0.0))["held_floors"] == 4.0


def test_reasons_are_few_series_whatever_their_numbers(tmp_path: Path) -> None:
    reasons = [{"reason": f"kind {'abcdefghijklmnopqrstuvwxyz'[i % 26] * 3} at {i}.5 d", "count": 1}
               for i in range(60)]  # fmt: skip
    store = Store(tmp_path)
    add_runs(store, [run_row("score", CLOCK, reasons=reasons, skipped=60)])
    found = {k: v for k, v in told(own_gauges(opened_at(tmp_path))).items() if "run_skipped" in k}
    assert len(found) == 16
    assert sum(found.values()) == 60
    assert found["run_skipped['score', 'other']"] == 60 - sum(sorted(found.values())[:-1])


@pytest.mark.filterwarnings("ignore::UserWarning")  # MLflow, while it is imported
def test_a_world_in_which_all_has_happened(tmp_path: Path) -> None:
    fill_all(tmp_path, CLOCK)
    with registry(CLOCK - pd.Timedelta("30h")) as uri:
        found = told(own_gauges(opened(tmp_path, {"tracking": {"uri": uri}}, CLOCK)))
    assert found["model_age_seconds['forecaster']"] == 30 * 3600
    assert found["gate_failures['accuracy']"] == found["gate_judged['accuracy']"] == 3
    assert (found["gate_failures['forecast']"], found["gate_judged['forecast']"]) == (0, 3)
    ends = {t: found[f"valid_until_timestamp_seconds['{t}']"] for t in ("scores", "plan")}
    assert ends == {"scores": CLOCK.timestamp() + 3600, "plan": CLOCK.timestamp() + 20 * 3600}
    later = opened(tmp_path, {"tracking": {"uri": uri}}, CLOCK + pd.Timedelta("5D"))
    stale = told(own_gauges(later))  # and the registry is gone
    assert stale["valid_until_timestamp_seconds['plan']"] == ends["plan"]
    assert not [name for name in stale if "model_age" in name]
    assert np.isfinite(list(stale.values())).all()
