"""The API: the numbers of the verbs, on data in memory, with nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from features.frames import BACKTEST, CONTRACTS, FORECASTS, INCIDENTS, LEAKS, SCORES, SKIPS
from features.synthetic import ClusterSpec, simulate
from pipelines import api
from pipelines.adapters.store import Store
from pipelines.backtesting import backtest
from pipelines.forecast import forecast
from pipelines.left_out import leave_out
from pipelines.replaying import replay
from pipelines.retraining import TrainAsk
from pipelines.run import RunRef
from pipelines.score import score
from pipelines.staging import staged, tables_aside
from pipelines.train import train_shard

CONFIG = {
    "forecast": {
        "models": ["seasonal_naive", "seasonal_day", "seasonal_level"],
        "champion": {"backtest": {"origins": 2, "horizon_h": 48}},
    },
    "history": {"days": 12},
    "shards": {"workloads": 1},
}
"""Few models; and a shard a workload, so that the cut is tried too."""
END = pd.Timestamp("2026-05-25T00:00Z")
UNTIL = END - pd.Timedelta(30, "h")
KEY = ["workload", "metric"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two workloads with all their metrics, deploys, faults and a leak among them."""
    cluster = simulate(ClusterSpec(n_workloads=2, weeks=3, step_s=1800))
    path = tmp_path_factory.mktemp("file") / "samples.parquet"
    pq.write_table(cluster.samples, path)
    return path


@pytest.fixture(scope="module")
def config(file: Path) -> str:
    path = file.with_name("foretide.yaml")
    path.write_text(yaml.safe_dump(CONFIG))
    return str(path)


@pytest.fixture(scope="module")
def samples(file: Path) -> pd.DataFrame:
    return api.read(file)


@pytest.fixture(scope="module")
def fitted(samples: pd.DataFrame) -> api.Fitted:
    return api.fit(samples, config=CONFIG)


def same(mine: pd.DataFrame, verbs: pd.DataFrame, *, but: tuple[str, ...] = ()) -> None:
    """Equal to the last bit; labels as text, and rows in any order."""
    columns = [c for c in mine.columns if c not in but]
    assert len(mine)
    frames = []
    for frame in (mine, verbs):
        text = frame[columns].copy()
        for name in text.columns:
            if isinstance(text[name].dtype, pd.CategoricalDtype):
                text[name] = text[name].astype("str")
        key = [c for c in ("workload", "metric", "ts", "model", "detector", "origin", "policy",
                           "step", "reason", "issued_at", "started_at", "incident_id")
               if c in columns]  # fmt: skip
        frames.append(text.sort_values(key, ignore_index=True))
    pd.testing.assert_frame_equal(*frames, check_dtype=False, check_exact=True)


def table_of(out: Path, name: str) -> pd.DataFrame:
    return Store(out).read(CONTRACTS[name]).to_pandas()


# ---- the verbs' numbers


def test_fit_chooses_as_train_does(fitted: api.Fitted, file: Path, config: str) -> None:
    out = file.with_name("trained")
    ref = RunRef.resolve(config, [str(file)], str(out), None, END)
    run = ref.open()
    with staged(run, "train"):
        leave_out(run)
        for shard in run.shards():
            train_shard.fn(TrainAsk(shard))
        trained = tables_aside(run, "train", BACKTEST).to_pandas()
        skipped = tables_aside(run, "train", SKIPS)
    same(fitted.backtest, trained)
    assert len(fitted.skipped) == len(skipped)
    live = trained[trained["champion"]].drop_duplicates(KEY).set_index(KEY)["model"]
    chosen = fitted.chosen.set_index(KEY)["model"]
    judged = [key for key in chosen.index if key in live.index]
    assert len(judged) > 5
    assert all(chosen[key] == live[key] for key in judged)


def test_predict_says_what_forecast_says(fitted: api.Fitted, file: Path, config: str) -> None:
    out = file.with_name("forecast")
    forecast.fn(config, [str(file)], str(out), horizon="36h", quantiles="0.5,0.75")
    written = table_of(out, FORECASTS.name)
    told = api.predict(fitted, horizon="36h", quantiles=(0.05, 0.75, 0.99))
    assert list(told.columns) == [
        "workload", "metric", "ts", "q05", "q75", "q99", "model", "confidence",
    ]  # fmt: skip
    same(told, written)
    assert told["ts"].min() == fitted.end == END


