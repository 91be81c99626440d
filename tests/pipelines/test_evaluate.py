"""evaluate: verdicts on made-up tables of a store, and who reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.frames import BACKTEST, FORECASTS, VERDICTS
from pipelines.adapters.store import Store
from pipelines.evaluate import evaluate
from pipelines.issued import issued_forecasts
from pipelines.run import Run, RunRef, part_name
from pipelines.verdicts import demoted, newest_verdicts

pytestmark = [
    # mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

T0 = pd.Timestamp("2026-06-01T00:00Z").as_unit("ms")
DAY = pd.Timedelta(days=1)
METRIC = "cpu_usage_cores"
Evaluate = Callable[[float], dict[str, Any]]


def workload(name: str) -> str:
    return f"c/n/Deployment/{name}"


def curve(ts: pd.DatetimeIndex) -> np.ndarray:
    return 10 + 5 * np.sin(np.arange(len(ts)) * 2 * np.pi / 24)


def write_samples(store: Store, levels: dict[str, float]) -> None:
    """Three weeks before T0 and two weeks and a day after it; from T0 on times the level."""
    ts = pd.date_range(T0 - 21 * DAY, T0 + 15 * DAY, freq="h", inclusive="left").as_unit("ms")
    rng = np.random.default_rng(0)
    labels = {"cluster": "c", "namespace": "n", "kind": "Deployment", "metric": METRIC}
    for name, level in levels.items():
        value = curve(ts) * rng.normal(1, 0.05, len(ts)) * np.where(ts < T0, 1, level)
        store.write_samples(pd.DataFrame({**labels, "name": name, "ts": ts, "value": value}))


def write_training(store: Store, at: pd.Timestamp, names: list[str]) -> None:
    origins = [at - 7 * k * DAY for k in (3, 2, 1)]
    rows = [
        {"workload": workload(n), "metric": METRIC, "model": model, "origin": origin}
        for n in names
        for model in ("seasonal_naive", "prophet")
        for origin in origins
    ]
    table = pd.DataFrame(rows).assign(
        horizon_s=604_800.0, wape=0.05, mase=1.0, pinball_q50=0.2, pinball_q90=0.2, pinball_q99=0.1,
        coverage_q90=0.9, peak_coverage_q90=0.8, points=168,
    )  # fmt: skip
    table["champion"] = table["model"] == "prophet"
    for name in set(BACKTEST.schema.names) - set(table):
        table[name] = None
    store.write(BACKTEST, table, part_name(at))


def register(store: Store, **tags: pd.Timestamp | str) -> str:
    """A version of the forecaster goes live; verdicts ask only for what is written on it."""
    folder = Path(store.root) / "any"
    folder.mkdir(exist_ok=True)
    (folder / "bundle.json").write_text("{}")
    tracking = opened(store, 0).tracking()
    version = tracking.log_bundle(
        "forecaster",
        folder,
        params={},
        metrics={},
        tags={k: v if isinstance(v, str) else v.isoformat() for k, v in tags.items()},
        loader_module="pipelines.registry",
        check=lambda _: None,
    )
    tracking.promote("forecaster", version.version)
    return version.label


def flagged(store: Store, days: float) -> dict[str, str]:
    """Workload's name → the verdict on it that holds."""
    table = newest_verdicts(opened(store, days))
    return {str(r["workload"]).rpartition("/")[2]: r["verdict"] for r in table.to_dict("records")}


