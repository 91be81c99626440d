from __future__ import annotations

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.base import Baselines
from models.bundle import load, save


def keys(n: int) -> pd.DataFrame:
    return pd.DataFrame({"workload": [f"c/n/D/{i}" for i in range(n)], "metric": "m"}, dtype="str")


def bundle(n: int = 5) -> dict[str, Baselines]:
    rng = np.random.default_rng(0)
    return {
        "prophet": Baselines(
            "prophet", keys(n), {"beta": rng.random((n, 3)), "k": rng.random(n)}, {"step_s": 300}
        ),
        "band": Baselines("band", keys(n), {"on": rng.random(n) > 0.5}, {"words": ["a", None]}),
    }


def assert_same(got: Baselines, want: Baselines) -> None:
    assert got.model == want.model
    assert dict(got.meta) == dict(want.meta)
    pd.testing.assert_frame_equal(got.keys, want.keys)
    assert got.arrays.keys() == want.arrays.keys()
    for name, array in want.arrays.items():
        assert got.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(got.arrays[name], array)


DTYPES = ("?", "i1", "i8", "u2", "f4", "f8", "<U3", "M8[ms]", "m8[s]")


@settings(deadline=None, max_examples=60)
@given(data=st.data(), n=st.integers(0, 4), pick=st.lists(st.integers(0, 5), max_size=3))
def test_what_was_saved_is_what_is_loaded(data: st.DataObject, n: int, pick: list[int]):
    inner = st.lists(st.integers(0, 3), max_size=2)
    values = {
        f"a{i}": data.draw(arrays(data.draw(st.sampled_from(DTYPES)), (n, *data.draw(inner))))
        for i in range(2)
    }
    one = Baselines("m", keys(n), values, {"x": [1, "a", None, {"y": 0.5}]})
    with TemporaryDirectory() as name:
        save(Path(name), {"m": one}, {"run": "r1"})
        whole, meta = load(Path(name))
        some, _ = load(Path(name), workloads=[f"c/n/D/{i}" for i in pick])
    assert meta == {"run": "r1"}
    assert_same(whole["m"], one)
    assert_same(some["m"], one.select(np.isin(np.arange(n), pick)))


def test_a_bundle_can_be_saved_twice(tmp_path: Path):
    save(tmp_path, bundle(5), {"run": 1})
    save(tmp_path, bundle(3), {"run": 2})
    got, meta = load(tmp_path)
    assert meta == {"run": 2}
    assert_same(got["prophet"], bundle(3)["prophet"])


def test_no_file_holds_a_pickle(tmp_path: Path):
    save(tmp_path, bundle(), {})
    files = [f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*") if f.is_file()]
    assert sorted(files) == [
        "band/keys.parquet",
        "band/on.npy",
        "bundle.json",
        "prophet/beta.npy",
        "prophet/k.npy",
        "prophet/keys.parquet",
    ]


FILES = ("bundle.json", "prophet/keys.parquet", "prophet/beta.npy", "band/on.npy")


@pytest.mark.parametrize("only", [None, ["c/n/D/1"]])
@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(tmp_path: Path, file: str, only: list[str] | None):
    save(tmp_path, bundle(), {})
    (tmp_path / file).unlink()
    with pytest.raises(ValueError, match=file):
        load(tmp_path, only)


@pytest.mark.parametrize("only", [None, ["c/n/D/1"]])
@pytest.mark.parametrize("file", FILES)
def test_a_cut_file_is_named(tmp_path: Path, file: str, only: list[str] | None):
    save(tmp_path, bundle(), {})
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=file):
        load(tmp_path, only)


@pytest.mark.parametrize("file", FILES[1:])
def test_one_changed_byte_is_found_when_all_is_read(tmp_path: Path, file: str):
    save(tmp_path, bundle(), {})
    content = bytearray((tmp_path / file).read_bytes())
    content[-1] ^= 1
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=file):
        load(tmp_path)


def test_another_array_in_the_place_of_one_is_found(tmp_path: Path):
    save(tmp_path, bundle(), {})
    np.save(tmp_path / "prophet" / "k.npy", np.arange(5))  # as many bytes, another type
    with pytest.raises(ValueError, match=r"k\.npy"):
        load(tmp_path, ["c/n/D/1"])


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "damaged"), ("[]", "version None"), ('{"foretide_bundle": 99}', "version 99"),
     ('{"foretide_bundle": 1, "meta": {}}', "damaged"),
     ('{"foretide_bundle": 1, "meta": {}, "baselines": {"../x": {}}}', r"\.\./x")],
)  # fmt: skip
def test_a_manifest_that_is_none_is_named(tmp_path: Path, text: str, words: str):
    (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "meta", "words"),
    [("../evil", np.zeros(2), {}, "cannot name a file"),
     ("a", np.zeros(3), {}, "needs 2 rows"),
     ("a", np.float64(1), {}, "needs 2 rows"),
     ("a", np.array([{}, None]), {}, "cannot hold object"),
     ("a", np.zeros(2), {"x": float("nan")}, "not JSON"),
     ("a", np.zeros(2), {"x": {1, 2}}, "not JSON")],
)  # fmt: skip
def test_what_cannot_be_stored_is_refused(
    tmp_path: Path, name: str, array: np.ndarray, meta: dict[str, object], words: str
):
    with pytest.raises(ValueError, match=words):
        save(tmp_path, {"m": Baselines("m", keys(2), {name: array}, meta)}, {})
    with pytest.raises(ValueError, match=r"bundle\.json"):
        load(tmp_path)


def test_one_workload_of_ten_thousand_is_read_in_a_moment(tmp_path: Path):
    n = 10_000
    week = np.zeros((n, 2016), dtype=np.float32)
    week[7] = 7
    save(tmp_path, {"naive": Baselines("naive", keys(n), {"week": week})}, {})
    begun = time.perf_counter()
    got, _ = load(tmp_path, ["c/n/D/7"])
    assert time.perf_counter() - begun < 1  # loose: tens of milliseconds on an idle core
    assert (got["naive"].arrays["week"] == np.full((1, 2016), 7)).all()


def test_meta_is_plain_json(tmp_path: Path):
    save(tmp_path, bundle(), {"hash": "abc"})
    assert json.loads((tmp_path / "bundle.json").read_text())["meta"] == {"hash": "abc"}
