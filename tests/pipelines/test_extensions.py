"""Classes of a user's own: found where the page says, refused in one clear line, held to shapes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from features.metrics import Catalog, Metric
from features.panel import Floats, Panel
from models.base import Baselines, Detector, Forecaster
from models.budgeted import Budgeted, BudgetedParams
from pipelines.adapters.source import Chunk, Estimate, FetchReport, Source, Spec, Window
from pipelines.detecting import learn_detectors
from pipelines.doctor.own import check_own
from pipelines.errors import ConfigError, ModelError, QueryFailed, SourceUnreachable
from pipelines.extensions import CheckedDetector, CheckedForecaster, CheckedSource, own_detectors
from pipelines.learning import forecasters
from pipelines.plugins import load
from pipelines.settings import Settings, load_settings
from pipelines.settings_names import FORECASTERS

GOOD = """
import numpy as np
from models.base import Baselines
from pipelines.adapters.source import Estimate

class Flat:
    name = "flat"
    def fit(self, panel): return Baselines("", panel.keys, {"n": np.zeros(panel.n_series)})
    def predict(self, baselines, start, n_steps, quantiles):
        return np.zeros((len(quantiles), len(baselines.keys), n_steps))

class Prophet(Flat):
    name = "prophet"

class Slash(Flat):
    name = "../flat"

class Short(Flat):
    def predict(self, baselines, start): ...

class Values:
    name = "values"
    def fit(self, panel, expected): return Baselines("", panel.keys, {})
    def score(self, baselines, panel, expected): return panel.values

class Empty:
    def __init__(self, word): assert word == "yes", "say yes"
    def estimate(self, spec, window): return Estimate()
    def fetch(self, spec, window): return iter(())