def write_forecast(
    store: Store, at: pd.Timestamp, names: list[str], step: str = "h", days: float = 7
) -> None:
    ts = pd.date_range(at, at + days * DAY, freq=step, inclusive="left").as_unit("ms")
    q50 = curve(ts)
    one = pd.DataFrame(
        {
            "metric": METRIC, "issued_at": at, "ts": ts, "q05": q50 * 0.9, "q50": q50,
            "q90": q50 * 1.064, "q95": q50 * 1.1, "q99": q50 * 1.2, "model": "prophet",
            "model_version": "forecaster/1", "run_id": "r", "valid_until": at + DAY,
        }
    )  # fmt: skip
    for name in set(FORECASTS.schema.names) - set(one) - {"workload"}:
        one[name] = None
    table = pd.concat([one.assign(workload=workload(n)) for n in names])
    store.write(FORECASTS, table, part_name(at))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Trained and forecast at T0, and forecast again each week by the same model."""
    store = Store(tmp_path)
    write_samples(store, {"steady": 1, "grown": 2, "young": 2})
    write_training(store, T0, ["steady", "grown"])
    for at in (T0, T0 + 7 * DAY, T0 + 14 * DAY):
        write_forecast(store, at, ["steady", "grown", "young"])
    return store


@pytest.fixture
def judged(store: Store) -> Evaluate:
    """Evaluate so many days after T0."""
    return lambda days: evaluate.fn(out=str(store.root), as_of=(T0 + days * DAY).isoformat())


def opened(store: Store, days: float) -> Run:
    as_of = (T0 + days * DAY).isoformat()
    return RunRef.resolve(None, None, str(store.root), as_of, T0).open()


def verdict_of(store: Store, name: str, days: float) -> pd.Series:
    table = store.read(VERDICTS, part=part_name(T0 + days * DAY)).to_pandas()
    return table[table["workload"] == workload(name)].iloc[0]


def test_what_drifted_is_told_with_its_reason_and_what_is_good_is_not(
    store: Store, judged: Evaluate
) -> None:
    told = judged(5)
    assert told["figures"]["series_judged"] == 2
    assert told["figures"]["series_drifted"] == 1
    assert told["figures"]["series_demoted"] == 0
    assert told["figures"]["forecast_wape_median"] > 0
    assert len(told["notes"]) == 1
    assert told["notes"][0].startswith(f"  drifted: {workload('grown')} {METRIC}: off by ")
    grown = verdict_of(store, "grown", 5)
    assert (grown["verdict"], grown["trained_at"]) == ("drifted", T0)
    assert 0.4 < grown["wape"] < 0.6
    assert grown["points"] == 120
    assert verdict_of(store, "steady", 5)["verdict"] == "good"
    young = verdict_of(store, "young", 5)
    assert (young["verdict"], young["reason"]) == ("unjudged", "no backtest to compare with")


def test_a_model_that_loses_to_last_week_twice_is_demoted(store: Store, judged: Evaluate) -> None:
    for days, verdict in ((14, "drifted"), (15, "demoted"), (15, "demoted")):
        told = judged(days)
        assert verdict_of(store, "grown", days)["verdict"] == verdict
    assert told["figures"]["series_demoted"] == 1
    first, second = (verdict_of(store, "grown", d) for d in (14, 15))
    assert first["losing_since"] == T0 + 14 * DAY
    assert second["since"] == T0 + 15 * DAY
    assert second["bar_wape"] < second["wape"]
    assert verdict_of(store, "steady", 15)["verdict"] == "good"
    keys = pd.DataFrame({"workload": map(workload, ("young", "grown", "steady")), "metric": METRIC})
    assert demoted(opened(store, 15), keys).tolist() == [False, True, False]
    assert not demoted(opened(store, 14), keys).any()


def test_an_evaluation_that_is_repeated_says_the_same(store: Store, judged: Evaluate) -> None:
    for days in (14, 15, 14):
        judged(days)
        once = store.read(VERDICTS, part=part_name(T0 + days * DAY))
        judged(days)
        assert store.read(VERDICTS, part=part_name(T0 + days * DAY)).equals(once)
    assert len(store.parts(VERDICTS)) == 2


def test_who_was_trained_anew_starts_clean(store: Store, judged: Evaluate) -> None:
    judged(5)
    assert set(newest_verdicts(opened(store, 5.5))["verdict"]) == {"good", "drifted", "unjudged"}
    write_training(store, T0 + 6 * DAY, ["grown"])
    left = newest_verdicts(opened(store, 6))
    assert set(left["workload"]) == {workload("steady"), workload("young")}
    before = newest_verdicts(opened(store, 5.5))
    assert set(before["verdict"]) == {"good", "drifted", "unjudged"}
    judged(6.5)
    grown = verdict_of(store, "grown", 6.5)
    assert grown["verdict"] == "unjudged"
    assert grown["reason"] == "0 h of forecast came due, 72 h are needed"
    assert grown["trained_at"] == T0 + 6 * DAY


def test_a_training_that_never_went_live_changes_no_verdict(store: Store, judged: Evaluate) -> None:
    """It died between its tables and its version."""
    register(store, as_of=T0)
    judged(5)
    before = flagged(store, 5.5)
    assert before == {"steady": "good", "grown": "drifted", "young": "unjudged"}
    write_training(store, T0 + 6 * DAY, ["steady", "grown"])
    assert flagged(store, 6.5) == before
    judged(6.5)
    assert flagged(store, 6.5) == before
    assert verdict_of(store, "grown", 6.5)["trained_at"] == T0
    register(store, as_of=T0 + 6 * DAY)
    assert flagged(store, 6.5) == {"young": "unjudged"}


def test_a_model_that_was_rolled_back_to_is_what_it_was_found_to_be(
    store: Store, judged: Evaluate
) -> None:
    first = register(store, as_of=T0)
    judged(5)
    before = flagged(store, 5.5)
    write_training(store, T0 + 6 * DAY, ["grown"])
    register(store, as_of=T0, retrained_at=T0 + 6 * DAY, retrained_from=first)
    assert flagged(store, 6.2) == {"steady": "good", "young": "unjudged"}
    judged(6.5)
    assert flagged(store, 6.5)["grown"] == "unjudged"
    opened(store, 0).tracking().promote("forecaster", "1")
    assert flagged(store, 6.5) == before
    judged(6.8)
    assert flagged(store, 6.8) == before
    # What goes live now comes from the first version, and knows nothing of the second.
    write_training(store, T0 + 6.9 * DAY, ["steady"])
    register(store, as_of=T0, retrained_at=T0 + 6.9 * DAY, retrained_from=first)
    assert flagged(store, 7) == {"grown": "drifted", "young": "unjudged"}


def test_of_a_training_that_was_trained_on_all_are_live(store: Store, judged: Evaluate) -> None:
    label = register(store, as_of=T0)
    judged(5)
    for days, name in ((5.1, "grown"), (5.2, "steady")):
        at = T0 + days * DAY
        write_training(store, at, [name])
        label = register(store, as_of=T0, retrained_at=at, retrained_from=label)
    assert flagged(store, 6) == {"young": "unjudged"}


def test_no_backtest_is_read_where_none_is_newer_than_the_verdicts(
    store: Store, judged: Evaluate
) -> None:
    judged(5)
    before = newest_verdicts(opened(store, 5.5))
    (Path(store.root) / "backtest" / f"{part_name(T0)}.parquet").write_bytes(b"damaged")
    pd.testing.assert_frame_equal(newest_verdicts(opened(store, 5.5)), before)


def test_verdicts_that_were_read_once_need_not_be_read_again(
    store: Store, judged: Evaluate
) -> None:
    judged(15)
    keys = pd.DataFrame({"workload": map(workload, ("young", "grown")), "metric": METRIC})
    verdicts = newest_verdicts(opened(store, 15))
    assert demoted(opened(store, 15), keys, verdicts[:0]).tolist() == [False, False]


@pytest.mark.parametrize("step", ["7min", "20min", "45min"])
def test_forecasts_are_judged_on_the_grid_that_they_were_made_on(tmp_path: Path, step: str) -> None:
    """Any step, and none that is not over."""
    store = Store(tmp_path)
    length = pd.Timedelta(step)
    start = T0.ceil(length)
    ts = pd.date_range(start - 8 * DAY, start + DAY, freq=step).as_unit("ms")
    labels = {"cluster": "c", "namespace": "n", "kind": "Deployment", "metric": METRIC}
    store.write_samples(pd.DataFrame({**labels, "name": "a", "ts": ts, "value": 10.0}))
    write_forecast(store, start, ["a"], step, 2)
    as_of = start + 10 * length + pd.Timedelta(30, "s")
    run = RunRef.resolve(None, None, str(store.root), as_of.isoformat(), T0).open()
    issued = issued_forecasts(run, start, 1)
    assert issued is not None
    assert (issued.step, issued.times[0], len(issued.times)) == (length, start, 10)
    for values in (issued.q50, issued.q90, issued.actual, issued.bar):
        assert np.isfinite(values).all()
    early = replace(run, ref=replace(run.ref, as_of=(start + length / 2).isoformat()))
    assert issued_forecasts(early, start, 1) is None


def test_a_run_sees_no_verdict_from_after_its_clock(store: Store, judged: Evaluate) -> None:
    judged(5)
    assert newest_verdicts(opened(store, 4)).empty
    assert list(newest_verdicts(opened(store, 4)).columns) == VERDICTS.schema.names


def test_a_run_on_files_learns_its_own_models_and_knows_no_verdict(
    store: Store, judged: Evaluate, tmp_path: Path
) -> None:
    judged(5)
    as_of = (T0 + 5 * DAY).isoformat()
    on_files = RunRef.resolve(None, [str(tmp_path / "any.csv")], str(store.root), as_of, T0)
    assert newest_verdicts(on_files.open()).empty
