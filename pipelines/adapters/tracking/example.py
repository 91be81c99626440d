"""A version as anyone's MLflow loads it: its signature, and its input example scored.

MLflow imports whatever module, and unpickles whatever file, a version's ``MLmodel`` names. So that
file is read first, as plain YAML, and refused unless it names our loader and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipelines.adapters.tracking.connection import load_mlflow
from pipelines.errors import ModelError

__all__ = ["Example", "score_example", "signature_of"]

_MOST_BYTES = 1 << 20
_HARMLESS = frozenset({"data", "env", "loader_module", "python_version", "streamable"})


@dataclass(frozen=True, slots=True)
class Example:
    """A question to a version.

    Attributes
    ----------
    asked : rows that it must be able to answer; kept with it
    answered : a frame with the columns and types of an answer
    optional : columns of ``asked`` that may be left out
    """

    asked: pd.DataFrame
    answered: pd.DataFrame
    optional: frozenset[str] = frozenset()


def signature_of(example: Example) -> Any:
    """MLflow's signature of a question and its answer."""
    load_mlflow()
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    def schema(frame: pd.DataFrame, optional: frozenset[str]) -> Schema:
        return Schema([ColSpec(_kind(frame[c]), str(c), required=c not in optional) for c in frame])

    return ModelSignature(
        schema(example.asked, example.optional), schema(example.answered, frozenset())
    )


def score_example(model: Path, loader_module: str, label: str) -> pd.DataFrame | None:
    """Load a version's folder as MLflow does, and let it answer its own input example.

    MLflow holds question against signature. Nothing where no example was kept, as in versions of
    earlier releases, and where there is no ``MLmodel``.

    Raises
    ------
    ModelError
        It would load by something other than ``loader_module``; it does not load or answer.
    """
    if not (model / "MLmodel").is_file():
        return None
    told = _vetted(model, loader_module, label)
    if not told.get("saved_input_example_info"):
        return None
    load_mlflow()
    from mlflow import pyfunc

    try:
        loaded = pyfunc.load_model(str(model), suppress_warnings=True)
        answer = loaded.predict(loaded.input_example)
    except Exception as error:  # anything may come out of a file that was tampered with
        why = " ".join(str(error).split())
        raise ModelError(
            f"{label}: the version does not load and score its input example: {why}"
        ) from error
    schema = loaded.metadata.get_output_schema()
    missing = [] if schema is None else [c for c in schema.input_names() if c not in answer]
    if missing or answer.empty:
        raise ModelError(
            f"{label}: the answer to its input example has {len(answer)} rows and lacks "
            f"{', '.join(missing) or 'no column'}"
        )
    return answer


def _vetted(model: Path, loader_module: str, label: str) -> dict[str, Any]:
    """The MLmodel file, if loading by it runs nothing but ours."""
    file = model / "MLmodel"
    try:
        content = file.read_text(encoding="utf-8") if file.stat().st_size < _MOST_BYTES else "-"
        told = yaml.safe_load(content)
        flavor = told["flavors"]["python_function"]
        inside = (model / str(flavor["data"])).resolve()
        harmless = (
            list(told["flavors"]) == ["python_function"]
            and flavor["loader_module"] == loader_module
            and not any(flavor[key] for key in flavor.keys() - _HARMLESS)
            and inside.is_relative_to((model / "data").resolve())
        )
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{label}: its MLmodel file is damaged: {error!r}") from error
    if not harmless:
        raise ModelError(
            f"{label} is refused: its MLmodel file would run other code than Foretide's; it was "
            "not made by `foretide train`"
        )
    return told


def _kind(column: pd.Series) -> str:
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return "datetime"
    return {"f": "double", "i": "long"}.get(column.dtype.kind, "string")
