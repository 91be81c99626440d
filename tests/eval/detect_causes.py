"""Root causes of recorded incidents: is the true one among the first three?

``python tests/eval/detect_causes.py [DIR]`` takes every folder under DIR that has a
``normal.parquet`` with one or more ``*.parquet`` beside it that have a ``.json`` of the same name:
``{"target": {"node": …}, "root_cause": {"node": …}}``. A ``graph.csv`` in the folder is the call
graph. What is measured is the command's own function.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from pipelines.diagnose import diagnose

FIRST = 3


def evaluate(data: Path) -> Iterable[tuple[str, float, str]]:
    """The share of incidents whose root cause is in the top 3, with the graph and without."""
    rows = [judged(file) for file in incidents(data)]
    if not rows:
        print(f"causes: no incident with a root cause under {data}")
        return
    table = pd.DataFrame(rows)
    print(f"\nRoot causes, {len(table)} incidents: the true one's place (99 not named, – no graph)")
    print(table.to_string(index=False, na_rep="–", float_format=lambda v: f"{v:.0f}"))
    for how, name in (("with graph", "with_graph"), ("without", "without_graph")):
        place = table[how].dropna()
        if place.empty:
            continue
        top1, top3 = ((place <= n).mean() for n in (1, FIRST))
        print(f"{how}: top 1 {top1:.3f}, top 3 {top3:.3f}")
        yield f"petshop_top3_{name}", float(top3), "share"


def incidents(data: Path) -> list[Path]:
    """Incidents of which the root cause is known."""
    folders = {f.parent for f in data.rglob("normal.parquet")}
    files = [f for folder in sorted(folders) for f in sorted(folder.glob("*.parquet"))]
    return [f for f in files if f.with_suffix(".json").is_file() and f.stem != "normal"]


def judged(file: Path) -> dict[str, object]:
    """One incident's row."""
    told = json.loads(file.with_suffix(".json").read_text())
    onset = pd.Series(pq.read_table(file, columns=["ts"]).column("ts").to_pandas()).min()
    graph = file.parent / "graph.csv"

    def place(calls: str | None) -> float:
        result = diagnose(
            [str(file.parent / "normal.parquet"), str(file)],
            onset.isoformat(),
            target=told["target"]["node"],
            graph=calls,
        )
        names = [cause["name"] for cause in result["causes"]]
        root = told["root_cause"]["node"]
        return names.index(root) + 1 if root in names else 99.0

    return {
        "incident": f"{file.parent.name}/{file.stem}",
        "root cause": told["root_cause"]["node"],
        "with graph": place(str(graph)) if graph.is_file() else float("nan"),
        "without": place(None),
    }


def main() -> None:
    """Print the table and the shares."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("../shared/data")
    for name, value, unit in evaluate(data):
        print(f"{name} {value:.3f} {unit}")


if __name__ == "__main__":
    main()
