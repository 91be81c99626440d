"""The verb diagnose, from files to its answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from incident_simulation import Incident, simulate

from pipelines.cli import _run_cli
from pipelines.diagnose import diagnose

CASE = simulate(4, "latency")
PETSHOP = Path(__file__).parents[3] / "shared" / "data" / "petshop"


def labelled(samples: pd.DataFrame) -> pd.DataFrame:
    parts = {"cluster": "prod", "namespace": "shop", "kind": "Deployment"}
    return samples.rename(columns={"workload": "name"}).assign(**parts)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    labelled(CASE.before).to_parquet(tmp_path / "normal.parquet")
    labelled(CASE.after).to_parquet(tmp_path / "incident.parquet")
    labelled(CASE.samples).to_parquet(tmp_path / "both.parquet")
    CASE.edges.to_csv(tmp_path / "edges.csv", index=False)
    return {f.stem: str(f) for f in tmp_path.iterdir()} | {"out": str(tmp_path / "out")}


Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = _run_cli(["diagnose", *args])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_the_cause_comes_first_with_what_a_person_needs(files: dict[str, str], say: Say) -> None:
    code, out, err = say(
        *("--input", files["normal"], "--input", files["incident"], "--at", CASE.at.isoformat()),
        *("--target", CASE.target, "--graph", files["edges"], "--json"),
    )
    assert (code, err) == (0, "")
    told = json.loads(out)
    names = [cause["name"] for cause in told["causes"]]
    assert names[0] == CASE.root
    assert len(names) == len(set(names)) <= 5
    first = told["causes"][0]
    assert first["workload"] == f"prod/shop/Deployment/{CASE.root}"
    assert first["metric"] in first["evidence"]
    assert 0 < first["confidence"] <= first["score"] <= 1
    seen = [
        set(map(tuple, part[["workload", "metric"]].drop_duplicates().to_numpy()))
        for part in (CASE.before, CASE.after)
    ]
    assert told["done"] == len(seen[0] & seen[1])
    assert told["done"] + sum(told["skipped"].values()) == len(seen[0] | seen[1])


def test_one_file_of_both_and_other_dates_of_the_normal_time_say_the_same(
    files: dict[str, str], tmp_path: Path
) -> None:
    at = CASE.at.isoformat()
    two = diagnose([files["normal"], files["incident"]], at, target=CASE.target)
    one = diagnose([files["both"]], at, target=CASE.target)
    assert one["causes"] == two["causes"]
    later = CASE.before.assign(ts=CASE.before["ts"] + pd.Timedelta(100, "D"))
    labelled(later).to_parquet(tmp_path / "later.parquet")
    away = diagnose([str(tmp_path / "later.parquet"), files["incident"]], at, target=CASE.target)
    assert away["causes"] == two["causes"]
    assert "later.parquet was recorded at another time" in away["notes"][0]


def test_a_list_of_calls_and_a_matrix_say_the_same(files: dict[str, str], tmp_path: Path) -> None:
    names = sorted({*CASE.edges["caller"], *CASE.edges["callee"]})
    matrix = pd.DataFrame(0.0, index=names, columns=names)
    for caller, callee in CASE.edges.itertuples(index=False):
        matrix.loc[caller, callee] = 2.0
    matrix.to_csv(tmp_path / "matrix.csv")
    whole = CASE.edges.rename(columns={"caller": "from", "callee": "to"})
    whole = ("prod/shop/Deployment/" + whole)[["to", "from"]].assign(calls=3)
    whole.to_csv(tmp_path / "whole.csv", index=False)
    told = [
        diagnose([files["both"]], CASE.at.isoformat(), target=CASE.target, graph=graph)["causes"]
        for graph in (files["edges"], str(tmp_path / "matrix.csv"), str(tmp_path / "whole.csv"))
    ]
    assert told[0] == told[1] == told[2]


def test_nothing_from_as_of_on_is_seen(files: dict[str, str]) -> None:
    until = CASE.at + pd.Timedelta("20min")
    short = Incident(
        CASE.samples[CASE.samples["ts"] < until], CASE.at, CASE.edges, CASE.target, CASE.root
    )
    path = Path(files["both"]).with_name("short.parquet")
    labelled(short.samples).to_parquet(path)
    at = CASE.at.isoformat()
    cut = diagnose([files["both"]], at, as_of=until.isoformat())
    assert cut["causes"] == diagnose([str(path)], at)["causes"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--at", "soon"], 1, "--at: expected a moment like"),
        (["--at", "2020-01-01T00:00Z"], 1, "no sample before it says what is normal"),
        (["--at", "2030-01-01T00:00Z"], 1, "no sample from it on"),
        (["--target", "svc-0O"], 1, "did you mean svc-"),
        (["--graph", "none.csv"], 1, "none.csv"),
        (["--top", "0"], 2, "--top"),
        (["--color", "red"], 2, "--color"),
    ],
)
def test_wrong_options_are_one_clear_line(
    files: dict[str, str], say: Say, options: list[str], code: int, said: str
) -> None:
    got, out, err = say("--input", files["both"], "--at", CASE.at.isoformat(), *options)
    assert (got, out) == (code, "")
    assert said in err
    if code == 1:
        assert err.startswith("foretide: ")
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\nsvc-00,svc-01\n", "expected columns caller,callee or a matrix"),
        ("caller,callee\nx,y\n", "none of its names is a workload"),
        (",svc-00\nsvc-00,many\n", "row 1: expected a number, got 'many'"),
        ("caller,callee\na,b,c,d\n1\n", "edges.csv"),
        ("", "edges.csv"),
    ],
)
def test_wrong_graphs_are_one_clear_line(
    files: dict[str, str], say: Say, text: str, said: str
) -> None:
    Path(files["edges"]).write_text(text)
    at = CASE.at.isoformat()
    code, out, err = say("--input", files["both"], "--at", at, "--graph", files["edges"])
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert said in err


def test_an_option_that_is_missing_is_bad_usage(files: dict[str, str], say: Say) -> None:
    assert say("--input", files["both"])[0] == 2
    assert say("--at", CASE.at.isoformat())[0] == 2


def test_a_name_that_several_have_must_be_said_in_full(
    files: dict[str, str], tmp_path: Path
) -> None:
    both = labelled(CASE.samples)
    pd.concat([both, both.assign(namespace="staging")]).to_parquet(tmp_path / "twice.parquet")
    path, at = str(tmp_path / "twice.parquet"), CASE.at.isoformat()
    with pytest.raises(Exception, match="2 workloads are called"):
        diagnose([path], at, target=CASE.target)
    told = diagnose([path], at, target=f"prod/shop/Deployment/{CASE.target}", graph=files["edges"])
    assert told["causes"][0]["name"] == CASE.root


def test_a_deploy_right_before_is_part_of_the_evidence(tmp_path: Path) -> None:
    times = pd.date_range(CASE.at - pd.Timedelta("1h"), periods=14, freq="5min")
    moved = times >= CASE.at - pd.Timedelta("10min")
    stamp = pd.DataFrame(
        {"workload": CASE.root, "metric": "deploy_timestamp_seconds", "ts": times,
         "value": 1.7e9 + 1e4 * moved}
    )  # fmt: skip
    labelled(pd.concat([CASE.samples, stamp])).to_parquet(tmp_path / "deployed.parquet")
    told = diagnose([str(tmp_path / "deployed.parquet")], CASE.at.isoformat(), target=CASE.target)
    assert told["causes"][0]["name"] == CASE.root
    assert "deploy at " in told["causes"][0]["evidence"]
    assert "10 min before" in told["causes"][0]["evidence"]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002
        self.tags.add(tag)


def test_the_picture_holds_labels_as_text(tmp_path: Path, say: Say) -> None:
    evil = '<script>alert(1)</script>"&\x1b[31m'
    samples = labelled(CASE.samples)
    samples["name"] = samples["name"].replace(CASE.root, evil)
    samples.to_parquet(tmp_path / "evil.parquet")
    args = ("--input", str(tmp_path / "evil.parquet"), "--at", CASE.at.isoformat())
    code, out, _ = say(*args, "--out", str(tmp_path / "out"))
    assert code == 0
    assert "\x1b" not in out
    assert "alert(1)" in out
    page = (tmp_path / "out" / "causes.html").read_text(encoding="utf-8")
    tags = _Tags()
    tags.feed(page)
    assert "script" not in tags.tags
    assert {"svg", "path", "line"} <= tags.tags
    told = json.loads((tmp_path / "out" / "causes.json").read_text())
    assert evil in [cause["name"] for cause in told["causes"]]
    assert page.count("<svg") == len(told["causes"])


@pytest.mark.skipif(not PETSHOP.is_dir(), reason=f"real data is not at {PETSHOP}")
def test_recorded_incidents_find_their_cause(tmp_path: Path) -> None:
    for scenario in ("low_traffic", "high_traffic"):
        folder = PETSHOP / scenario
        told = json.loads((folder / "issue_0.json").read_text())
        at = pd.read_parquet(folder / "issue_0.parquet")["ts"].min()
        inputs = [str(folder / "normal.parquet"), str(folder / "issue_0.parquet")]
        result = diagnose(
            inputs, at.isoformat(), target=told["target"]["node"], graph=str(folder / "graph.csv")
        )
        assert told["root_cause"]["node"] in [c["name"] for c in result["causes"][:3]]
