"""MLflow: versions go up, the alias moves only after a round trip, rolling back is one write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.adapters.tracking import ModelVersion, Tracking
from pipelines.adapters.tracking.connection import connected, found_or_made
from pipelines.errors import ModelError

pytestmark = [
    # mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    root = tmp_path_factory.mktemp("mlflow")
    return Tracking(f"sqlite:///{root}/mlflow.db", "test", "t", (root / "artifacts").as_uri())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "meta.json").write_text('{"a": 1}')
    return folder


def log(
    tracking: Tracking, family: str, bundle: Path, check: Callable[[Path], None]
) -> ModelVersion:
    version = tracking.log_bundle(
        family,
        bundle,
        params={"history_days": "28"},
        metrics={"wape": 0.1},
        tags={"run_id": "r1"},
        loader_module="pipelines.registry",
        check=check,
    )
    tracking.promote(family, version.version)
    return version


def accept(_: Path) -> None:
    return None


def test_no_version_is_an_answer(tracking: Tracking) -> None:
    assert tracking.champion("nobody") is None
    assert tracking.versions("nobody") == []


def test_a_version_comes_back_as_it_was_logged(tracking: Tracking, bundle: Path) -> None:
    seen: list[str] = []

    def check(model: Path) -> None:
        seen.extend(sorted(p.name for p in model.rglob("meta.json")))

    version = log(tracking, "forecaster", bundle, check)
    champion = tracking.champion("forecaster")
    assert seen == ["meta.json"]
    assert champion is not None
    assert champion.version == version.version
    with tracking.files(champion) as model:
        assert [p.read_text() for p in model.rglob("meta.json")] == ['{"a": 1}']


def test_a_version_that_does_not_load_never_goes_live(tracking: Tracking, bundle: Path) -> None:
    good = log(tracking, "detector", bundle, accept)

    def refuse(model: Path) -> None:
        raise ModelError(f"{model.name} does not score")

    with pytest.raises(ModelError, match="does not score"):
        log(tracking, "detector", bundle, refuse)
    champion = tracking.champion("detector")
    assert champion is not None
    assert champion.version == good.version


def test_of_two_that_begin_at_once_the_slower_finds_what_the_faster_made(
    tracking: Tracking, bundle: Path
) -> None:
    log(tracking, "twice", bundle, accept)
    with connected(tracking.uri) as client:
        late = [None]  # what the slower one was told when it asked
        model = found_or_made(
            lambda: late.pop() if late else client.get_registered_model("t-twice"),
            lambda: client.create_registered_model("t-twice"),
        )
        late = [None]
        experiment = found_or_made(
            lambda: late.pop() if late else client.get_experiment_by_name("test"),
            lambda: client.create_experiment("test"),
        )
    assert model.name == "t-twice"
    assert experiment.name == "test"


def test_its_run_is_told_how_it_ended(tracking: Tracking, bundle: Path) -> None:
    def refuse(_: Path) -> None:
        raise ModelError("no")

    log(tracking, "ended", bundle, accept)
    with pytest.raises(ModelError, match="no"):
        log(tracking, "ended", bundle, refuse)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=tracking.uri)
    runs = [client.get_run(v.run_id) for v in tracking.versions("ended")]
    assert [r.info.status for r in runs] == ["FAILED", "FINISHED"]


def test_rolling_back_is_promoting_the_older_one(tracking: Tracking, bundle: Path) -> None:
    first = log(tracking, "rollback", bundle, accept)
    second = log(tracking, "rollback", bundle, accept)
    assert int(second.version) == int(first.version) + 1
    tracking.promote("rollback", first.version)
    champion = tracking.champion("rollback")
    assert champion is not None
    assert champion.version == first.version
    with pytest.raises(ModelError, match="no version 99"):
        tracking.promote("rollback", "99")


def test_nothing_in_a_version_is_pickled(tracking: Tracking, bundle: Path) -> None:
    version = log(tracking, "plain", bundle, accept)
    with tracking.files(version) as model:
        assert not [p for p in model.rglob("*") if p.suffix in {".pkl", ".pickle", ".joblib"}]


def test_a_broken_registry_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no database, and long enough to be read" * 99)
    broken = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "test", "t")
    with pytest.raises(ModelError, match=r"mlflow\.db: .*not a database"):
        broken.champion("forecaster")


def test_a_password_is_not_shown() -> None:
    broken = Tracking("mysql+nodriver://user:hunter2@127.0.0.1/db", "test", "t")
    with pytest.raises(ModelError) as caught:
        broken.champion("forecaster")
    assert "hunter2" not in str(caught.value)
