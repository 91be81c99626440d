"""demo: the whole pipeline on a simulated cluster, held against what was injected.

Four weeks are learned from, the fifth is scored as it would have come and forecast before it came;
then the coming Monday is planned. Every figure that is printed is counted here from the run's own
tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from features.frames import INCIDENTS, LEAKS
from features.synthetic import FAULTS, ClusterSpec, simulate
from features.workloads import split_workload
from models.events import EventScores, event_scores
from pipelines.run import RunRef
from pipelines.settings import CONFIG_DIR

__all__ = ["DemoFindings", "run_demo"]

_ALERT = 1.0


@dataclass(frozen=True, slots=True)
class DemoFindings:
    """What of the injected trouble was found.

    Attributes
    ----------
    events : recall, precision and delay of the faults, leaks left out
    leaks : frame, one row a leak
        ``workload, limit_at, found_at, hours_before, p10_h, p50_h, p90_h``; NaT where missed.
    incidents : how many were about a ``fault``, only a harmless ``deploy``, or ``nothing``
    """

    events: EventScores
    leaks: pd.DataFrame
    incidents: Mapping[str, int]


def run_demo(out: str, console: Console, *, seed: int) -> dict[str, Any]:
    """Simulate, run every verb, print what was found; gives the figures and the report's path."""
    began = time.monotonic()
    root = Path(out)
    spec = ClusterSpec(seed=seed)
    start = pd.Timestamp(spec.start)
    middle, end = start + pd.Timedelta(weeks=spec.weeks - 1), start + pd.Timedelta(weeks=spec.weeks)
    with _progress(console) as step:
        config, truth = step("simulate a cluster", lambda: _simulate(root, spec))
        results = _run_verbs(config, out, middle, end, step)
        findings = find(RunRef(config, (), out, end.isoformat()), truth, middle)
        figures = results["evaluate"]["figures"]
        report = step("report", lambda: _report(config, out, end, findings))
    _print(console, findings, results["replay"]["figures"], results["plan"])
    path = report["outputs"]["report"]
    seconds = time.monotonic() - began
    console.print(f"\nThe report: [bold]{path}[/]   ({seconds:.0f} s)")
    return {
        "verb": "demo",
        "report": path,
        "seconds": seconds,
        "figures": figures | _figures(findings),
        "outcomes": results,
    }


def find(ref: RunRef, truth: pd.DataFrame, start: pd.Timestamp) -> DemoFindings:
    """Hold the incidents and leaks of ``[start, as_of)`` against the truth."""
    run = ref.open()
    incidents: pd.DataFrame = run.read(INCIDENTS, start).to_pandas()
    leaks: pd.DataFrame = run.read(LEAKS, start).to_pandas()
    incidents = incidents[incidents["detected_at"] >= start].drop_duplicates("incident_id")
    detected = incidents.explode("workloads").rename(
        columns={"workloads": "workload", "started_at": "start", "ended_at": "end"}
    )
    detected["end"] = detected["end"].fillna(run.as_of)
    faults = truth[truth["kind"].isin(FAULTS) & (truth["end"] > start)]
    events = event_scores(detected, faults[faults["kind"] != "leak"])
    return DemoFindings(
        events, _leaks(leaks, faults[faults["kind"] == "leak"]), _about(detected, truth, start)
    )


def _simulate(root: Path, spec: ClusterSpec) -> tuple[str, pd.DataFrame]:
    """The cluster's samples as a file, and a configuration that reads it."""
    cluster = simulate(spec)
    folder = root / "simulated"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(cluster.samples, folder / "samples.parquet")
    cluster.truth.to_csv(folder / "truth.csv", index=False)
    settings: dict[str, Any] = yaml.safe_load(
        (CONFIG_DIR / "demo.yaml").read_text(encoding="utf-8")
    )
    settings["source"] = {"kind": "files", "paths": [str(folder / "samples.parquet")]}
    config = root / "foretide.yaml"
    config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return str(config), cluster.truth


def _run_verbs(
    config: str, out: str, middle: pd.Timestamp, end: pd.Timestamp, step: Callable[..., Any]
) -> dict[str, dict[str, Any]]:
    from pipelines.evaluate import evaluate
    from pipelines.forecast import forecast
    from pipelines.ingest import ingest
    from pipelines.prescale import prescale
    from pipelines.replaying import replay
    from pipelines.score import score
    from pipelines.train import train

    then, now = middle.isoformat(), end.isoformat()
    common: dict[str, Any] = {"config": config, "out": out}
    return {
        "ingest": step("ingest five weeks", lambda: ingest.fn(**common, as_of=now)),
        "train_4_weeks": step("train on four weeks", lambda: train.fn(**common, as_of=then)),
        "forecast_week": step("forecast the fifth", lambda: forecast.fn(**common, as_of=then)),
        "score": step("score it as it came", lambda: score.fn(**common, as_of=now, start=then)),
        "evaluate": step("evaluate the forecast", lambda: evaluate.fn(**common, as_of=now)),
        "replay": step("replay it as scheduled", lambda: replay.fn(**common, as_of=now)),
        "train": step("train on five weeks", lambda: train.fn(**common, as_of=now)),
        "forecast": step("forecast the coming week", lambda: forecast.fn(**common, as_of=now)),
        "plan": step("plan the coming Monday", lambda: prescale.fn(**common, as_of=now)),
    }