def test_score_says_what_score_says(samples: pd.DataFrame, file: Path, config: str) -> None:
    out = file.with_name("scored")
    score.fn(config, [str(file)], str(out), train_until=UNTIL.isoformat())
    scored = api.score(samples, train_until=UNTIL, config=CONFIG)
    ours = ("run_id", "model_version")
    same(scored.scores, table_of(out, SCORES.name), but=ours)
    same(scored.leaks, table_of(out, LEAKS.name), but=ours)
    incidents = table_of(out, INCIDENTS.name)
    lists = ("workloads", "causes")
    same(scored.incidents, incidents, but=(*ours, *lists))
    skipped = table_of(out, SKIPS.name)
    assert len(scored.skips) == len(skipped)
    if len(skipped):
        same(scored.skips, skipped)
    assert scored.scores["ts"].min() >= UNTIL


def test_backtest_says_what_backtest_says(samples: pd.DataFrame, file: Path, config: str) -> None:
    out = file.with_name("tested")
    said = backtest.fn(config, [str(file)], str(out))
    found = api.backtest(samples, config=CONFIG)
    same(found.table, table_of(out, BACKTEST.name))
    verbs = pd.DataFrame(said["rows"])
    pd.testing.assert_frame_equal(
        found.summary.drop(columns="seconds"), verbs.drop(columns="seconds"), check_exact=True
    )
    assert found.skips["reason"].value_counts().to_dict() == said["skipped"]
    fewer = api.backtest(samples, origins=1, horizon="24h", config=CONFIG)
    assert set(fewer.table["horizon_s"]) == {86400.0}
    assert len(set(fewer.table["origin"])) == 1


def test_replay_says_what_replay_says(samples: pd.DataFrame, file: Path) -> None:
    knobs = {**CONFIG, "evaluate": {"window_days": 2}}
    path = file.with_name("replay.yaml")
    path.write_text(yaml.safe_dump(knobs))
    said = replay.fn(str(path), [str(file)], str(file.with_name("replayed")), weeks=2)
    found = api.replay(samples, weeks=2, config=knobs)
    rows = pd.DataFrame(said["rows"])
    is_advice = rows["policy"] == "advice"
    is_total = rows["workload"] == "*"
    for mine, verbs in (
        (found.totals, rows[is_total]),
        (found.workloads, rows[~is_total & ~is_advice]),
        (found.verdicts, rows[is_advice]),
    ):
        numbers = mine.select_dtypes("number").columns
        assert len(numbers) > 3
        np.testing.assert_array_equal(
            mine[numbers].to_numpy(float), verbs[numbers].astype(float).to_numpy()
        )
    assert found.totals["policy"].tolist() == rows.loc[is_total, "policy"].tolist()
    assert found.verdicts["verdict"].tolist() == rows.loc[is_advice, "verdict"].tolist()


# ---- data, however they come


def test_however_samples_come_the_numbers_are_the_same(
    fitted: api.Fitted, samples: pd.DataFrame
) -> None:
    wanted = api.predict(fitted, horizon="6h")
    named = samples.drop(columns="workload").astype({"name": "str", "metric": "object"})
    shuffled = named.sample(frac=1.0, random_state=1)
    panel = api.Panel.from_frame(samples, aggregates=None)
    for data in (shuffled, samples[["workload", "metric", "ts", "value"]], panel):
        told = api.predict(api.fit(data, config=CONFIG), horizon="6h")
        same(told, wanted)


