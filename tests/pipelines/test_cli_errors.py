"""What goes wrong, as a user meets it: one line that names the thing, exit code 1 (2 for bad
usage), and a store that is as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipelines.cli import _run_cli
from pipelines.errors import ForetideError

SECRET = "tok-9f21c0"  # noqa: S105
START = pd.Timestamp("2026-05-01T00:00Z")


def series(days: float, *, name: str = "web", start: pd.Timestamp = START) -> pd.DataFrame:
    """A daily wave at 5 minutes, without any trouble in it."""
    ts = pd.date_range(start, periods=int(days * 288), freq="5min", unit="ms")
    wave = 100 + 40 * np.sin(np.arange(len(ts)) * 2 * np.pi / 288)
    return pd.DataFrame({"name": name, "metric": "requests_per_second", "ts": ts, "value": wave})


def digest(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, with its bytes' hash; what was asked of a source,
    and that a run failed, may be on record.
    """
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.parent.name not in ("_coverage", "runs")
    }


@pytest.fixture(autouse=True)
def plain_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith(("FORETIDE_", "PREFECT_API"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that already holds something."""
    source = tmp_path / "before.parquet"
    series(5).to_parquet(source)
    config = tmp_path / "before.yaml"
    config.write_text(f"source: {{kind: files, paths: ['{source}']}}\n")
    out = tmp_path / "store"
    assert _run_cli(["ingest", "--config", str(config), "--out", str(out)]) == 0
    return out


@pytest.fixture
def fails(store: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail; gives its one line."""

    def run(*args: str, code: int = 1) -> str:
        before = digest(store)
        capsys.readouterr()
        assert _run_cli([*args, "--out", str(store)]) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert "Traceback" not in said.err
        if code == 1:
            *progress, line = said.err.splitlines()
            assert all(p.startswith("ingest: will ") for p in progress)
            assert line.startswith("foretide: ")
            assert "unexpected" not in line
        assert digest(store) == before
        return said.err.splitlines()[-1]

    return run


def configured(folder: Path, text: str) -> str:
    path = folder / "foretide.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


# ---- configuration


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sorce: {url: x}", ["unknown key 'sorce'", "'source'"]),
        ("source: {http: {timeout_s: -1}}", ["source.http", "timeout_s", "-1"]),
        ("detect: {band: {hold_hours: 3}}", ["detect.band.hold_hours", "hold_h"]),
        ("source: {catalog: nothing}", ["source.catalog", "nothing.yaml", "plain, prometheus"]),
        ("source: {metrics: [cpu]}", ["source.metrics", "'cpu'", "cpu_usage_cores"]),
        ("source: {kind: files}", ["source.paths"]),
        ("source: [", ["foretide.yaml", "not valid YAML"]),
    ],
)
def test_a_bad_configuration(
    fails: Callable[..., str], tmp_path: Path, text: str, named: list[str]
) -> None:
    said = fails("ingest", "--config", configured(tmp_path, text))
    assert all(word in said for word in named), said


def test_a_configuration_that_is_not_there(fails: Callable[..., str]) -> None:
    assert "nowhere.yaml: no such configuration file" in fails("train", "--config", "nowhere.yaml")


def test_a_catalog_that_is_no_yaml_is_named_by_its_file(
    fails: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("metrics:\n  a: {unit: [}\n")
    said = fails("ingest", "--config", configured(tmp_path, "source: {catalog: mine.yaml}"))
    assert "mine.yaml" in said


# ---- options


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--as-of", "yesterday"], "--as-of"),
        (["--horizon", "168"], "--horizon"),
        (["--horizon", "-3h"], "--horizon"),
        (["--step", "0min"], "--step"),
        (["--quantiles", "0.5,1.5"], "--quantiles"),
        (["--quantiles", "a"], "--quantiles"),
        (["--quantiles", ""], "--quantiles"),
        (["--quantiles", "0.99999"], "--quantiles"),
    ],
)
def test_a_bad_option_is_named_with_what_came(
    fails: Callable[..., str], tmp_path: Path, args: list[str], named: str
) -> None:
    source = tmp_path / "before.parquet"
    said = fails("forecast", "--input", str(source), *args)
    assert named in said
    assert repr(args[1]) in said


def test_options_of_files_are_refused_for_the_store(fails: Callable[..., str]) -> None:
    assert "--input" in fails("forecast", "--step", "1h")
    assert "--train-until" in fails("score", "--input", "before.parquet")


def test_scoring_what_was_learned_from_is_refused(fails: Callable[..., str]) -> None:
    said = fails(
        *("score", "--input", "before.parquet"),
        *("--train-until", "2026-05-04T12:00Z", "--start", "2026-05-04T00:00Z"),
    )
    assert "--start" in said
    assert "--train-until" in said


