"""Pulling 8 M samples: Foretide, a raw read thrown away, and prometheus-api-client, side by side.

A real VictoriaMetrics (or ``--server prometheus``) on loopback is filled with ``--series`` made-up
series of ``--days`` days at 5 minutes. Then, in turns: the same range queries read as bytes and
thrown away; ``foretide ingest`` into an empty store; prometheus-api-client into pandas and one
Parquet file. Each pull is a process of its own, timed inside from the first request to the last
file (imports are not counted), and its peak memory is the process's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "kit"))

import numpy as np
import pandas as pd
import pyarrow as pa

from features.frames import SAMPLES, conform

END = pd.Timestamp("2026-06-01", tz="UTC")
STEP_S = 300
METRIC = "cpu_usage_cores"
QUERY = f"last_over_time({METRIC}[1s])"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--server", choices=["victoria-metrics", "prometheus"], default="victoria-metrics"
    )
    parser.add_argument(
        "--without-client", action="store_true", help="leave prometheus-api-client out"
    )
    parser.add_argument(
        "--one", nargs=4, metavar=("WAY", "URL", "DAYS", "FOLDER"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.one:
        way, url, days, folder = arguments.one
        print(json.dumps(WAYS[way](url, int(days), Path(folder))))
        return
    compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    from metric_servers import serving

    ways = [w for w in WAYS if w != "client" or not arguments.without_client]
    seen: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="foretide-bench-") as scratch:
        root = Path(scratch)
        (root / "server").mkdir()
        with serving(arguments.server, root / "server") as server:
            began = time.perf_counter()
            for block in range(0, arguments.series, 50):
                most = min(50, arguments.series - block)
                server.load_plain(samples(block, most, arguments.days))
            print(f"{arguments.server} filled in {time.perf_counter() - began:.0f} s")
            for _ in range(arguments.rounds):
                for way in ways:
                    folder = root / way
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir()
                    seen[way].append(run(way, server.url, arguments.days, folder))
                    print(way, {k: round(v, 3) for k, v in seen[way][-1].items()}, flush=True)
    told(seen)


def told(seen: dict[str, list[dict[str, float]]]) -> None:
    wanted = {int(one["samples"]) for way, rounds in seen.items() for one in rounds if way != "raw"}
    assert len(wanted) == 1, f"the ways disagree on the number of samples: {wanted}"
    samples_n = wanted.pop()
    seconds = {way: statistics.median(r["seconds"] for r in rounds) for way, rounds in seen.items()}
    peak = {way: max(r["peak_gib"] for r in rounds) for way, rounds in seen.items()}
    print(f"\n{'way':<24}{'seconds':>9}{'M samples/s':>13}{'peak GiB':>10}")
    for way, took in seconds.items():
        print(f"{way:<24}{took:>9.2f}{samples_n / took / 1e6:>13.2f}{peak[way]:>10.2f}")
    machine = f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores"
    print(f"medians of {len(seen['raw'])} rounds in turns; {machine}\n")
    if "client" in seconds:
        ratio = seconds["client"] / seconds["foretide"]
        print(f"figure ingest_speedup_vs_prometheus_api_client {ratio:.2f} ratio")
    print(f"figure ingest_share_of_raw_read {seconds['raw'] / seconds['foretide']:.3f} ratio")
    print(f"figure ingest_peak_gib {peak['foretide']:.3f} GiB")


def samples(first: int, series: int, days: int) -> pa.Table:
    """A daily wave with noise for each series: as many digits as real rates have."""
    rng = np.random.default_rng(first)
    steps = days * 86_400 // STEP_S
    ts = pd.date_range(end=END, periods=steps + 1, freq=f"{STEP_S}s", inclusive="left")
    wave = 1 + 0.5 * np.sin(2 * np.pi * np.arange(steps) / (86_400 / STEP_S))
    value = wave * rng.lognormal(0, 0.1, (series, steps)) * rng.uniform(0.1, 8, (series, 1))
    frame = pd.DataFrame(
        {
            "namespace": np.repeat([f"team-{(first + i) % 20}" for i in range(series)], steps),
            "kind": "Deployment",
            "name": np.repeat([f"service-{first + i:05d}" for i in range(series)], steps),
            "metric": METRIC,
            "ts": np.tile(ts, series),
            "value": value.ravel(),
        }
    )
    return conform(frame.assign(cluster="bench"), SAMPLES)


def run(way: str, url: str, days: int, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", way, url, str(days), str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def raw(url: str, days: int, folder: Path) -> dict[str, float]:
    """The bytes of the same range queries, read and thrown away."""
    import httpx

    from pipelines.adapters.source import Window

    window = Window.of(END - pd.Timedelta(days=days), END, pd.Timedelta(STEP_S, "s"))
    asked = recorded(url, window)
    began = time.perf_counter()
    size = 0
    with httpx.Client(base_url=url, timeout=300, headers=asked[0][1]) as client:
        for form, _ in asked:
            with client.stream("POST", "api/v1/query_range", content=form) as response:
                response.raise_for_status()
                for piece in response.iter_raw():
                    size += len(piece)
    return measured(began, 0, size)


def recorded(url: str, window) -> list[tuple[bytes, dict[str, str]]]:
    """What Foretide asks the server: its own requests, with their headers, seen on the way."""
    import httpx

    from features.metrics import Metric
    from pipelines.adapters.prometheus import PrometheusSource
    from pipelines.adapters.source import Spec

    asked: list[tuple[bytes, dict[str, str]]] = []

    def note(request: httpx.Request) -> None:
        kept = ("accept-encoding", "content-type")
        asked.append((request.read(), {k: v for k, v in request.headers.items() if k in kept}))

    with httpx.Client(base_url=url, timeout=300, event_hooks={"request": [note]}) as client:
        source = PrometheusSource(client, cluster="bench")
        for _ in source.fetch(Spec(Metric(METRIC, query=QUERY)), window):
            pass
    return asked


def foretide(url: str, days: int, folder: Path) -> dict[str, float]:
    """The whole flow: estimate, pull, spool, merge, commit."""
    from pipelines.ingest import ingest

    catalog = folder / "catalog.yaml"
    catalog.write_text(f'metrics:\n  {METRIC}: {{role: demand, query: "{QUERY}"}}\n')
    config = folder / "foretide.yaml"
    source = {"url": url, "catalog": str(catalog), "cluster": "bench"}
    config.write_text(json.dumps({"source": source, "history": {"days": days}}))
    began = time.perf_counter()
    result = ingest.fn(config=str(config), out=str(folder / "store"), as_of=END.isoformat())
    return measured(began, result["figures"]["samples"], result["figures"]["bytes"])


def client(url: str, days: int, folder: Path) -> dict[str, float]:
    """prometheus-api-client: one range query into a data frame and a Parquet file."""
    from prometheus_api_client import MetricRangeDataFrame, PrometheusConnect

    began = time.perf_counter()
    answer = PrometheusConnect(url=url, disable_ssl=True).custom_query_range(
        QUERY,
        start_time=(END - pd.Timedelta(days=days)).to_pydatetime(),
        end_time=(END - pd.Timedelta(STEP_S, "s")).to_pydatetime(),
        step=str(STEP_S),
    )
    frame = MetricRangeDataFrame(answer)
    frame.to_parquet(folder / "samples.parquet")
    return measured(began, len(frame), 0)


def measured(began: float, samples_n: float, size: float) -> dict[str, float]:
    seconds = time.perf_counter() - began
    status = Path("/proc/self/status").read_text()  # the process's own, without its parent's
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 2**20
    return {"seconds": seconds, "samples": samples_n, "peak_gib": peak, "bytes": size}


WAYS = {"raw": raw, "foretide": foretide, "client": client}

if __name__ == "__main__":
    main()