def test_read_gives_workloads_and_blanks_what_cannot_be_true(tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text(
        "namespace,name,metric,ts,value\n"
        "shop,web,cpu_usage_cores,2026-05-01T00:00Z,-1\n"
        "shop,web,cpu_usage_cores,2026-05-01T00:05Z,2\n"
    )
    frame = api.read(path)
    assert frame["workload"].tolist() == ["default/shop/Workload/web"] * 2
    np.testing.assert_array_equal(frame["value"], [np.nan, 2.0])
    lenient = {"metrics": {"cpu_usage_cores": {"minimum": -5}}}
    np.testing.assert_array_equal(api.read(path, config=lenient)["value"], [-1.0, 2.0])


def test_until_hides_what_comes_after(samples: pd.DataFrame) -> None:
    cut = END - pd.Timedelta(2, "D")
    early = api.fit(samples[samples["ts"] < cut], config=CONFIG)
    told = api.fit(samples, until=str(cut), config=CONFIG)
    assert told.end == early.end == cut
    same(api.predict(told, horizon="3h"), api.predict(early, horizon="3h"))


def test_a_forecast_may_begin_later_and_be_told_less_often(fitted: api.Fitted) -> None:
    every = api.predict(fitted, horizon="12h", quantiles=[0.9])
    later = api.predict(fitted, horizon="6h", start=END + pd.Timedelta(6, "h"), quantiles=[0.9])
    same(later, every[every["ts"] >= END + pd.Timedelta(6, "h")])
    hourly = api.predict(fitted, horizon=pd.Timedelta(12, "h"), step="1h", quantiles=[0.9])
    same(hourly, every[every["ts"].dt.minute == 0])
    assert hourly["ts"].nunique() == 12


# ---- a user's own models


class LastValue:
    """The last value for ever."""

    name = "last_value"

    def fit(self, panel: api.Panel) -> api.Baselines:
        filled = pd.DataFrame(panel.values).ffill(axis=1).to_numpy()
        return api.Baselines(self.name, panel.keys, {"last": filled[:, -1]})

    def predict(
        self, baselines: api.Baselines, start: pd.Timestamp, n_steps: int, quantiles: Any
    ) -> np.ndarray:
        assert start.tz is not None
        last = baselines.arrays["last"][None, :, None]
        return np.broadcast_to(last, (len(quantiles), last.shape[1], n_steps)).copy()


class Distance:
    """How far from what is expected."""

    name = "distance"

    def fit(self, panel: api.Panel, expected: np.ndarray) -> api.Baselines:
        spread = np.nanstd(panel.values - expected, axis=1)
        return api.Baselines(self.name, panel.keys, {"spread": np.where(spread > 0, spread, 1.0)})

    def score(self, baselines: api.Baselines, panel: api.Panel, expected: np.ndarray) -> np.ndarray:
        return np.abs(panel.values - expected) / baselines.arrays["spread"][:, None]


def test_a_forecaster_of_ones_own_is_judged_beside_the_others(samples: pd.DataFrame) -> None:
    constant = samples.assign(value=5.0)[samples["metric"] == "cpu_usage_cores"]
    found = api.backtest(constant, forecasters=["seasonal_naive", LastValue()], config=CONFIG)
    scores = found.summary.set_index("model")["wape"]
    assert scores["last_value"] == scores["seasonal_naive"] == 0.0
    fitted = api.fit(constant, forecasters=[LastValue()], config=CONFIG)
    assert fitted.names == ("seasonal_naive", "last_value")
    told = api.predict(fitted, horizon="2h")
    assert (told["q50"] == 5.0).all()


def test_a_detector_of_ones_own_scores_beside_the_band(samples: pd.DataFrame) -> None:
    cpu = samples[samples["metric"] == "cpu_usage_cores"].copy()
    odd = cpu["ts"] == END - pd.Timedelta(2, "h")
    cpu.loc[odd, "value"] = 1e4
    found = api.score(
        cpu, train_until=END - pd.Timedelta(6, "h"), detectors=["band", Distance()], config=CONFIG
    )
    assert set(found.scores["detector"].unique()) == {"band", "distance"}
    mine = found.scores[found.scores["detector"] == "distance"]
    worst = mine.loc[mine.groupby("workload", observed=True)["score"].idxmax()]
    assert (worst["ts"] == END - pd.Timedelta(2, "h")).all()
    assert (worst["score"] > 1).all()


# ---- errors name the thing and what to do


def frame_of(**columns: Any) -> pd.DataFrame:
    ts = pd.date_range("2026-05-01", periods=48, freq="h", tz="UTC")
    return pd.DataFrame({"name": "web", "metric": "requests", "ts": ts, "value": 1.0, **columns})


NAIVE = pd.date_range("2026-05-01", periods=48, freq="h")


@pytest.mark.parametrize(
    ("frame", "word"),
    [
        (frame_of().drop(columns="name"), "'name'"),
        (frame_of().drop(columns="ts"), "'ts'"),
        (frame_of(ts=NAIVE), "time zone"),
        (frame_of(ts=NAIVE.astype(str)), "UTC timestamp"),
        (frame_of(value="many"), "'value'"),
        (frame_of(value=np.nan), "finite"),
        (frame_of(name=None), "'name'"),
        (frame_of(node="a"), "'node'"),
        (frame_of().rename(columns={"name": "workload"}).assign(metric=None), "'metric'"),
        (frame_of()[:0], "none of the 0 rows"),
    ],
)
def test_a_broken_frame_is_named(frame: pd.DataFrame, word: str) -> None:
    with pytest.raises(api.FrameError, match=word):
        api.fit(frame)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"config": {"forecast": {"modles": []}}}, "did you mean 'models'"),
        ({"config": "nowhere.yaml"}, "no such configuration"),
        ({"forecasters": "prophet"}, "expected a list"),
        ({"forecasters": ["profet"]}, "profet"),
        ({"forecasters": [LastValue]}, "class LastValue"),
        ({"forecasters": [object()]}, "Forecaster"),
        ({"forecasters": [LastValue(), LastValue()]}, "taken"),
        ({"forecasters": ["no_such_module:Model"]}, "no_such_module"),
        ({"until": "yesterday"}, "until: expected a moment"),
        ({"until": "2020-01-01"}, "no samples"),
    ],
)
def test_a_wrong_argument_is_named(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(api.ForetideError, match=words):
        api.fit(frame_of(), **asked)


def test_wrong_arguments_of_the_others_are_named(fitted: api.Fitted) -> None:
    frame = frame_of()
    for call, words in (
        (lambda: api.predict(fitted, horizon="soon"), "horizon: expected a length"),
        (lambda: api.predict(fitted, step="45min"), "multiple of the fitted"),
        (lambda: api.predict(fitted, quantiles=(0.5, 1.0)), "quantiles"),
        (lambda: api.predict(fitted, quantiles=()), "quantiles"),
        (lambda: api.predict(fitted, start="2026-01-01"), "start"),
        (lambda: api.backtest(frame, horizon="1h"), "horizon_h"),
        (lambda: api.backtest(frame, origins=-1), "origins"),
        (lambda: api.backtest(frame), "nothing can be backtested"),
        (lambda: api.score(frame, train_until="2027-01-01"), "nothing to score"),
        (lambda: api.score(frame, train_until=NAIVE[9], start=NAIVE[1]), "cannot be scored"),
        (lambda: api.score(frame, train_until=NAIVE[9], detectors=["together"]), "band"),
        (lambda: api.replay(frame, weeks=0), "weeks"),
        (lambda: api.replay(frame), "nothing can be replayed"),
        (lambda: api.replay(frame, hpa="nowhere.yaml"), "nowhere.yaml"),
        (api.read, "got none"),
    ):
        with pytest.raises(api.ForetideError, match=words):
            call()


# ---- nothing is left, nothing is needed

ALONE = """
import json, sys
for name in ("mlflow", "prefect"):
    sys.modules[name] = None  # importing it fails
from pipelines import api
few = {"forecast": {"models": ["seasonal_naive", "seasonal_day"]}, "history": {"days": 12}}
samples = api.read(sys.argv[1])
samples = samples[samples["metric"] == "cpu_usage_cores"]
told = api.predict(api.fit(samples, config=few), horizon="2h")
scored = api.score(samples, train_until="2026-05-24T12:00", config=few)
print(json.dumps([len(told), len(scored.scores)]))
"""


def test_without_tracker_and_orchestrator_and_nothing_stays(file: Path, tmp_path: Path) -> None:
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, str(file)],
        cwd=here,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    forecasts, scores = json.loads(done.stdout)
    assert forecasts == 2 * 4
    assert scores > 0
    assert [*here.iterdir(), *temporary.iterdir()] == []


def test_a_scoring_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(api.ForetideError, match="nothing could be scored"):
        api.score(frame_of()[:20], train_until="2026-05-01T01:00")
    assert list(tmp_path.iterdir()) == []