@pytest.mark.parametrize(
    "args",
    [
        ["forecast", "--horizn", "3h"],
        ["forcast"],
        ["forecast", "--aggregate", "median"],
        ["train", "--seed", "few"],
    ],
)
def test_bad_usage_has_its_own_exit_code(
    capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    assert _run_cli(args) == 2
    said = capsys.readouterr()
    assert "Error: " in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    "verb", [["ingest"], ["train"], ["forecast"], ["score", "--train-until", "2026-05-04T12:00Z"]]
)
def test_an_out_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: list[str], store: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    source = ["--config", "before.yaml"] if verb == ["ingest"] else ["--input", "before.parquet"]
    capsys.readouterr()
    assert _run_cli([*verb, *source, "--out", "file/below"]) == 1
    said = capsys.readouterr()
    assert "file/below cannot be written" in said.err.splitlines()[-1]
    assert "Traceback" not in said.err


# ---- files


@pytest.mark.parametrize("verb", ["train", "forecast"])
@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.parquet", b"PAR1 but not really", ["a.parquet"]),
        ("a.csv", b"", ["a.csv", "empty"]),
        ("a.csv", b"name,metric,ts,value\nweb,m,2026-05-01T00:00Z,many\n", ["'value'", "'many'"]),
        ("a.csv", b"name,metric,ts,value\nweb,m,2026-05-01 00:00,1\n", ["'ts'", "time zone"]),
        ("a.csv", b"name,ts,value\nweb,2026-05-01T00:00Z,1\n", ["a.csv", "metric"]),
        ("a.csv", b"name,metric,ts,value\nweb,m,2026-05-01T00:00Z,NaN\n", ["a.csv", "finite"]),
        ("a.json", b"{}", ["a.json", ".parquet"]),
    ],
)
def test_a_malformed_file_is_named(
    fails: Callable[..., str],
    tmp_path: Path,
    verb: str,
    name: str,
    content: bytes,
    named: list[str],
) -> None:
    (tmp_path / name).write_bytes(content)
    said = fails(verb, "--input", str(tmp_path / name))
    assert all(word in said for word in named), said


def test_a_missing_file_is_named(fails: Callable[..., str]) -> None:
    assert "nowhere.csv: no such file" in fails("forecast", "--input", "nowhere.csv")


def test_files_with_nothing_before_the_clock(fails: Callable[..., str]) -> None:
    said = fails("ingest", "--config", "before.yaml", "--as-of", "2020-01-01T00:00Z")
    assert "before.parquet" in said
    assert "2020-01-01" in said
    said = fails("forecast", "--input", "before.parquet", "--as-of", "2020-01-01T00:00Z")
    assert "before.parquet" in said
    assert "--as-of" in said


# ---- history


@pytest.fixture
def four_days_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORETIDE_QUALITY__MINIMUM_HISTORY_DAYS", "4")


@pytest.mark.parametrize("verb", [["train"], ["forecast"]])
def test_silence_says_how_long_it_may_last(
    fails: Callable[..., str], tmp_path: Path, verb: list[str]
) -> None:
    source = tmp_path / "silent.parquet"
    series(2, name="b").to_parquet(source)
    said = fails(*verb, "--input", str(source), "--as-of", "2026-05-05T00:00Z")
    assert "1 × no sample in the last 24 h" in said


def test_too_little_to_score(
    fails: Callable[..., str], tmp_path: Path, four_days_are_needed: None
) -> None:
    source = tmp_path / "short.parquet"
    series(2).to_parquet(source)
    said = fails("score", "--input", str(source), "--train-until", "2026-05-02T00:00Z")
    assert "1 × history 2.0 d, needs 4.0 d" in said


@pytest.mark.parametrize(
    ("args", "verb"),
    [
        (["forecast", "--as-of", "2026-05-06T00:00Z"], "train"),
        (["score", "--as-of", "2026-05-06T00:00Z"], "train"),
        (["plan", "--as-of", "2026-05-06T00:00Z"], "forecast"),
    ],
)
def test_a_step_before_its_turn_names_the_one_to_run_first(
    fails: Callable[..., str], args: list[str], verb: str
) -> None:
    assert f"`foretide {verb}`" in fails(*args)


def test_nothing_to_evaluate(fails: Callable[..., str]) -> None:
    assert "no forecast was issued" in fails("evaluate", "--as-of", "2026-05-06T00:00Z")


@pytest.mark.parametrize("verb", ["train", "score", "forecast", "plan", "report"])
def test_an_empty_store_stays_unmade(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: str
) -> None:
    assert _run_cli([verb, "--out", "nothing"]) == 1
    assert "`foretide " in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()


# ---- servers