NUMBER = 7
"""
START = pd.Timestamp("2026-03-02", tz="UTC").as_unit("ms")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Modules ``own_good`` and ``own_broken``."""
    (tmp_path / "own_good.py").write_text(GOOD)
    (tmp_path / "own_broken.py").write_text("1 / 0\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield str(tmp_path)
    for name in ("own_good", "own_broken"):
        sys.modules.pop(name, None)


def panel_of(values: Floats) -> Panel:
    keys = pd.DataFrame(
        {"workload": [f"c/n/Deployment/{i}" for i in range(len(values))], "metric": "load"},
        dtype="str",
    )
    return Panel(keys, START, pd.Timedelta("15min"), np.asarray(values, dtype=np.float64))


NOISE = np.random.default_rng(0).normal(10, 1, (3, 96 * 14))


def settings_of(folder: str, **sections: Any) -> Settings:
    return Settings(extensions_path=folder, **sections)


def test_a_file_is_found_only_where_the_path_says(folder: str) -> None:
    with pytest.raises(ConfigError, match="extensions_path names no folder"):
        load("own_good:Flat", Forecaster)
    assert load("own_good:Flat", Forecaster, folder).name == "flat"
    assert sys.path[-1] == str(Path(folder).resolve())  # last: nothing installed is hidden


@pytest.mark.parametrize(
    ("spec", "what", "expected", "got"),
    [
        ("own_good", Forecaster, "package.module:Class", "own_good"),
        ("own_nowhere:Flat", Forecaster, "module own_nowhere", "No module named"),
        ("own_broken:Flat", Forecaster, "module own_broken", "ZeroDivisionError"),
        ("own_good:Steep", Forecaster, "a class Steep", "nothing of that name"),
        ("own_good:NUMBER", Forecaster, "a class NUMBER", "int"),
        ("own_good:Values", Forecaster, "a Forecaster with name, fit, predict", "without predict"),
        ("own_good:Flat", Detector, "a Detector with name, fit, score", "without score"),
        ("own_good:Flat", Source, "a Source with estimate, fetch", "without estimate, fetch"),
        ("own_good:Short", Forecaster, "predict(baselines, start, n_steps, quantiles)", "too many"),
        ("own_good:Empty", Source, "made with no arguments", "word"),
    ],
)
def test_what_is_no_such_class_is_refused_in_one_line(
    folder: str, spec: str, what: type, expected: str, got: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load(spec, what, folder)
    text = str(refused.value)
    assert spec in text
    assert expected in text
    assert got in text
    assert "\n" not in text


def test_a_path_that_is_no_folder_is_named(folder: str) -> None:
    with pytest.raises(ConfigError, match=r"extensions_path: expected a folder, got .*nowhere"):
        load("own_good:Flat", Forecaster, f"{folder}/nowhere")


def test_a_source_is_made_with_its_options(folder: str) -> None:
    load("own_good:Empty", Source, folder, word="yes")
    with pytest.raises(ConfigError, match="say yes"):
        load("own_good:Empty", Source, folder, word="no")


@pytest.mark.parametrize("name", ["Prophet", "Slash"])
def test_a_name_that_is_taken_or_no_file_name_is_refused(folder: str, name: str) -> None:
    settings = settings_of(folder, forecast={"models": [f"own_good:{name}"]})
    with pytest.raises(ConfigError, match=f"own_good:{name}: "):
        forecasters(settings)


def test_twice_the_same_is_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match="'values' is taken"):
        own_detectors(settings_of(folder, detect={"detectors": ["band"] + ["own_good:Values"] * 2}))


def test_without_a_name_of_ones_own_it_is_as_it_was() -> None:
    settings = Settings()
    assert {f.name for f in forecasters(settings)} == {*settings.forecast.models}
    every = Settings(forecast={"models": FORECASTERS})
    assert [f.name for f in forecasters(every)] == list(FORECASTERS)
    assert own_detectors(settings) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("detect: {detectors: [isolation_forest]}", "expected band among them"),
        ("detect: {detectors: [band, bond]}", "'bond'"),
        ("detect: {detectors: [band, 'os.path']}", "package.module:Class"),
        ("source: {options: {a: 1}}", "options are for a kind of package.module:Class"),
        ("source: {kind: 'a b:C'}", "package.module:Class"),
        ("detect: {own: {alerts_per_month: 0}}", "alerts_per_month must be above 0"),
        ("detect: {own: {persistence_steps: 0}}", "persistence_steps"),
        ("detect: {own: {minimum_points: 3}}", "minimum_points"),
    ],
)
def test_the_configuration_refuses_what_is_no_name(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "foretide.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(told)):
        load_settings(file)


def test_the_doctor_tells_what_is_wrong_with_them(folder: str) -> None:
    def told(models: list[str]) -> list[tuple[str, str]]:
        return [
            (c.name, c.status) for c in check_own(settings_of(folder, forecast={"models": models}))
        ]

    assert told(["prophet"]) == []
    assert told(["own_good:Flat"]) == [("extensions", "ok")]
    assert told(["own_broken:Flat"]) == [("extensions", "fail")]


def test_options_are_not_shown() -> None:
    settings = Settings(source={"kind": "a:B", "options": {"token": "hush"}})
    assert "hush" not in repr(settings)


class Answers:
    """Whatever it was told to answer."""

    name = "answers"

    def __init__(self, answer: Any = None, learned: Any = None) -> None:
        self.answer, self.learned = answer, learned

    def _told(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    def fit(self, *_: Any) -> Any:
        return self._told(self.learned)

    def predict(self, *_: Any) -> Any:
        return self._told(self.answer)

    def score(self, *_: Any) -> Any:
        return self._told(self.answer)

    def estimate(self, *_: Any) -> Any:
        return self._told(self.answer)

    def fetch(self, *_: Any) -> Any:
        yield self._told(self.answer)


PANEL = panel_of(NOISE[:, :4])
NOTHING = Baselines("x", PANEL.keys, {})


@pytest.mark.parametrize(
    ("learned", "told"),
    [
        ({}, "expected Baselines; got dict"),
        (ValueError("no"), "fit failed: ValueError: no"),
        (Baselines("x", PANEL.keys, {"a": np.zeros(2)}), "expected 3 rows"),
        (Baselines("x", PANEL.keys, {"a": np.array([None] * 3)}), "got object"),
        (Baselines("x", PANEL.keys, {"../a": np.zeros(3)}), "'../a'"),
        (Baselines("x", PANEL.keys, {"foretide_line": np.zeros(3)}), "'foretide_line'"),
        (Baselines("x", PANEL.keys, {}, {"a": {1, 2}}), "meta that is JSON"),
    ],
)
def test_what_cannot_be_kept_as_plain_data_is_refused(learned: Any, told: str) -> None:
    forecaster = CheckedForecaster(Answers(learned=learned), "m:C")
    detector = CheckedDetector(Answers(learned=learned), "m:C")
    for fit in (forecaster.fit, lambda panel: detector.fit(panel, panel.values)):
        with pytest.raises(ModelError, match=re.escape(told)) as refused:
            fit(PANEL)
        assert str(refused.value).startswith("m:C: fit")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (np.zeros((3, 5)), "expected an array of shape (2, 3, 5); got (3, 5)"),
        (np.stack([np.ones((3, 5)), np.zeros((3, 5))]), "never cross"),
        (KeyError("k"), "predict failed: KeyError"),
    ],
)
def test_quantiles_that_are_none_are_refused(answer: Any, told: str) -> None:
    made = CheckedForecaster(Answers(answer), "m:C")
    with pytest.raises(ModelError, match=re.escape(told)):
        made.predict(NOTHING, START, 5, (0.1, 0.9))


