"""docs/api.md: every example runs, and says what the page says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from features.synthetic import ClusterSpec, simulate
from pipelines import api

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_the_examples_run_in_order_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cluster = simulate(ClusterSpec(n_workloads=1, weeks=2, step_s=3600))
    pq.write_table(cluster.samples, "samples.parquet")
    space: dict[str, Any] = {"__name__": "example"}
    for number, example in enumerate(EXAMPLES):
        exec(compile(example, f"api.md, example {number + 1}", "exec"), space)  # noqa: S102
        said = capsys.readouterr().out
        assert said or "print(" not in example
        for line in re.findall(r"print\(error\)  # (.*)$", example, re.MULTILINE):
            assert line.removesuffix("…") in said
    assert [path.name for path in tmp_path.iterdir()] == ["samples.parquet"]
    assert "yesterday" in space["Yesterday"].name
    assert len(space["ahead"]) == 48
    flagged = space["scored"].scores
    assert (flagged["score"] >= 1).any()
    assert len(space["scored"].incidents) == 1


def test_the_table_names_every_function_with_its_arguments() -> None:
    listed = dict(re.findall(r"^\| `(\w+)\((.*?)\)` \|", TEXT, re.MULTILINE))
    functions = {n for n in api.__all__ if inspect.isfunction(getattr(api, n))}
    assert set(listed) == functions
    for name, arguments in listed.items():
        told = [a.split("=")[0].strip(" *") for a in arguments.split(",")]
        assert told == list(inspect.signature(getattr(api, name)).parameters), name
