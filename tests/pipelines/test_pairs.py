"""Forecaster and detector of one training go live together, whoever dies in between; and what a
registry says of code is never run."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml

from pipelines.adapters.tracking import CHALLENGER, ModelVersion, Tracking, score_example
from pipelines.errors import ModelError
from pipelines.pairs import (
    FAMILIES,
    Pair,
    challenge,
    crown,
    live_pair,
    pair_of,
    same_training,
    step_back,
)

pytestmark = [
    # mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LOADER = "pipelines.registry"
Made = Callable[..., Pair]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    root = tmp_path_factory.mktemp("pairs")
    return Tracking(f"sqlite:///{root}/mlflow.db", "test", "t", (root / "artifacts").as_uri())


@pytest.fixture
def tracking(shared: Tracking, request: pytest.FixtureRequest) -> Tracking:
    """Registered models of the test's own."""
    return replace(shared, prefix=request.node.name.replace("_", "-").replace("[", "-").strip("]"))


@pytest.fixture
def made(tracking: Tracking, tmp_path: Path) -> Made:
    """One training's versions."""
    (tmp_path / "bundle.json").write_text("{}")

    def make(training: str, families: tuple[str, ...] = FAMILIES) -> Pair:
        return tuple(
            tracking.log_bundle(
                family, tmp_path, params={}, metrics={},
                tags={"training": training, "run_id": "same"},
                loader_module=LOADER, check=lambda _: None,
            )
            for family in families
        )  # fmt: skip

    return make


def numbers(pair: tuple[ModelVersion | None, ...]) -> list[str | None]:
    return [None if v is None else v.version for v in pair]


def test_a_pair_is_found_from_either_version(tracking: Tracking, made: Made) -> None:
    first, second = made("a"), made("b")
    for version in second:
        assert numbers(pair_of(tracking, version)) == numbers(second)
    assert same_training(list(first))
    assert not same_training([first[0], second[1]])


def test_dying_between_the_two_aliases_leaves_a_pair_that_belongs_together(
    tracking: Tracking, made: Made
) -> None:
    first, second, third = made("a"), made("b"), made("c")
    crown(tracking, first)
    tracking.promote("forecaster", second[0].version)  # and then the lights went out
    assert numbers(live_pair(tracking)) == numbers(second)
    crown(tracking, third)
    assert [tracking.champion(f) for f in FAMILIES] == list(live_pair(tracking))
    assert numbers(live_pair(tracking)) == numbers(third)


def test_of_two_trainings_at_once_one_wins_whole(tracking: Tracking, made: Made) -> None:
    pairs = [made(str(i)) for i in range(4)]
    crown(tracking, pairs[0])
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(crown, tracking, p) for p in pairs]:
            done.result()
    live = live_pair(tracking)
    assert live[0] is not None
    assert same_training(list(live))
    assert [tracking.champion(f) for f in FAMILIES] == list(live)


def test_who_was_overtaken_between_its_writes_follows(tracking: Tracking, made: Made) -> None:
    """The first moved the forecaster, the second moved both; then the first goes on."""
    first, second = made("a"), made("b")
    crown(tracking, second)
    tracking.promote("detector", first[1].version)
    assert numbers(live_pair(tracking)) == numbers(second)


def test_a_challenger_is_none_any_more_once_it_is_live(tracking: Tracking, made: Made) -> None:
    first, second = made("a"), made("b")
    challenge(tracking, first)
    crown(tracking, first)
    assert [tracking.holder(f, CHALLENGER) for f in FAMILIES] == [None, None]
    challenge(tracking, second)
    crown(tracking, first)  # someone else's challenger stays
    assert numbers(tuple(tracking.holder(f, CHALLENGER) for f in FAMILIES)) == numbers(second)


def test_a_version_without_its_mate_stays_out(tracking: Tracking, made: Made) -> None:
    crown(tracking, made("a"))
    alone = made("b", ("forecaster",))
    with pytest.raises(ModelError, match="its training has no detector"):
        crown(tracking, alone)
    assert numbers(live_pair(tracking)) == ["1", "1"]


def test_history_forgets_what_was_rolled_back(tracking: Tracking, made: Made) -> None:
    pairs = [made(name) for name in "abc"]
    for pair in pairs:
        crown(tracking, pair)
    crown(tracking, pairs[2])  # again: nothing new
    assert tracking.history("forecaster") == ("1", "2", "3")
    step_back(tracking, pairs[1])
    assert tracking.history("forecaster") == ("1", "2")
    assert numbers(live_pair(tracking)) == ["2", "2"]


@dataclass(frozen=True)
class Overtaken(Tracking):
    """Another training goes live just before the first writing of who was champion."""

    other: list[Pair] = field(default_factory=list)

    def write_history(self, family: str, versions: tuple[str, ...]) -> None:
        plain = Tracking(self.uri, self.experiment, self.prefix, self.artifacts)
        if self.other:
            crown(plain, self.other.pop())
        plain.write_history(family, versions)


def test_who_was_live_for_a_moment_is_not_forgotten(tracking: Tracking, made: Made) -> None:
    first, second, third = (made(name) for name in "abc")
    crown(tracking, first)
    told = (tracking.uri, tracking.experiment, tracking.prefix, tracking.artifacts)
    crown(Overtaken(*told, [second]), third)
    assert numbers(live_pair(tracking)) == ["3", "3"]
    assert tracking.history("forecaster") == ("1", "2", "3")


class Evil:
    """What unpickling it would do."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize(
    "change",
    [{"loader_module": "evil"}, {"python_model": "python_model.pkl"}, {"code": "code"},
     {"data": "../../elsewhere"}, {"loader_module": "mlflow.pyfunc.model"}],
    ids=["loader", "pickle", "code", "escape", "mlflow"],
)  # fmt: skip
def test_a_version_that_would_run_other_code_is_refused_before_it_runs(
    tracking: Tracking, made: Made, tmp_path: Path, change: dict[str, str]
) -> None:
    version = made("a")[0]
    mark = tmp_path / "it-ran"
    with tracking.files(version) as model:
        (model / "code").mkdir()
        (model / "code" / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
        (model / "python_model.pkl").write_bytes(pickle.dumps(Evil(mark)))
        told = yaml.safe_load((model / "MLmodel").read_text())
        told["flavors"]["python_function"] |= change
        told["saved_input_example_info"] = {"artifact_path": "input_example.json"}
        (model / "MLmodel").write_text(yaml.safe_dump(told))
        with pytest.raises(ModelError, match=r"refused: .* other code"):
            score_example(model, LOADER, version.label)
    assert not mark.exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "flavors: {}", "a: &a [*a]", "!!python/object:os.x {}"]
)
def test_a_damaged_mlmodel_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(ModelError, match="MLmodel file is damaged"):
        score_example(tmp_path, LOADER, "forecaster/1")


def test_a_folder_that_leads_out_of_the_version_is_refused(tracking: Tracking, made: Made) -> None:
    version = made("a")[0]
    for part in ("../../../..", "/etc/passwd", "data/../../.."):
        with pytest.raises(ModelError, match="leads out"):
            tracking.part(version, part, lambda _: None)
