"""Every notebook runs from top to bottom, ends in a picture, and lies here as it was run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from notebook_rendering import FOLDER, parsed

NOTEBOOKS = sorted(FOLDER.glob("*.py"))
RENDERER = Path(__file__).parent / "kit" / "notebook_rendering.py"
NAMES = {"backtest", "explore", "inspect_model", "replay", "tune_detector"}
OF_A_MACHINE = re.compile(r"/(home|root|work|tmp|var|usr|Users)/")

each = pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)


def outputs_of(path: Path) -> list[list[dict[str, Any]]]:
    """Outputs of each code cell that is not empty."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [c["outputs"] for c in cells if c["cell_type"] == "code" and c["source"]]


def test_there_is_a_notebook_for_each_question() -> None:
    assert {path.stem for path in NOTEBOOKS} == NAMES
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == NAMES


@each
def test_a_notebook_runs_and_ends_in_a_picture(source: Path, tmp_path: Path) -> None:
    env = os.environ | {"DO_NOT_TRACK": "1", "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(RENDERER), "--out", str(tmp_path), str(source)],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outputs = outputs_of(tmp_path / f"{source.stem}.ipynb")
    assert [out["data"].keys() & {"image/png"} for out in outputs[-1]] == [{"image/png"}]
    assert not [out for cell in outputs for out in cell if out.get("name") == "stderr"]


@each
def test_what_lies_here_is_what_the_source_says(source: Path) -> None:
    kept = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert [(c.cell_type, c.source) for c in kept.cells] == [
        (c.cell_type, c.source) for c in parsed(source).cells
    ]
    nbformat.validate(kept)


@each
def test_what_lies_here_was_run_and_says_nothing_of_a_machine(source: Path) -> None:
    path = source.with_suffix(".ipynb")
    assert path.stat().st_size < 400_000
    outputs = outputs_of(path)
    assert "image/png" in outputs[-1][-1]["data"]
    assert not [out for cell in outputs for out in cell if out["output_type"] == "error"]
    texts = [str(v) for cell in outputs for out in cell for v in _texts(out)]
    assert not [text for text in texts if OF_A_MACHINE.search(text)]
    assert 'execution": {' not in path.read_text(encoding="utf-8")


@each
def test_one_line_points_at_ones_own(source: Path) -> None:
    words = " ".join(c.source for c in parsed(source).cells if c.cell_type == "markdown")
    assert "For your own, let the last line" in words.replace("\n", " ")


def _texts(out: dict[str, Any]) -> list[Any]:
    """All that an output says but its picture."""
    return [out.get("text", ""), *(v for k, v in out.get("data", {}).items() if k != "image/png")]