@pytest.mark.parametrize(
    ("answer", "told"),
    [(np.zeros(3), "shape"), (np.full((3, 4), np.inf), "finite"), ("x", "score failed")],
)
def test_scores_that_are_none_are_refused(answer: Any, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        CheckedDetector(Answers(answer), "m:C").score(NOTHING, PANEL, PANEL.values)


def test_what_is_no_samples_table_is_refused_and_our_errors_stay() -> None:
    spec, window = Spec(Metric("load")), Window(0, 900_000, 900_000)

    def asked(answer: Any) -> Any:
        return list(CheckedSource(Answers(answer), "m:C").fetch(spec, window))

    for answer in ("x", Chunk(pa.table({"a": [1]}), window, FetchReport()), OSError("gone")):
        with pytest.raises(QueryFailed, match="m:C: fetch"):
            asked(answer)
    with pytest.raises(SourceUnreachable, match=r"^down$"):
        asked(SourceUnreachable("down"))
    with pytest.raises(QueryFailed, match="m:C: estimate: expected an Estimate"):
        CheckedSource(Answers(3), "m:C").estimate(spec, window)
    assert CheckedSource(Answers(Estimate()), "m:C").estimate(spec, window) == Estimate()


class Values:
    """A step's value is how odd it is."""

    name = "values"

    def fit(self, panel: Panel, expected: Floats) -> Baselines:
        assert expected.shape == panel.values.shape
        return Baselines(self.name, panel.keys, {})

    def score(self, baselines: Baselines, panel: Panel, expected: Floats) -> Floats:
        assert len(baselines.keys) == panel.n_series == len(expected)
        return panel.values


def scored(train: Floats, later: Floats, params: BudgetedParams | None = None) -> Floats:
    made = Budgeted(Values(), params)
    learned = made.fit(panel_of(train), train)
    return made.score(learned, panel_of(later), later).score


def test_scores_are_not_negative_rise_with_the_raw_score_and_know_no_unit() -> None:
    later = np.sort(np.random.default_rng(1).normal(10, 3, (3, 200)), axis=1)
    score = scored(NOISE, later)
    assert (score >= 0).all()
    assert (np.diff(score, axis=1) >= 0).all()
    np.testing.assert_allclose(scored(1000 * NOISE - 7, 1000 * later - 7), score, rtol=1e-9)


def test_a_clean_period_stays_within_the_budget_and_a_larger_budget_is_louder() -> None:
    fresh = np.random.default_rng(2).normal(10, 1, (3, 96 * 30))
    budgets = [BudgetedParams(alerts_per_month=a) for a in (0.2, 20.0)]
    quiet, loud = (scored(NOISE, fresh, b) >= 1 for b in budgets)
    told = (quiet[:, 1:] & quiet[:, :-1]).sum()
    assert told <= 3  # three workloads, a month, 0.2 events each, and chance
    assert loud.sum() > quiet.sum()


def test_who_said_the_same_throughout_scores_what_is_above_it_in_its_own_unit() -> None:
    score = scored(np.zeros((1, 500)), np.array([[0.0, 0.5, 2.0, -1.0, np.nan]]))
    np.testing.assert_array_equal(score, [[0.0, 1.5, 3.0, 0.0, np.nan]])


def test_too_few_points_and_strangers_have_no_score() -> None:
    assert np.isnan(scored(NOISE[:, :90], NOISE)).all()
    made = Budgeted(Values())
    learned = made.fit(panel_of(NOISE[:2]), NOISE[:2])
    told = made.score(learned, panel_of(NOISE), NOISE)
    assert np.isnan(told.score[2]).all()
    np.testing.assert_array_equal(told.score[:2], scored(NOISE[:2], NOISE[:2]))


def test_a_detector_more_changes_nothing_in_the_band(folder: str) -> None:
    panel, catalog = panel_of(NOISE), Catalog({"load": Metric("load")})
    alone, both = (
        learn_detectors(panel, NOISE, catalog, settings_of(folder, detect={"detectors": names}))
        for names in (["band"], ["band", "own_good:Values"])
    )
    assert list(alone) == ["band"]
    assert list(both) == ["band", "values"]
    for key, array in alone["band"].arrays.items():
        np.testing.assert_array_equal(array, both["band"].arrays[key])
