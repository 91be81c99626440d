"""Every notebook runs from top to bottom, somewhere else than where it lies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    env = os.environ | {"MPLBACKEND": "Agg", "DO_NOT_TRACK": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(notebook)],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout
    cells = notebook.read_text(encoding="utf-8").split("# %%")
    assert len(cells) > 2, "expected py:percent cells"
