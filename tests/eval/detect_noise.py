"""Alerts a day on simulated clusters: Foretide's incidents against static thresholds.

``python tests/eval/detect_noise.py [--seeds 7 11 23]`` simulates a cluster a seed, learns from four
weeks, scores the fifth with the score verb, and holds both against what was injected. The static
rules see the same samples and have Prometheus' semantics: a rule is looked at every step, fires
once it has held for five minutes (``for: 5m``), and resolves when it no longer holds or there is
no sample; each firing of a workload's rule is one alert, however long. They are judged as whole
workloads, which is kind to them: in a cluster every pod fires.

An injected fault or leak is found when an alert of its workload was told while it lasted (the
product's ``event_scores``); a leak lasts until its limit is reached. Everything else counts as
noise for both, the overrun Monday peak too.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from features.frames import INCIDENTS, LEAKS, SCORES
from features.panel import Panel
from features.synthetic import FAULTS, ClusterSpec, SimulatedCluster, simulate
from features.workloads import with_workload
from models.alert_noise import noise
from models.events import event_scores
from models.static_rules import StaticRulesParams, firings
from pipelines.run import RunRef
from pipelines.score import score
from pipelines.settings import CONFIG_DIR

SEEDS = (7, 11, 23)
COLUMNS = ["workload", "metric", "start", "end", "detected_at"]


def static_alerts(panel: Panel, start: pd.Timestamp) -> pd.DataFrame:
    """Alerts of the static rules from ``start`` on: ``COLUMNS``, ended at the panel's end."""
    rules = StaticRulesParams()
    parts = [firings(panel, start, rule, rules.for_min) for rule in rules.rules]
    return pd.concat(parts, ignore_index=True)


def judged(seed: int) -> list[dict[str, object]]:
    """A row for each of the two, for one cluster."""
    spec = ClusterSpec(seed=seed)
    cluster = simulate(spec)
    start = pd.Timestamp(spec.start) + pd.Timedelta(weeks=spec.weeks - 1)
    end = start + pd.Timedelta(weeks=1)
    incidents, figures = _incidents(cluster, start, end)
    step = pd.Timedelta(spec.step_s, "s")
    panel = Panel.from_frame(with_workload(cluster.samples), step=step)
    static = static_alerts(panel, start)
    told = incidents.explode("workloads").rename(
        columns={"workloads": "workload", "started_at": "start", "ended_at": "end"}
    )
    told["end"] = told["end"].fillna(end)
    truth = cluster.truth[cluster.truth["kind"].isin(FAULTS) & (cluster.truth["end"] > start)]
    days = (end - start) / pd.Timedelta(days=1)
    return [
        _row(seed, "static thresholds", static, len(static), grouped(static), truth, days),
        _row(seed, "foretide", told, len(incidents), len(incidents), truth, days)
        | {"raw_a_day": figures["raw_alerts"] / days},
    ]


def _incidents(
    cluster: SimulatedCluster, start: pd.Timestamp, end: pd.Timestamp
) -> tuple[pd.DataFrame, dict[str, float]]:
    """What the score verb tells of the last week."""
    with tempfile.TemporaryDirectory(prefix="foretide-eval-") as folder:
        file, config = str(Path(folder) / "samples.parquet"), str(CONFIG_DIR / "demo.yaml")
        pq.write_table(cluster.samples, file)
        score.fn(config=config, inputs=[file], out=folder, train_until=start.isoformat())
        run = RunRef(config, (file,), folder, end.isoformat()).open()
        scores, leaks, incidents = (
            run.read(table, start).to_pandas() for table in (SCORES, LEAKS, INCIDENTS)
        )
    incidents = incidents[incidents["detected_at"] >= start].drop_duplicates("incident_id")
    return incidents, noise(scores, leaks, incidents)


def grouped(alerts: pd.DataFrame, within_min: float = 15) -> int:
    """Notifications when alerts of one namespace that fire close together come as one."""
    space = alerts["workload"].str.split("/").str[:2].str.join("/")
    rows = alerts.assign(space=space).sort_values(["space", "detected_at"])
    late = rows["detected_at"].diff() > pd.Timedelta(minutes=within_min)
    return int((late | (rows["space"] != rows["space"].shift())).sum())


def _row(
    seed: int,
    who: str,
    alerts: pd.DataFrame,
    n_alerts: int,
    n_grouped: int,
    truth: pd.DataFrame,
    days: float,
) -> dict[str, object]:
    leak = truth["kind"] == "leak"
    found, leaks = (event_scores(alerts, truth[kind]) for kind in (~leak, leak))
    every = event_scores(alerts, truth)
    return {
        "seed": seed,
        "alerts by": who,
        "recall": every.recall,
        "faults": found.recall,
        "leaks": leaks.recall,
        "delay_min": found.median_delay_s / 60,
        "precision": every.precision,
        "alerts_a_day": n_alerts / days,
        "grouped_a_day": n_grouped / days,
        "raw_a_day": n_alerts / days,
    }


def compared(seeds: Sequence[int] = SEEDS) -> pd.DataFrame:
    """Both on every cluster: one row a seed and a way to alert."""
    return pd.DataFrame([row for seed in seeds for row in judged(seed)])


def cut_share(table: pd.DataFrame) -> float:
    """By which share Foretide tells less often, over all clusters; 0 where it finds less."""
    by = table.groupby("alerts by")[["alerts_a_day", "recall"]].mean()
    mine, static = by.loc["foretide"], by.loc["static thresholds"]
    if mine["recall"] < static["recall"]:
        return 0.0
    return float(1 - mine["alerts_a_day"] / static["alerts_a_day"])


def evaluate(data: Path, seeds: Sequence[int] = SEEDS) -> Iterable[tuple[str, float, str]]:
    """Print the table; the cut in alerts. Simulated: ``data`` is not looked at."""
    del data
    table = compared(seeds)
    print("\nAlerts a day, one simulated week of 40 workloads a seed (grouped: by namespace)")
    print(table.to_string(index=False, float_format=lambda v: f"{v:.2f}"))
    return [("alert_noise_cut_share", cut_share(table), "share")]


def main() -> None:
    """Print the table and the figure."""
    parser = argparse.ArgumentParser(description="Alerts a day on simulated clusters.")
    parser.add_argument("data", nargs="?", default=".", type=Path, help="not looked at")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    args = parser.parse_args()
    for name, value, unit in evaluate(args.data, args.seeds):
        print(f"{name}: {value:.3g} {unit}")


if __name__ == "__main__":
    main()
