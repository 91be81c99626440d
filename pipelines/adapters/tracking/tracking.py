"""MLflow: one registered model a family, every version one bundle of all workloads.

Only clients are used, never the thread's active run, so that several threads can log at once. A
version becomes ``champion`` only after its files were read back from the registry and scored.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.adapters.tracking.connection import connected, found_or_made, or_none, shown
from pipelines.adapters.tracking.example import Example, signature_of
from pipelines.adapters.tracking.fetching import part_of, whole
from pipelines.adapters.tracking.version import CHAMPION, ModelVersion, version_of
from pipelines.errors import ModelError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["Tracking", "artifacts_place"]

_BUNDLE = "bundle"
_HISTORY = "foretide.champions"
_LONGEST_HISTORY = 100


@dataclass(frozen=True, slots=True)
class Tracking:
    """An MLflow tracking server and registry.

    Parameters
    ----------
    uri : ``sqlite:///…``, ``postgresql://…`` or ``http://…``
    experiment : its name; created when it is not there
    prefix : registered models are called ``<prefix>-<family>``
    artifacts : where a *new* experiment keeps its files; nothing means the server's own place
    """

    uri: str
    experiment: str
    prefix: str
    artifacts: str | None = None

    def log_bundle(
        self,
        family: str,
        folder: Path,
        *,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        loader_module: str,
        check: Callable[[Path], None],
        example: Example | None = None,
        beside: Path | None = None,
    ) -> ModelVersion:
        """Log a folder as the family's next version; no alias moves.

        It is logged as a pyfunc that ``loader_module`` reads: nothing in it is pickled.
        ``check`` gets the files as they come back from the registry and raises if they do not load
        and score: such a version must not be promoted. ``example`` gives the signature and the
        input example, ``beside`` a folder of tables that belong to the version.

        Raises
        ------
        ModelError
            MLflow cannot be reached or refused, or the round trip failed.
        """
        with (
            connected(self.uri) as client,
            _started(client, self._experiment_id(client), {**tags, "family": family}) as run,
        ):
            run_id = run.info.run_id
            for key, value in params.items():
                client.log_param(run_id, key, value)
            for key, value in metrics.items():
                client.log_metric(run_id, key, value)
            _log_model(client, run_id, folder, loader_module, example)
            if beside is not None:
                client.log_artifacts(run_id, str(beside), f"{_BUNDLE}/{beside.name}")
            name = self._name(family)
            found_or_made(
                lambda: client.get_registered_model(name),
                lambda: client.create_registered_model(name),
            )
            made = client.create_model_version(
                name, f"{run.info.artifact_uri}/{_BUNDLE}", run_id, tags=dict(tags)
            )
            version = ModelVersion(family, str(made.version), run_id, str(made.source), tags)
            with self.files(version) as back:
                check(back)
        return version

    def champion(self, family: str) -> ModelVersion | None:
        """The family's live version, or nothing if none was ever promoted.

        Of the two families together: ``pipelines.pairs.live_pair``.
        """
        return self.holder(family, CHAMPION)

    def holder(self, family: str, alias: str) -> ModelVersion | None:
        """The version that an alias points at. Asking makes no database where there is none."""
        local = self.uri.removeprefix("sqlite:///").partition("?")[0]
        if self.uri.startswith("sqlite:///") and not Path(local).exists():
            return None
        with connected(self.uri) as client:
            found = or_none(lambda: client.get_model_version_by_alias(self._name(family), alias))
        return None if found is None else version_of(family, found)

    def versions(self, family: str) -> list[ModelVersion]:
        """All versions, newest first."""
        return self._search(family, "")

    def tagged(self, family: str, key: str, value: str) -> list[ModelVersion]:
        """The versions with a tag, newest first."""
        if not all(c.isalnum() or c in "-_.:+" for c in key + value):
            return [v for v in self.versions(family) if v.tags.get(key) == value]
        return self._search(family, f" AND tags.`{key}`='{value}'")

    def figures(self, version: ModelVersion) -> dict[str, float]:
        """What was measured when the version was made; nothing where its run was deleted."""
        with connected(self.uri) as client:
            run = or_none(lambda: client.get_run(version.run_id))
        return {} if run is None else dict(run.data.metrics)

    def promote(self, family: str, version: str, alias: str = CHAMPION) -> None:
        """Point an alias at a version.

        Raises
        ------
        ModelError
            There is no such version.
        """
        with connected(self.uri) as client:
            name = self._name(family)
            if or_none(lambda: client.get_model_version(name, version)) is None:
                raise ModelError(f"{name}: there is no version {version}")
            client.set_registered_model_alias(name, alias, version)

    def drop(self, version: ModelVersion, alias: str) -> None:
        """Take an alias away, if it points at this version."""
        held = self.holder(version.family, alias)
        if held is not None and held.version == version.version:
            with connected(self.uri) as client:
                client.delete_registered_model_alias(self._name(version.family), alias)

    def note(self, version: ModelVersion, key: str, value: str) -> None:
        """Write a tag on a version."""
        with connected(self.uri) as client:
            client.set_model_version_tag(self._name(version.family), version.version, key, value)

    def history(self, family: str) -> tuple[str, ...]:
        """The versions that were champion one after the other, as far as was written."""
        with connected(self.uri) as client:
            model = or_none(lambda: client.get_registered_model(self._name(family)))
        try:
            told = json.loads(model.tags.get(_HISTORY, "[]")) if model is not None else []
        except ValueError:
            return ()
        return tuple(str(v) for v in told) if isinstance(told, list) else ()

    def write_history(self, family: str, versions: tuple[str, ...]) -> None:
        """Keep the versions that were champion, the newest last."""
        told = json.dumps(versions[-_LONGEST_HISTORY:])
        with connected(self.uri) as client:
            client.set_registered_model_tag(self._name(family), _HISTORY, told)

    def files(self, version: ModelVersion) -> AbstractContextManager[Path]:
        """The version's model folder, to be read: where it lies, or a copy that goes away."""
        return whole(self.uri, version)

    def part(self, version: ModelVersion, part: str, check: Callable[[Path], None]) -> Path:
        """One file or folder of it, where it lies or as it was fetched (``fetching.part_of``)."""
        return part_of(self.uri, version, part, check)

    @property
    def shown(self) -> str:
        """The address without its password."""
        return shown(self.uri)

    def _search(self, family: str, more: str) -> list[ModelVersion]:
        found: list[Any] = []
        with connected(self.uri) as client:
            token = None
            while True:
                page = client.search_model_versions(
                    f"name='{self._name(family)}'{more}", page_token=token
                )
                found += page
                token = page.token
                if not token:
                    break
        return sorted((version_of(family, v) for v in found), key=lambda v: -int(v.version))

    def _experiment_id(self, client: MlflowClient) -> str:
        def found() -> str | None:
            there = client.get_experiment_by_name(self.experiment)
            return None if there is None else str(there.experiment_id)

        def made() -> str:
            return client.create_experiment(self.experiment, artifact_location=self.artifacts)

        return str(found_or_made(found, made))

    def _name(self, family: str) -> str:
        return f"{self.prefix}-{family}"


