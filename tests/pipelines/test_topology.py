"""The call graph of a run: a file, ingested calls, or nothing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from features.workloads import workload_id
from pipelines.errors import ConfigError
from pipelines.run import RunRef
from pipelines.topology import edges_of, read_edges

T0 = pd.Timestamp("2026-06-01", tz="UTC")
CALL = workload_id("eu", "_calls", "Call", "shop/front>pay/api").split("/")


def ref(folder: Path, *, calls: bool, graph: str = "") -> RunRef:
    rows = [("eu", "shop", "Deployment", "front", "x")]
    if calls:
        rows.append((CALL[0], CALL[1], CALL[2], "shop/front>pay/api", "calls_per_second"))
    frame = pd.DataFrame(rows, columns=["cluster", "namespace", "kind", "name", "metric"])
    frame = frame.assign(ts=T0, value=1.0)
    frame.to_parquet(folder / "samples.parquet")
    config = folder / "foretide.yaml"
    config.write_text(f"detect: {{graph: '{graph}'}}\n", encoding="utf-8")
    end = (T0 + pd.Timedelta("1h")).isoformat()
    return RunRef(str(config), (str(folder / "samples.parquet"),), str(folder), end)


def test_without_a_graph_there_is_none(tmp_path: Path) -> None:
    assert edges_of(ref(tmp_path, calls=False).open()) is None


def test_calls_and_a_file_are_both_the_graph(tmp_path: Path) -> None:
    file = tmp_path / "edges.csv"
    file.write_text("caller, callee, note\nfront, cart,\n,,\n", encoding="utf-8")
    edges = edges_of(ref(tmp_path, calls=True, graph=str(file)).open())
    assert edges is not None
    assert edges.to_numpy().tolist() == [["eu/shop/front", "eu/pay/api"], ["front", "cart"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "cannot be read"), ("", "cannot be read"), ("from,callee\na,b\n", "caller not found")],
)
def test_a_file_that_is_no_graph_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "edges.csv"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said) as error:
        read_edges(str(file))
    assert "edges.csv" in str(error.value)
