"""Baselines of many workloads ⇄ one folder of JSON, Parquet and plain arrays.

::

    bundle.json               meta, and for every file its size and SHA-256
    prophet/keys.parquet      what each row is for
    prophet/beta.npy          one array; rows are mapped: one workload of many is read in a moment

Nothing in it is code: no pickle, no class of ours. ``bundle.json`` is written last, so that a
folder without it was never finished.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.base import Baselines

__all__ = ["load", "save"]

_MANIFEST = "bundle.json"
_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_KINDS = "biufUMm"  # bool, int, uint, float, text, datetime, timedelta


def save(folder: Path, baselines: Mapping[str, Baselines], meta: Mapping[str, Any]) -> None:
    """Write a bundle; the folder is made if need be, files of the same name are replaced.

    Names of baselines and arrays become file names: letters, digits, ``_`` and ``-``. In meta,
    tuples come back as lists.

    Raises
    ------
    ValueError
        A name is no file name; an array has no row for each key, or holds objects; meta is not
        JSON (NaN is not).
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MANIFEST).unlink(missing_ok=True)
    manifest = {
        "foretide_bundle": _VERSION,
        "meta": dict(meta),
        "baselines": {name: _save_one(folder, name, b) for name, b in baselines.items()},
    }
    (folder / _MANIFEST).write_text(_json(manifest, "meta"), encoding="utf-8")


def load(
    folder: Path, workloads: Sequence[str] | None = None
) -> tuple[dict[str, Baselines], dict[str, Any]]:
    """Read a bundle, or only the rows of some workloads.

    Everything that is read whole is held against its SHA-256. With ``workloads`` the arrays are
    mapped and only the rows asked for are read; then their size, type and shape are checked. A
    workload that is not in the bundle has no row.

    Raises
    ------
    ValueError
        A file is missing, damaged, or of a version that this release cannot read; the message names
        the file.
    """
    manifest = _manifest(folder)
    wanted = None if workloads is None else list(workloads)
    try:
        baselines = {
            name: _load_one(folder, name, entry, wanted)
            for name, entry in manifest["baselines"].items()
        }
        return baselines, manifest["meta"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"bundle: {folder / _MANIFEST} is damaged: {error!r}") from error


def _save_one(folder: Path, name: str, baselines: Baselines) -> dict[str, Any]:
    (folder / _checked(name)).mkdir(exist_ok=True)
    if "workload" not in baselines.keys.columns:
        raise ValueError(f"bundle: keys of {name!r} need a column 'workload'")
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(baselines.keys, preserve_index=False), sink)
    arrays = {
        key: _save_array(folder, f"{name}/{_checked(key)}.npy", array, len(baselines.keys))
        for key, array in baselines.arrays.items()
    }
    return {
        "model": baselines.model,
        "meta": json.loads(_json(dict(baselines.meta), f"meta of {name!r}")),
        "keys": _write(folder, f"{name}/keys.parquet", sink.getvalue()),
        "arrays": arrays,
    }


def _save_array(folder: Path, file: str, array: NDArray[Any], n_rows: int) -> dict[str, Any]:
    if array.ndim == 0 or array.shape[0] != n_rows:
        raise ValueError(f"bundle: {file} needs {n_rows} rows, got shape {array.shape}")
    if array.dtype.kind not in _KINDS:
        raise ValueError(f"bundle: {file} cannot hold {array.dtype}")
    sink = io.BytesIO()
    np.save(sink, np.ascontiguousarray(array), allow_pickle=False)
    told = _write(folder, file, sink.getvalue())
    return told | {"dtype": array.dtype.str, "shape": list(array.shape)}


def _write(folder: Path, file: str, content: bytes) -> dict[str, Any]:
    (folder / file).write_bytes(content)
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _load_one(
    folder: Path, name: str, entry: Mapping[str, Any], wanted: list[str] | None
) -> Baselines:
    file = folder / _checked(name) / "keys.parquet"
    content = _read(file, entry["keys"])
    try:
        keys: pd.DataFrame = pq.read_table(io.BytesIO(content)).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"bundle: {file} is damaged: {error}") from error
    rows = None if wanted is None else np.flatnonzero(keys["workload"].isin(wanted))
    arrays = {
        key: _load_array(folder / name / f"{_checked(key)}.npy", told, len(keys), rows)
        for key, told in entry["arrays"].items()
    }
    if rows is not None:
        keys = keys.iloc[rows].reset_index(drop=True)
    return Baselines(entry["model"], keys, arrays, entry["meta"])


def _load_array(
    file: Path, told: Mapping[str, Any], n_rows: int, rows: NDArray[np.intp] | None
) -> NDArray[Any]:
    whole = rows is None or 0 in told["shape"]  # nothing cannot be mapped
    array = _whole(file, told) if whole else _mapped(file, told)
    got, want = (array.dtype.str, list(array.shape)), (told["dtype"], told["shape"])
    if got != want or array.shape[0] != n_rows:
        raise ValueError(f"bundle: {file} holds {got}, expected {want} with {n_rows} rows")
    return array if rows is None else np.array(array[rows])


def _whole(file: Path, told: Mapping[str, Any]) -> NDArray[Any]:
    content = _read(file, told)
    try:
        return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"bundle: {file} is damaged: {error}") from error


def _mapped(file: Path, told: Mapping[str, Any]) -> NDArray[Any]:
    _sized(file, told)
    try:
        return np.lib.format.open_memmap(file, mode="r")
    except (ValueError, OSError) as error:
        raise ValueError(f"bundle: {file} is damaged: {error}") from error


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / _MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"bundle: {file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"bundle: {file} is damaged: {error}") from error
    version = manifest.get("foretide_bundle") if isinstance(manifest, dict) else None
    if version != _VERSION:
        raise ValueError(
            f"bundle: {file} has version {version!r}, this release reads {_VERSION}; "
            "upgrade foretide or train again"
        )
    return manifest


def _read(file: Path, told: Mapping[str, Any]) -> bytes:
    _sized(file, told)
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != told["sha256"]:
        raise ValueError(f"bundle: {file} is damaged: its SHA-256 differs from {_MANIFEST}")
    return content


def _sized(file: Path, told: Mapping[str, Any]) -> None:
    if not file.is_file():
        raise ValueError(f"bundle: {file} is missing")
    if file.stat().st_size != told["bytes"]:
        raise ValueError(
            f"bundle: {file} is damaged: {file.stat().st_size} bytes, expected {told['bytes']}"
        )


def _checked(name: str) -> str:
    """Names are data: only those that can do no harm become paths."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"bundle: {name!r} cannot name a file; use letters, digits, _ and -")
    return name


def _json(value: Mapping[str, Any], what: str) -> str:
    try:
        return json.dumps(value, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"bundle: {what} is not JSON: {error}") from error