def artifacts_place(uri: str, store: str) -> str | None:
    """Where a new experiment's files go: a server knows; else beside an SQLite file, or in the
    store. MLflow itself would put a database's files where we happen to run.
    """
    if uri.startswith(("http://", "https://")):
        return None
    if uri.startswith("sqlite:///"):
        file = Path(uri.removeprefix("sqlite:///").partition("?")[0])
        return (file.resolve().parent / "mlartifacts").as_uri()
    root = store.rstrip("/") if "://" in store else Path(store).resolve().as_uri()
    return f"{root}/mlartifacts"


@contextmanager
def _started(client: MlflowClient, experiment_id: str, tags: dict[str, str]) -> Generator[Any]:
    """A run that is told how it ended: one that is left open looks for ever as if it still ran."""
    run = client.create_run(experiment_id, tags=tags)
    try:
        yield run
    except BaseException:
        with suppress(Exception):  # what went wrong matters more
            client.set_terminated(run.info.run_id, "FAILED")
        raise
    client.set_terminated(run.info.run_id)


def _log_model(
    client: MlflowClient, run_id: str, folder: Path, loader_module: str, example: Example | None
) -> None:
    """Log the model with an empty data folder, then the data: gigabytes are copied once."""
    import mlflow.pyfunc

    told: dict[str, Any] = {}
    if example is not None:
        told = {"signature": signature_of(example), "input_example": example.asked}
    with tempfile.TemporaryDirectory(prefix="foretide-model-") as made:
        model, nothing = Path(made) / _BUNDLE, Path(made) / folder.name
        nothing.mkdir()
        mlflow.pyfunc.save_model(
            model,
            loader_module=loader_module,
            data_path=str(nothing),
            pip_requirements=[f"foretide=={metadata.version('foretide')}"],
            **told,
        )
        client.log_artifacts(run_id, str(model), _BUNDLE)
    client.log_artifacts(run_id, str(folder), f"{_BUNDLE}/data/{folder.name}")
