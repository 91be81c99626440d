"""Baselines of many workloads ⇄ one folder of JSON, Parquet and plain arrays.

::

    bundle.json               meta, and for every file its size and SHA-256
    prophet/keys.parquet      what each row is for
    prophet/beta.npy          one array; rows are mapped: one workload of many is read in a moment
    forest/path.zst           whole numbers, packed in blocks of rows (models/bundle_arrays.py)

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
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.base import Baselines
from models.bundle_arrays import encoded, file_suffix, pick_rows, read_whole

__all__ = ["is_name", "load", "save"]

_MANIFEST = "bundle.json"
_VERSION = 2
_READABLE = (1, 2)  # in the first no array was packed
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_MOST_JSON_BYTES = 1 << 28
_MOST_KEYS_BYTES = 1 << 30
_Keys: TypeAlias = dict[str, tuple[pd.DataFrame, NDArray[np.intp] | None]]
"""SHA-256 of a file of keys → its frame and the rows that are wanted."""


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
    only read where the rows asked for are; then their size, type and shape are checked. A
    workload that is not in the bundle has no row.

    Raises
    ------
    ValueError
        A file is missing, damaged, or of a version that this release cannot read; the message names
        the file.
    """
    manifest = _manifest(folder)
    wanted = None if workloads is None else list(workloads)
    known: _Keys = {}
    try:
        baselines = {
            name: _load_one(folder, name, entry, wanted, known)
            for name, entry in manifest["baselines"].items()
        }
        return baselines, manifest["meta"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"bundle: {folder / _MANIFEST} is damaged: {error!r}") from error


def is_name(name: str) -> bool:
    """Whether a name can be that of a folder or file here: names are data."""
    return _NAME.fullmatch(name) is not None


def _save_one(folder: Path, name: str, baselines: Baselines) -> dict[str, Any]:
    (folder / _checked(name)).mkdir(exist_ok=True)
    if "workload" not in baselines.keys.columns:
        raise ValueError(f"bundle: keys of {name!r} need a column 'workload'")
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(baselines.keys, preserve_index=False), sink)
    arrays = {
        key: _save_array(folder, f"{name}/{_checked(key)}", array, len(baselines.keys))
        for key, array in baselines.arrays.items()
    }
    return {
        "model": baselines.model,
        "meta": json.loads(_json(dict(baselines.meta), f"meta of {name!r}")),
        "keys": _write(folder, f"{name}/keys.parquet", sink.getvalue()),
        "arrays": arrays,
    }


def _save_array(folder: Path, what: str, array: NDArray[Any], n_rows: int) -> dict[str, Any]:
    if array.ndim == 0 or array.shape[0] != n_rows:
        raise ValueError(f"bundle: {what} needs {n_rows} rows, got shape {array.shape}")
    content, told = encoded(what, array)
    return told | _write(folder, what + file_suffix(told), content)


def _write(folder: Path, file: str, content: bytes) -> dict[str, Any]:
    (folder / file).write_bytes(content)
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _load_one(
    folder: Path, name: str, entry: Mapping[str, Any], wanted: list[str] | None, known: _Keys
) -> Baselines:
    keys, rows = _keys(folder / _checked(name) / "keys.parquet", entry["keys"], wanted, known)
    arrays = {
        key: _load_array(
            folder / name / f"{_checked(key)}{file_suffix(told)}", told, len(keys), rows
        )
        for key, told in entry["arrays"].items()
    }
    if rows is not None:
        keys = keys.iloc[rows].reset_index(drop=True)
    return Baselines(entry["model"], keys, arrays, entry["meta"])


def _keys(
    file: Path, told: Mapping[str, Any], wanted: list[str] | None, known: _Keys
) -> tuple[pd.DataFrame, NDArray[np.intp] | None]:
    """A frame of keys, and which of its rows are wanted; most models of a bundle have the same."""
    _sized(file, told)
    if told["sha256"] not in known:
        try:
            source = pq.ParquetFile(io.BytesIO(_read(file, told)))
            groups = [source.metadata.row_group(i) for i in range(source.metadata.num_row_groups)]
            if sum(g.total_byte_size for g in groups) > _MOST_KEYS_BYTES:
                raise ValueError(f"bundle: {file} is larger than any list of workloads")
            keys: pd.DataFrame = source.read().to_pandas()
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"bundle: {file} is damaged: {error}") from error
        rows = None if wanted is None else np.flatnonzero(keys["workload"].isin(wanted))
        known[told["sha256"]] = keys, rows
    keys, rows = known[told["sha256"]]
    return keys.copy(deep=False), rows


def _load_array(
    file: Path, told: Mapping[str, Any], n_rows: int, rows: NDArray[np.intp] | None
) -> NDArray[Any]:
    if told["shape"][:1] != [n_rows]:
        raise ValueError(f"bundle: {file} holds {told['shape']}, expected {n_rows} rows")
    _sized(file, told)
    content = _read(file, told) if rows is None else b""
    try:
        return read_whole(content, told) if rows is None else pick_rows(file, told, rows)
    except (ValueError, OSError) as error:
        raise ValueError(f"bundle: {file} is damaged: {error}") from error


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / _MANIFEST
    try:
        size = file.stat().st_size
        manifest = json.loads(file.read_text(encoding="utf-8") if size <= _MOST_JSON_BYTES else "")
    except OSError as error:
        raise ValueError(f"bundle: {file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"bundle: {file} is damaged: {error}") from error
    version = manifest.get("foretide_bundle") if isinstance(manifest, dict) else None
    if version not in _READABLE:
        raise ValueError(
            f"bundle: {file} has version {version!r}, this release reads {_READABLE}; "
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
    if not is_name(name):
        raise ValueError(f"bundle: {name!r} cannot name a file; use letters, digits, _ and -")
    return name


def _json(value: Mapping[str, Any], what: str) -> str:
    try:
        return json.dumps(value, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"bundle: {what} is not JSON: {error}") from error
