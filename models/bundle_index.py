"""Which bundle of a version holds which workload: two small files beside the bundles.

::

    index.json           for every bundle the size and SHA-256 of its bundle.json; of the next file
    workloads.parquet    workload, bundle

So one workload of many is found without opening every bundle, and fetched without the others. The
SHA-256 of ``index.json`` vouches for all: it names every manifest's, which names every file's.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from models.bundle import is_name

__all__ = [
    "INDEX",
    "WORKLOADS",
    "BundleIndex",
    "read_index",
    "verify_bundle",
    "verify_index",
    "verify_manifest",
    "verify_workloads",
    "write_index",
]

INDEX = "index.json"
WORKLOADS = "workloads.parquet"

_MANIFEST = "bundle.json"
_VERSION = 1
_MOST_BYTES = 1 << 26
_MOST_UNPACKED_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class BundleIndex:
    """What a version's bundles are, and whom they are about.

    Attributes
    ----------
    bundles : folder → size and SHA-256 of its manifest
    table : ``workload, bundle``, one row a workload and bundle that knows it
    """

    bundles: Mapping[str, Mapping[str, Any]]
    table: pd.DataFrame

    def holding(self, workloads: Collection[str] | None) -> list[str]:
        """The bundles that know at least one of the workloads, sorted; of None: all."""
        if workloads is None:
            return sorted(self.bundles)
        found = self.table.loc[self.table["workload"].isin(list(workloads)), "bundle"]
        return sorted({str(name) for name in found} & self.bundles.keys())

    @property
    def workloads(self) -> list[str]:
        """Every workload, sorted."""
        return sorted({str(name) for name in self.table["workload"]})


def write_index(root: Path) -> str:
    """Write the index of the bundles in a folder; gives the SHA-256 of ``index.json``."""
    bundles: dict[str, dict[str, Any]] = {}
    rows: list[pd.DataFrame] = []
    for folder in sorted(p for p in root.iterdir() if (p / _MANIFEST).is_file()):
        bundles[folder.name] = _told((folder / _MANIFEST).read_bytes())
        files = sorted(folder.glob("*/keys.parquet"))
        names = pd.concat([pd.read_parquet(f, columns=["workload"]) for f in files])["workload"]
        rows.append(pd.DataFrame({"workload": names.unique(), "bundle": folder.name}))
    every = pd.concat(rows) if rows else pd.DataFrame({"workload": [], "bundle": []})
    schema = pa.schema([("workload", pa.string()), ("bundle", pa.string())])
    table = pa.Table.from_pandas(every.sort_values("workload"), schema, preserve_index=False)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    (root / WORKLOADS).write_bytes(sink.getvalue())
    index = {
        "foretide_index": _VERSION,
        "bundles": bundles,
        "workloads": _told(sink.getvalue()),
    }
    content = json.dumps(index, indent=1).encode()
    (root / INDEX).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read_index(root: Path, sha256: str | None = None) -> BundleIndex | None:
    """The index of a folder's bundles; nothing where it has none, as versions of old had.

    Raises
    ------
    ValueError
        It is damaged, of another version, or not the one that ``sha256`` is of.
    """
    file = root / INDEX
    if not file.is_file():
        if sha256:
            raise ValueError(f"bundle: {file} is missing")
        return None
    content = _bounded(file)
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"bundle: {file} is not the one that was registered: its SHA-256 differs")
    try:
        index = _readable(json.loads(content))
        bundles = {name: dict(told) for name, told in index["bundles"].items() if is_name(name)}
        table = _table(root / WORKLOADS, index["workloads"])
    except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise ValueError(f"bundle: {file} is damaged: {error}") from error
    return BundleIndex(bundles, table)


def verify_index(file: Path, sha256: str) -> None:
    """Hold ``index.json``, as it was fetched, against the SHA-256 that was registered.

    Raises
    ------
    ValueError
        It is missing, or is not what was registered.
    """
    if hashlib.sha256(_bounded(file)).hexdigest() != sha256:
        raise ValueError(f"bundle: {file} is not the one that was registered: its SHA-256 differs")


def verify_workloads(file: Path, index: Path) -> None:
    """Hold ``workloads.parquet``, as it was fetched, against ``index.json``.

    Raises
    ------
    ValueError
        It is missing, or is not what was registered.
    """
    try:
        told = _readable(json.loads(_bounded(index)))["workloads"]["sha256"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"bundle: {index} is damaged: {error!r}") from error
    if hashlib.sha256(_bounded(file)).hexdigest() != told:
        raise ValueError(f"bundle: {file} is not the one that was registered: its SHA-256 differs")


def verify_bundle(folder: Path, told: Mapping[str, Any]) -> None:
    """Hold a bundle's files, as they were fetched, against the index; what it does not name is
    removed.

    Raises
    ------
    ValueError
        One is missing, or is not what was registered.
    """
    verify_manifest(folder, told)
    manifest = folder / _MANIFEST
    baselines = json.loads(manifest.read_bytes())["baselines"]
    wanted = {manifest}
    for name, entry in baselines.items():
        if not is_name(name) or not all(is_name(key) for key in entry["arrays"]):
            raise ValueError(f"bundle: {manifest} names what can be no file")
        files = {"keys.parquet": entry["keys"]}
        for key, array in entry["arrays"].items():
            files[f"{key}{'.zst' if 'ends' in array else '.npy'}"] = array
        for file, expected in files.items():
            _check(folder / name / file, expected)
            wanted.add(folder / name / file)
    for file in folder.rglob("*"):
        if not file.is_dir() and file not in wanted:
            file.unlink()


def verify_manifest(folder: Path, told: Mapping[str, Any]) -> None:
    """Hold a bundle's manifest against the index.

    Raises
    ------
    ValueError
        It is missing, or is not what was registered.
    """
    _check(folder / _MANIFEST, told)


def _check(file: Path, told: Mapping[str, Any]) -> None:
    if file.is_symlink() or not file.is_file():
        raise ValueError(f"bundle: {file} is missing")
    with file.open("rb") as source:
        same = hashlib.file_digest(source, "sha256").hexdigest() == told["sha256"]
    if not same or file.stat().st_size != told["bytes"]:
        raise ValueError(f"bundle: {file} is not what was registered: its SHA-256 differs")


def _readable(index: dict[str, Any]) -> dict[str, Any]:
    if index["foretide_index"] != _VERSION:
        raise ValueError(f"version {index['foretide_index']!r}, this release reads {_VERSION}")
    return index


def _table(file: Path, told: Mapping[str, Any]) -> pd.DataFrame:
    content = _bounded(file)
    if hashlib.sha256(content).hexdigest() != told["sha256"]:
        raise ValueError(f"the SHA-256 of {WORKLOADS} differs")
    source = pq.ParquetFile(io.BytesIO(content))
    groups = [source.metadata.row_group(i) for i in range(source.metadata.num_row_groups)]
    if sum(g.total_byte_size for g in groups) > _MOST_UNPACKED_BYTES:
        raise ValueError(f"{WORKLOADS} is larger than any list of workloads")
    return source.read(["workload", "bundle"]).to_pandas()


def _bounded(file: Path) -> bytes:
    if not file.is_file() or file.stat().st_size > _MOST_BYTES:
        raise ValueError(f"bundle: {file} is missing, or larger than any index")
    return file.read_bytes()


def _told(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
