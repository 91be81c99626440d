"""Which bundle holds whom, and that nothing else is believed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.base import Baselines
from models.bundle import load, save
from models.bundle_index import (
    read_index,
    verify_bundle,
    verify_index,
    verify_workloads,
    write_index,
)


def keys(names: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"workload": names, "metric": "m"}, dtype="str")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i, names in enumerate((["a", "b"], ["c", "a"])):
        wide = np.arange(2 * 50_000, dtype=np.int16).reshape(2, -1)
        arrays = {"x": np.array([i, i + 0.5]), "trees": wide % 7}
        save(tmp_path / f"{i:04d}", {"m": Baselines("m", keys(names), arrays)}, {})
    return tmp_path


def test_a_workload_is_found_in_all_bundles_that_know_it(root: Path):
    index = read_index(root, write_index(root))
    assert index is not None
    assert index.holding(["a"]) == ["0000", "0001"]
    assert index.holding(["c", "nobody"]) == ["0001"]
    assert index.holding(["nobody", "'; DROP", "../0000"]) == []
    assert index.holding(None) == ["0000", "0001"]
    assert index.workloads == ["a", "b", "c"]


def test_a_folder_without_an_index_has_none(root: Path):
    assert read_index(root) is None
    with pytest.raises(ValueError, match=r"index\.json is missing"):
        read_index(root, "0" * 64)


def test_another_index_than_the_registered_one_is_refused(root: Path):
    sha256 = write_index(root)
    file = root / "index.json"
    file.write_text(file.read_text() + " ")
    with pytest.raises(ValueError, match="not the one that was registered"):
        read_index(root, sha256)


def test_what_is_fetched_is_held_against_what_was_registered(root: Path):
    """Before it is kept: what was cut off on its way would be found again at every load."""
    sha256, index, workloads = write_index(root), root / "index.json", root / "workloads.parquet"
    verify_index(index, sha256)
    verify_workloads(workloads, index)
    workloads.write_bytes(workloads.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"workloads\.parquet is not the one"):
        verify_workloads(workloads, index)
    index.write_text("[]")
    with pytest.raises(ValueError, match=r"index\.json is not the one"):
        verify_index(index, sha256)
    with pytest.raises(ValueError, match=r"index\.json is damaged"):
        verify_workloads(workloads, index)


def test_another_list_of_workloads_is_refused(root: Path):
    sha256 = write_index(root)
    keys(["z"]).to_parquet(root / "workloads.parquet")
    with pytest.raises(ValueError, match=r"SHA-256 of workloads\.parquet differs"):
        read_index(root, sha256)


def test_names_that_lead_elsewhere_are_no_bundles(root: Path):
    write_index(root)
    told = json.loads((root / "index.json").read_text())
    told["bundles"]["../../etc"] = told["bundles"]["0000"]
    (root / "index.json").write_text(json.dumps(told))
    index = read_index(root)
    assert index is not None
    assert index.holding(None) == ["0000", "0001"]


@pytest.mark.parametrize("file", ["bundle.json", "m/keys.parquet", "m/x.npy", "m/trees.zst"])
def test_every_file_of_a_bundle_is_held_against_the_index(root: Path, file: str):
    index = read_index(root, write_index(root))
    assert index is not None
    verify_bundle(root / "0000", index.bundles["0000"])
    content = bytearray((root / "0000" / file).read_bytes())
    content[-1] ^= 1
    (root / "0000" / file).write_bytes(content)
    with pytest.raises(ValueError, match="not what was registered"):
        verify_bundle(root / "0000", index.bundles["0000"])
    (root / "0000" / file).unlink()
    (root / "0000" / file).symlink_to(root / "0001" / file)
    with pytest.raises(ValueError, match="missing"):
        verify_bundle(root / "0000", index.bundles["0000"])


def test_what_the_manifest_does_not_name_is_removed(root: Path):
    index = read_index(root, write_index(root))
    assert index is not None
    (root / "0000" / "m" / "python_model.pkl").write_bytes(b"\x80\x04.")
    (root / "0000" / "code").mkdir()
    (root / "0000" / "code" / "evil.py").write_text("raise SystemExit")
    verify_bundle(root / "0000", index.bundles["0000"])
    assert sorted(p.name for p in (root / "0000").rglob("*") if p.is_file()) == [
        "bundle.json", "keys.parquet", "trees.zst", "x.npy",
    ]  # fmt: skip


def test_packed_rows_are_those_that_were_saved_and_few_bytes_are_read_for_one(tmp_path: Path):
    trees = np.random.default_rng(0).integers(0, 9, (1000, 40_000), dtype=np.int16)
    names = [f"w{i}" for i in range(1000)]
    save(tmp_path, {"m": Baselines("m", keys(names), {"trees": trees})}, {})
    told = json.loads((tmp_path / "bundle.json").read_text())["baselines"]["m"]["arrays"]["trees"]
    assert told["bytes"] < 0.5 * trees.nbytes
    assert np.diff([0, *told["ends"]]).max() < 1 << 18  # what one row costs
    got, _ = load(tmp_path, ["w7", "w999"])
    np.testing.assert_array_equal(got["m"].arrays["trees"], trees[[7, 999]])
    whole, _ = load(tmp_path)
    np.testing.assert_array_equal(whole["m"].arrays["trees"], trees)


@pytest.mark.parametrize(
    "lie",
    [{"shape": [2, 1 << 60]}, {"shape": [2, -1]}, {"dtype": "|O"}, {"block_rows": 0},
     {"ends": [1 << 40]}, {"ends": [5, 3]}, {"shape": [2, 70_000]}],
)  # fmt: skip
@pytest.mark.parametrize("only", [None, ["a"]])
def test_a_manifest_that_promises_nonsense_is_one_clear_error(
    root: Path, lie: dict[str, object], only: list[str] | None
):
    file = root / "0000" / "bundle.json"
    told = json.loads(file.read_text())
    told["baselines"]["m"]["arrays"]["trees"] |= lie
    file.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"^bundle: .*trees\.zst"):
        load(root / "0000", only)


def test_a_bundle_of_the_release_before_is_read(root: Path):
    file = root / "0000" / "bundle.json"
    trees = load(root / "0000")[0]["m"].arrays["trees"]
    told = json.loads(file.read_text())
    plain = {"x": told["baselines"]["m"]["arrays"]["x"]}
    told |= {"foretide_bundle": 1}
    told["baselines"]["m"]["arrays"] = plain
    file.write_text(json.dumps(told))
    assert load(root / "0000", ["b"])[0]["m"].arrays["x"].tolist() == [0.5]
    assert trees.shape == (2, 50_000)
