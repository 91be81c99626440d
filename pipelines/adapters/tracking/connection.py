"""The way to MLflow: loaded late, asked within bounds, its errors one line without a secret."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pipelines.errors import ModelError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["cleaned", "connected", "found_or_made", "load_mlflow", "or_none", "shown"]

_IMPORT = Lock()
_BOUNDS = {
    # MLflow's own are 8 tries of 120 s, too long to be told that a server is down. Who needs more
    # sets it in the environment.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "PGCONNECT_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # a registry tells its owner alone
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # it has the password, and breaks --json
}
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
_NO_MLFLOW = "API request to endpoint"
"""How MLflow's client begins where the answer was not MLflow's JSON, whatever its status."""
_LONGEST = 400
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@contextmanager
def connected(uri: str) -> Generator[MlflowClient]:
    """A client of its own, never the thread's active run.

    Raises
    ------
    ModelError
        MLflow, or its database, cannot be reached or refused.
    """
    load_mlflow()
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    try:
        _answers(uri)
        yield MlflowClient(tracking_uri=uri, registry_uri=uri)
    except MlflowException as error:
        raise ModelError(f"MLflow at {shown(uri)}: {cleaned(uri, error.message)}") from error
    except SQLAlchemyError as error:
        cause = cleaned(uri, str(error.__cause__ or type(error).__name__))
        raise ModelError(f"MLflow's database {shown(uri)}: {cause}") from error


def _answers(uri: str) -> None:
    """Ask a database once: MLflow itself would ask ten times, for minutes."""
    if uri.startswith(("http://", "https://", "sqlite:", "databricks")) or "://" not in uri:
        return
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.pool.NullPool)
    except ImportError as error:
        raise ModelError(
            f"MLflow's database {shown(uri)}: its driver is not installed: {error}"
        ) from error
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def load_mlflow() -> None:
    """Import MLflow, which takes seconds: only who talks to it pays.

    One thread at a time: its modules import each other in circles, and two threads that begin
    together each find the other's half done.
    """
    with _IMPORT:
        for key, value in _BOUNDS.items():
            os.environ.setdefault(key, value)
        for module in ("artifacts", "pyfunc", "tracking"):
            import_module(f"mlflow.{module}")


def or_none(ask: Callable[[], Any]) -> Any:
    """What is not there is an answer; that of a proxy, or of a page that is no MLflow, is none."""
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        mlflow_said = not error.message.startswith(_NO_MLFLOW)
        if mlflow_said and error.error_code in _ABSENT:
            return None
        raise


def found_or_made(find: Callable[[], Any], make: Callable[[], Any]) -> Any:
    """What is there, or is made now; of two that make it at once, the slower one finds it."""
    from mlflow.exceptions import MlflowException

    found = or_none(find)
    if found is not None:
        return found
    try:
        return make()
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return find()


def shown(uri: str) -> str:
    """An address without what may be secret in it: user, password, query."""
    return re.sub(r"//.*@", "//…@", uri.partition("?")[0])


def cleaned(uri: str, text: str) -> str:
    """What MLflow said, in one line and without the address's secrets."""
    line = " ".join(text.split())
    inside = re.search(r"//(.*)@", uri.partition("?")[0])
    user, _, password = inside[1].partition(":") if inside else ("", "", "")
    query = uri.partition("?")[2]
    secrets = {f"{user}:{password}", password, unquote(password), query} - {"", ":"}
    secrets |= {os.environ[name] for name in _SECRETS if os.environ.get(name)}
    for secret in sorted(secrets, key=len, reverse=True):
        line = line.replace(secret, "…")
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