def _report(config: str, out: str, end: pd.Timestamp, findings: DemoFindings) -> dict[str, Any]:
    from pipelines.report.fill import write_report

    found = findings.leaks["found_at"].notna()
    hours = findings.leaks["hours_before"].median()
    kinds = findings.events.kinds
    extra = [
        (
            "Injected leaks found",
            f"{int(found.sum())} of {len(found)}",
            f"median {hours:.0f} h before the limit" if found.any() else "none in time",
        ),
        (
            "Other injected faults found",
            f"{int(kinds['found'].sum())} of {int(kinds['events'].sum())}",
            f"median delay {findings.events.median_delay_s / 60:.0f} min",
        ),
    ]
    return write_report(config, None, out, end.isoformat(), now=end, extra=extra)


def _leaks(leaks: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """For each injected leak the first issue that called it one before the limit was reached."""
    rows: list[dict[str, Any]] = []
    for leak in truth.itertuples():
        called = leaks[
            (leaks["workload"] == leak.workload)
            & (leaks["score"] >= _ALERT)
            & (leaks["issued_at"] >= leak.start)
            & (leaks["issued_at"] < leak.end)
        ].sort_values("issued_at")
        row: dict[str, Any] = {"workload": leak.workload, "limit_at": leak.end, "found_at": pd.NaT}
        if len(called):
            first = called.iloc[0]
            row["found_at"] = first["issued_at"]
            row["hours_before"] = (leak.end - first["issued_at"]) / pd.Timedelta(hours=1)
            for q in ("p10", "p50", "p90"):
                row[f"{q}_h"] = first[f"time_to_limit_{q}_s"] / 3600
        rows.append(row)
    columns = ["workload", "limit_at", "found_at", "hours_before", "p10_h", "p50_h", "p90_h"]
    return pd.DataFrame(rows, columns=columns)


def _about(detected: pd.DataFrame, truth: pd.DataFrame, start: pd.Timestamp) -> dict[str, int]:
    """How many incidents have a fault near them, only a harmless deploy, or nothing at all."""
    near = pd.Timedelta(hours=1)
    injected = truth[truth["end"] > start]
    pairs = detected.merge(injected, on="workload", suffixes=("", "_true"))
    close = (pairs["start"] <= pairs["end_true"] + near) & (
        pairs["end"] >= pairs["start_true"] - near
    )
    pairs = pairs[close]
    every = set(detected["incident_id"])
    fault = set(pairs.loc[pairs["kind"].isin((*FAULTS, "leak_resumed")), "incident_id"])
    deploy = set(pairs.loc[pairs["kind"] == "deploy", "incident_id"]) - fault
    return {"fault": len(fault), "deploy": len(deploy), "nothing": len(every - fault - deploy)}


def _figures(findings: DemoFindings) -> dict[str, float]:
    leaks = findings.leaks
    return {
        "leaks_injected": float(len(leaks)),
        "leaks_found": float(leaks["found_at"].notna().sum()),
        "leak_hours_before_limit_median": float(leaks["hours_before"].median()),
        "faults_injected": float(findings.events.kinds["events"].sum()),
        "faults_found": float(findings.events.kinds["found"].sum()),
        "fault_delay_median_s": findings.events.median_delay_s,
        "incident_precision": findings.events.precision,
        **{f"incidents_about_{what}": float(n) for what, n in findings.incidents.items()},
    }


def _print(
    console: Console, findings: DemoFindings, figures: dict[str, float], plan: dict[str, Any]
) -> None:
    table = Table(title="Injected in the fifth week", title_justify="left", box=SIMPLE_HEAD)
    for column in ("fault", "workload", "found"):
        table.add_column(column, no_wrap=True)
    for kind, workload, delay_s in _records(findings.events.events, "kind", "workload", "delay_s"):
        late = "[red]missed[/]" if np.isnan(delay_s) else f"after {delay_s / 60:.0f} min"
        table.add_row(kind, _short(workload), late)
    for workload, before, p10, p90 in _records(
        findings.leaks, "workload", "hours_before", "p10_h", "p90_h"
    ):
        told = f"{before:.0f} h early, told {p10:.0f}–{p90:.0f} h"
        table.add_row("leak", _short(workload), "[red]missed[/]" if np.isnan(before) else told)
    console.print(table)
    about = findings.incidents
    console.print(
        f"{sum(about.values())} incidents: {about['fault']} about injected faults, "
        f"{about['deploy']} at a harmless deploy, {about['nothing']} about nothing"
    )
    if "replayed_workloads" in figures:
        saved = [
            f"{what} from {figures[f'reactive_{column}_core_h']:.3g} "
            f"to [bold]{figures[f'foretide_{column}_core_h']:.3g}[/] core-hours"
            for what, column in (
                ("demand above the target", "over_target"),
                ("unserved", "unserved"),
            )
        ]
        console.print(
            f"Pre-scaling that week as scheduled, against the HPA alone: {', '.join(saved)}, "
            f"at {figures['foretide_replica_hours_vs_reactive']:.2f}× the replica-hours"
        )
    raised, floors = plan["done"], plan["figures"]["floors"]
    console.print(f"Planned for the next day: {floors:.0f} floors on {raised} workloads (shadow)")


def _short(workload: str) -> str:
    cluster, namespace, _, name = split_workload(workload)
    return f"{cluster}/{namespace}/{name}"


def _records(frame: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a small table as plain tuples."""
    return zip(*(frame[c].tolist() for c in columns), strict=True)


@contextmanager
def _progress(console: Console) -> Generator[Callable[[str, Callable[[], Any]], Any]]:
    """A line a step, ticked off when it is done."""
    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:

        def step(name: str, work: Callable[[], Any]) -> Any:
            task = progress.add_task(name, total=1)
            result = work()
            progress.update(task, completed=1)
            return result

        yield step
