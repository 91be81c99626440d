"""MLflow: one registered model a family, every version one bundle of all workloads.

Only clients are used, never the thread's active run, so that several threads can log at once. A
version becomes ``champion`` only after its files were read back from the registry and scored.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pipelines.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Generator

    from mlflow.tracking import MlflowClient

__all__ = ["CHAMPION", "ModelVersion", "Tracking"]

CHAMPION = "champion"
_BUNDLE = "bundle"
_IMPORT = Lock()


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of one family, and where its files were put."""

    family: str
    version: str
    run_id: str
    source: str
    tags: Mapping[str, str]

    @property
    def label(self) -> str:
        """``forecaster/3``: how tables name the version."""
        return f"{self.family}/{self.version}"


@dataclass(frozen=True, slots=True)
class Tracking:
    """An MLflow tracking server and registry.

    Parameters
    ----------
    uri : ``sqlite:///…`` or ``http://…``
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
    ) -> ModelVersion:
        """Log a folder as the family's next version; ``promote`` makes it champion.

        It is logged as a pyfunc that ``loader_module`` reads: nothing in it is pickled.
        ``check`` gets the files as they come back from the registry and raises if they do not load
        and score: such a version must not be promoted.

        Raises
        ------
        ModelError
            MLflow cannot be reached or refused, or the round trip failed.
        """
        with self._client() as client:
            run = client.create_run(self._experiment_id(client), tags={**tags, "family": family})
            run_id = run.info.run_id
            for key, value in params.items():
                client.log_param(run_id, key, value)
            for key, value in metrics.items():
                client.log_metric(run_id, key, value)
            self._log_model(client, run_id, folder, loader_module)
            name = self._name(family)
            self._ensure_model(client, name)
            made = client.create_model_version(
                name, f"{run.info.artifact_uri}/{_BUNDLE}", run_id, tags=dict(tags)
            )
            version = ModelVersion(family, str(made.version), run_id, str(made.source), tags)
            with self.files(version) as back:
                check(back)
            client.set_terminated(run_id)
        return version

    def champion(self, family: str) -> ModelVersion | None:
        """The family's live version, or nothing if none was ever promoted.

        Asking makes no database where there is none.
        """
        local = self.uri.removeprefix("sqlite:///")
        if local != self.uri and not Path(local).exists():
            return None
        with self._client() as client:
            found = _or_none(
                lambda: client.get_model_version_by_alias(self._name(family), CHAMPION)
            )
        return None if found is None else _version(family, found)

    def versions(self, family: str) -> list[ModelVersion]:
        """All versions, newest first."""
        with self._client() as client:
            found = client.search_model_versions(f"name='{self._name(family)}'")
        return sorted((_version(family, v) for v in found), key=lambda v: -int(v.version))

    def figures(self, version: ModelVersion) -> dict[str, float]:
        """What was measured when the version was made; nothing where its run was deleted."""
        with self._client() as client:
            run = _or_none(lambda: client.get_run(version.run_id))
        return {} if run is None else dict(run.data.metrics)

    def promote(self, family: str, version: str) -> None:
        """Make a version the champion; rolling back is promoting an older one.

        Raises
        ------
        ModelError
            There is no such version.
        """
        with self._client() as client:
            name = self._name(family)
            if _or_none(lambda: client.get_model_version(name, version)) is None:
                raise ModelError(f"{name}: there is no version {version}")
            client.set_registered_model_alias(name, CHAMPION, version)

    @contextmanager
    def files(self, version: ModelVersion) -> Generator[Path]:
        """The version's model folder, to be read: where it lies, or a copy that goes away."""
        local = Path(url2pathname(urlsplit(version.source).path))
        if urlsplit(version.source).scheme in ("", "file") and local.is_dir():
            yield local
            return
        _load_mlflow()
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        with tempfile.TemporaryDirectory(prefix="foretide-model-") as folder:
            try:
                path = download_artifacts(
                    artifact_uri=version.source, dst_path=folder, tracking_uri=self.uri
                )
            except (MlflowException, OSError) as error:
                why = " ".join(str(error).split())
                raise ModelError(
                    f"{version.label} cannot be read from {version.source}: {why}"
                ) from error
            yield Path(path)

    def _log_model(
        self, client: MlflowClient, run_id: str, folder: Path, loader_module: str
    ) -> None:
        """Log the model with an empty data folder, then the data: gigabytes are copied once."""
        import mlflow.pyfunc

        with tempfile.TemporaryDirectory(prefix="foretide-model-") as made:
            model, nothing = Path(made) / _BUNDLE, Path(made) / folder.name
            nothing.mkdir()
            mlflow.pyfunc.save_model(
                model,
                loader_module=loader_module,
                data_path=str(nothing),
                pip_requirements=[f"foretide=={metadata.version('foretide')}"],
            )
            client.log_artifacts(run_id, str(model), _BUNDLE)
        client.log_artifacts(run_id, str(folder), f"{_BUNDLE}/data/{folder.name}")

    def _experiment_id(self, client: MlflowClient) -> str:
        found = client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        return str(client.create_experiment(self.experiment, artifact_location=self.artifacts))

    def _ensure_model(self, client: MlflowClient, name: str) -> None:
        if _or_none(lambda: client.get_registered_model(name)) is None:
            client.create_registered_model(name)

    def _name(self, family: str) -> str:
        return f"{self.prefix}-{family}"

    @contextmanager
    def _client(self) -> Generator[MlflowClient]:
        _load_mlflow()
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import SQLAlchemyError

        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        try:
            yield MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        except MlflowException as error:
            raise ModelError(f"MLflow at {self.shown}: {error.message}") from error
        except SQLAlchemyError as error:
            cause = str(error.__cause__ or type(error).__name__)
            raise ModelError(f"MLflow's database {self.shown}: {cause}") from error

    @property
    def shown(self) -> str:
        """The address without its password."""
        return re.sub(r"//[^@/]*@", "//…@", self.uri)


def _load_mlflow() -> None:
    """Import MLflow, which takes seconds: only who talks to it pays.

    One thread at a time: its modules import each other in circles, and two threads that begin
    together each find the other's half done.
    """
    with _IMPORT:
        for module in ("artifacts", "pyfunc", "tracking"):
            import_module(f"mlflow.{module}")


def _or_none(ask: Callable[[], Any]) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise


def _version(family: str, found: Any) -> ModelVersion:
    return ModelVersion(
        family, str(found.version), str(found.run_id), str(found.source), dict(found.tags)
    )