class FakePrometheus(ThreadingHTTPServer):
    """Answers every range query with what ``reply`` makes of its form."""

    reply: Callable[[dict[str, str]], tuple[int, Any]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: FakePrometheus

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        code, answer = self.server.reply({k: v[0] for k, v in parse_qs(body).items()})
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Silence."""


@pytest.fixture
def prometheus() -> Iterator[FakePrometheus]:
    server = FakePrometheus(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def asking(folder: Path, url: str, more: str = "") -> str:
    return configured(
        folder,
        f"source: {{url: '{url}', catalog: plain, metrics: [requests_per_second, replicas], "
        f"headers: {{Authorization: {SECRET}}}, prometheus: {{attempts: 2, retry_wait_s: 0.01}}"
        f"{more}}}\n",
    )


def result(form: dict[str, str], values: list[tuple[float, str]], **labels: str) -> Any:
    labels = {"namespace": "shop", "kind": "Deployment", "name": "web"} | labels
    return {"metric": labels, "values": values}


def success(*results: Any) -> tuple[int, Any]:
    return 200, {"status": "success", "data": {"resultType": "matrix", "result": list(results)}}


AT = ("--as-of", "2026-05-06T00:00Z")


def test_an_unreachable_server(fails: Callable[..., str], tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    said = fails("ingest", "--config", asking(tmp_path, url), *AT)
    assert url in said
    assert "refused" in said
    assert SECRET not in said


def test_an_address_that_is_none(fails: Callable[..., str], tmp_path: Path) -> None:
    said = fails("ingest", "--config", asking(tmp_path, "prometheus:9090/x"), *AT)
    assert "no http(s) address" in said


def test_the_password_in_an_address_is_not_told(
    fails: Callable[..., str], tmp_path: Path, prometheus: FakePrometheus
) -> None:
    prometheus.reply = lambda _: success()
    url = prometheus.url.replace("//", f"//me:{SECRET}@")
    said = fails("ingest", "--config", asking(tmp_path, url), *AT)
    assert "no sample" in said
    assert SECRET not in said


def test_an_empty_result(
    fails: Callable[..., str], tmp_path: Path, prometheus: FakePrometheus
) -> None:
    prometheus.reply = lambda _: success()
    said = fails("ingest", "--config", asking(tmp_path, prometheus.url), *AT)
    assert prometheus.url in said
    assert "2 metrics asked" in said
    assert "2026-05-06" in said
    assert "doctor" in said


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        (
            (400, {"status": "error", "error": "parse error"}),
            ["parse error", "requests_per_second"],
        ),
        ((401, b"no"), ["401", "credentials"]),
        ((503, b"later"), ["503", "2 attempts"]),
        ((200, b"<html>login</html>"), ["HTML page", "not as a Prometheus query API"]),
        (
            success({"metric": {"name": "a"}, "values": [(1.0, "many")]}),
            ["requests_per_second", "many"],
        ),
    ],
)
def test_a_server_that_refuses_or_answers_nonsense(
    fails: Callable[..., str],
    tmp_path: Path,
    prometheus: FakePrometheus,
    reply: tuple[int, Any],
    named: list[str],
) -> None:
    prometheus.reply = lambda _: reply
    said = fails("ingest", "--config", asking(tmp_path, prometheus.url), *AT)
    assert all(word in said for word in named), said
    assert SECRET not in said


def test_of_a_metric_that_breaks_half_way_the_others_are_kept(
    tmp_path: Path, prometheus: FakePrometheus, capsys: pytest.CaptureFixture[str]
) -> None:
    first = pd.Timestamp("2026-04-01T00:00Z")

    def reply(form: dict[str, str]) -> tuple[int, Any]:
        if form["query"].startswith("replicas") and float(form["start"]) > first.timestamp():
            return 500, b"disk full"
        return success(result(form, [(float(form["start"]), "1")]))

    prometheus.reply = reply
    config = asking(tmp_path, prometheus.url)
    window = ("--start", first.isoformat(), "--out", "kept")
    assert _run_cli(["ingest", "--config", config, *AT, *window]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "replicas" in line
    assert "disk full" in line
    assert "are kept" in line
    kept = pd.read_parquet("kept/samples")
    assert (kept["metric"] == "requests_per_second").any()
    assert SECRET not in line


def test_what_is_dirty_in_an_answer_is_counted_and_named(
    store: Path, tmp_path: Path, prometheus: FakePrometheus, capsys: pytest.CaptureFixture[str]
) -> None:
    def reply(form: dict[str, str]) -> tuple[int, Any]:
        at = float(form["start"])
        if float(form["end"]) < 1778025600 - 300 or not form["query"].startswith("requests"):
            return success()
        at = 1778025600 - 3000
        unsorted = [(at + 900, "4"), (at, "1"), (at + 300, "NaN"), (at + 600, "+Inf")]
        again = [(at, "7")]
        return success(
            result(form, unsorted), result(form, again, pod="b"), {"metric": {}, "values": unsorted}
        )

    prometheus.reply = reply
    config = asking(tmp_path, prometheus.url)
    capsys.readouterr()
    assert _run_cli(["ingest", "--config", config, "--out", str(store), *AT, "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    notes = " ".join(outcome["notes"])
    assert "2 samples left out: not finite" in notes
    assert "1 samples left out: another of the same workload and stamp came after" in notes
    assert "1 series left out: no name label" in notes
    assert "no sample of replicas" in notes
    assert outcome["skipped"] == {"no sample": 1}
    day = pq.read_table(store / "samples" / "date=2026-05-05" / "samples.parquet").to_pandas()
    mine = day[day["namespace"] == "shop"]
    assert mine["value"].tolist() == [7.0, 4.0]
    assert mine["ts"].is_monotonic_increasing


# ---- what is dirty in a file


@pytest.fixture
def dirty(tmp_path: Path) -> tuple[str, str]:
    """A clean file, and the same shuffled, with NaN, Inf and older duplicates in it."""
    clean = series(10)
    old = clean.iloc[:40].assign(value=0.5)
    bad = clean.iloc[100:130].assign(value=[np.nan, np.inf, -np.inf] * 10)
    bad["ts"] += pd.Timedelta("1min")
    shuffled = pd.concat([old, bad, clean.sample(frac=1, random_state=3)])
    clean.to_parquet(tmp_path / "clean.parquet")
    shuffled.to_parquet(tmp_path / "dirty.parquet")
    return str(tmp_path / "clean.parquet"), str(tmp_path / "dirty.parquet")


def test_a_dirty_file_is_forecast_like_the_clean_one_and_says_what_was_left_out(
    dirty: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found: list[pd.DataFrame] = []
    notes: list[str] = []
    for place in dirty:
        out = str(Path(place).with_suffix(""))
        code = _run_cli(["forecast", "--input", place, "--horizon", "24h", "--out", out, "--json"])
        assert code == 0
        notes.append(" ".join(json.loads(capsys.readouterr().out)["notes"]))
        table = pq.read_table(next(Path(out).glob("forecasts/*.parquet"))).to_pandas()
        found.append(table.drop(columns=["run_id", "model_version"]))
    pd.testing.assert_frame_equal(*found)
    assert "left out" not in notes[0]
    assert "30 samples left out: not finite" in notes[1]
    assert "40 samples left out: duplicate" in notes[1]


def test_a_dirty_file_is_ingested_like_the_clean_one(
    dirty: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stores: list[dict[str, str]] = []
    for place in dirty:
        out = Path(place).with_suffix("")
        config = configured(tmp_path, f"source: {{kind: files, paths: ['{place}']}}")
        assert _run_cli(["ingest", "--config", config, "--out", str(out)]) == 0
        stores.append(digest(out))
    assert stores[0] == stores[1]
    said = capsys.readouterr().out
    assert "30 samples left out: not finite" in said
    assert "40 samples left out: another of the same workload and stamp" in said


# ---- the command itself, as another process


def foretide(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *args],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )


def test_json_is_all_that_is_on_stdout(tmp_path: Path, store: Path) -> None:
    done = foretide(
        *("forecast", "--input", "before.parquet", "--horizon", "2h", "--json"), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["verb"] == "forecast"
    assert outcome["done"] == 1
    assert done.stderr == ""
    assert (tmp_path / "foretide-out" / "forecasts").is_dir()


def test_an_error_is_one_line_and_with_debug_a_traceback(tmp_path: Path) -> None:
    args = ("train", "--out", "nothing", "--as-of", "2026-05-06T00:00Z")
    plain = foretide(*args, cwd=tmp_path)
    assert (plain.returncode, plain.stdout) == (1, "")
    assert plain.stderr == "foretide: no samples in nothing; run `foretide ingest` first\n"
    with pytest.raises(ForetideError, match="no samples in nothing"):
        _run_cli([*args, "--debug"])  # Python prints the rest


def test_a_shard_that_breaks_is_one_line_too(tmp_path: Path) -> None:
    series(1).to_parquet(tmp_path / "short.parquet")
    args = ("--input", "short.parquet", "--out", "out", "--as-of", "2026-05-05T00:00Z")
    done = foretide("train", *args, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no sample in the last 24 h" in done.stderr
    assert not (tmp_path / "out").exists()


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pipelines.cli import _run_cli\n"
        "codes = [_run_cli(['--help']), _run_cli(['forecast', '--help'])]\n"
        "heavy = {'pandas', 'numpy', 'prefect', 'mlflow', 'pyarrow', 'numba', 'sklearn', 'httpx'}\n"
        "print(codes, sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "[0, 0] []\n"
    assert "--horizon" in done.stdout
