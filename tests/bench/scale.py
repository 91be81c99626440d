"""Ingest, train, score, forecast and plan of many workloads, each verb a process of its own.

For each size: samples are made up (see ``scale_samples``: 4 weeks and an hour of 5-minute steps;
2 weeks above 10,000 workloads, ``--weeks`` says otherwise) and left as Parquet files; ``ingest``
reads them into an empty store, ``train`` learns from the whole weeks, ``score`` scores the hour
after them, ``forecast`` looks a week ahead, ``plan`` plans a day. Start of Python and imports
count; making the samples does not. A small size before the first warms compiled kernels up and is
not told. Every result is printed as soon as it is there.

A machine that others use shows in the load average, and in wall time that is far from the seconds
of CPU over the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scale_measure import Took, measured
from scale_samples import STEP_S, Fleet, write_days

SIZES = (1_000, 5_000, 10_000, 50_000)
VERBS = ("ingest", "train", "score", "forecast", "plan")
_FEWER_WEEKS_ABOVE = 10_000
_BYTES_A_SAMPLE = 14
"""On disk, in files and store together, a spooled slice and what a training keeps aside."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One size: what each verb took, by its name, and how many task runs its flow makes."""

    fleet: Fleet
    took: dict[str, Took]
    tasks: dict[str, int]

    @property
    def minutes(self) -> float:
        """Of all verbs, one after the other."""
        return sum(t.wall_s for t in self.took.values()) / 60

    @property
    def cpu_s(self) -> float:
        """Of all verbs."""
        return sum(t.cpu_s for t in self.took.values())

    @property
    def peak_gib(self) -> float:
        """Of the hungriest verb."""
        return max(t.peak_gib for t in self.took.values())


def main() -> None:
    """``--workloads 1000,5000`` picks the sizes."""
    asked = _arguments()
    if asked.child:
        fleet = Fleet(int(asked.child[1]), int(asked.child[2]), asked.memory)
        print(write_days(fleet, Path(asked.child[0])))
        return
    fleets = [Fleet(n, asked.weeks or _weeks(n), asked.memory) for n in asked.workloads]
    print(
        f"metrics of a workload: {', '.join(fleets[0].metrics)}; step {STEP_S} s; "
        f"{asked.workers} shards at once; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    if not asked.cold:
        _through(replace(fleets[0], workloads=40), asked, quiet=True)
    every: list[Measured] = []
    failed: list[str] = []
    for fleet in fleets:
        if not _has_room(fleet, asked.folder):
            failed.append(f"{fleet.workloads} workloads: no room on the disk")
            continue
        try:
            every.append(_through(fleet, asked))
        except (RuntimeError, AssertionError) as error:  # the other sizes still say something
            failed.append(f"{fleet.workloads} workloads: {error}")
            continue
        _told(every[-1])
    print("\n".join(["", *_figures(every)]), flush=True)
    if failed:
        raise SystemExit("\n".join(failed))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--workloads", type=_sizes, default=SIZES, metavar="N,N…", help="sizes, one after the other"
    )
    parser.add_argument("--weeks", type=int, help="of samples, for every size")
    parser.add_argument("--memory", action="store_true", help="memory and its limit as well")
    parser.add_argument("--workers", type=int, default=2, help="shards at once")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where there is room")
    parser.add_argument("--profile", help="folder for a cProfile of each verb; it slows them")
    parser.add_argument("--keep", action="store_true", help="leave samples and stores behind")
    parser.add_argument("--cold", action="store_true", help="no small size before the first")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part.replace("_", "")) for part in text.split(","))


def _weeks(workloads: int) -> int:
    return 4 if workloads <= _FEWER_WEEKS_ABOVE else 2


def _has_room(fleet: Fleet, folder: str) -> bool:
    free, need = shutil.disk_usage(folder).free, fleet.samples * _BYTES_A_SAMPLE
    if free < need:
        print(f"{fleet.workloads} workloads: need {need / 2**30:.0f} GiB in {folder}, "
              f"{free / 2**30:.0f} are free; left out (--folder, or fewer --weeks)")  # fmt: skip
    return free >= need


def _through(fleet: Fleet, asked: argparse.Namespace, *, quiet: bool = False) -> Measured:
    """All verbs of one size, in a folder that is gone afterwards."""
    root = Path(tempfile.mkdtemp(prefix=f"foretide-scale-{fleet.workloads}-", dir=asked.folder))
    try:
        return _all_verbs(fleet, asked, root, quiet)
    finally:
        if asked.keep and not quiet:
            print(f"left behind: {root}", flush=True)
        else:
            shutil.rmtree(root, ignore_errors=True)


def _all_verbs(fleet: Fleet, asked: argparse.Namespace, root: Path, quiet: bool) -> Measured:
    began = time.perf_counter()
    make = [str(root / "files"), str(fleet.workloads), str(fleet.weeks)]
    flags = ["--memory"] if fleet.memory else []
    written = measured([sys.executable, __file__, *flags, "--child", *make])
    if not quiet:
        print(f"\n{fleet.workloads:,} workloads × {fleet.weeks} weeks: {int(written.told):,} "
              f"samples made in {time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip
    config = root / "foretide.json"  # JSON is YAML
    config.write_text(json.dumps(_settings(fleet, asked, root)))
    common = ["--config", str(config), "--out", str(root / "store"), "--json"]
    moments = {"train": fleet.trained}
    took: dict[str, Took] = {}
    tasks: dict[str, int] = {}
    for verb in VERBS:
        more = ["--as-of", moments.get(verb, fleet.end).isoformat()]
        more += ["--start", fleet.trained.isoformat()] if verb == "score" else []
        took[verb] = measured([*_python(verb, asked, quiet), verb, *common, *more])
        outcome = json.loads(took[verb].told.splitlines()[-1])
        assert not outcome["failed"], outcome["failed"]
        tasks[verb] = _task_runs(verb, fleet, str(config), str(root / "store"))
        if not quiet:
            _print_verb(verb, took[verb], tasks[verb], outcome, root)
    return Measured(fleet, took, tasks)


def _settings(fleet: Fleet, asked: argparse.Namespace, root: Path) -> dict[str, object]:
    return {
        "source": {"kind": "files", "paths": [str(root / "files")]},
        "history": {"days": fleet.weeks * 7, "step_s": STEP_S},
        "shards": {"workers": asked.workers},
        "prescale": {"plan": {"mode": "act"}},
    }


def _python(verb: str, asked: argparse.Namespace, quiet: bool) -> list[str]:
    if not asked.profile or quiet:
        return [sys.executable, "-m", "pipelines.cli"]
    Path(asked.profile).mkdir(parents=True, exist_ok=True)
    file = str(Path(asked.profile) / f"{verb}.prof")
    return [sys.executable, "-m", "cProfile", "-o", file, "-m", "pipelines.cli"]


def _print_verb(verb: str, took: Took, tasks: int, outcome: dict[str, object], root: Path) -> None:
    done, unit = outcome["done"], outcome["unit"]
    rows = _rows(root / "store", str(verb))
    print(
        f"  {verb:<9}{took.wall_s:>8.1f} s {took.cpu_s:>8.1f} s CPU {took.peak_gib:>6.2f} GiB "
        f"{tasks:>4} task runs  {done} {unit}{rows}  (load {os.getloadavg()[0]:.1f})",
        flush=True,
    )


def _rows(store: Path, verb: str) -> str:
    """How many rows of its table a verb has written."""
    import pyarrow.parquet as pq

    name = {"score": "scores", "forecast": "forecasts"}.get(verb)
    if name is None:
        return ""
    files = list((store / name).rglob("*.parquet"))
    rows = sum(pq.ParquetFile(f).metadata.num_rows for f in files)
    size = sum(f.stat().st_size for f in files) / 2**30
    return f", {rows:,} rows in {size:.2f} GiB"


def _task_runs(verb: str, fleet: Fleet, config: str, out: str) -> int:
    """How many task runs the flow makes under Prefect: those of its shards, and of the calls
    around them (``tests/pipelines/test_flows.py`` counts real ones)."""
    from pipelines.pulling import survey, window_of
    from pipelines.pulls import slices
    from pipelines.run import RunRef

    run = RunRef(config, (), out, fleet.end.isoformat()).open()
    most = run.settings.shards.tasks_max
    if verb == "ingest":
        wanted = survey(run, window_of(run, None), again=False)
        parts = slices(wanted, run.settings.ingest.samples_per_commit)
        a_slice = most // max(len(parts), 1)
        commits = len(parts) if a_slice > 1 else 0
        return 1 + commits + sum(min(len(pulls), max(a_slice - 1, 1)) for pulls in parts)
    around = {"train": 1, "score": 1, "forecast": 0, "plan": 1}[verb]
    return around + (min(len(run.shards()), most) if verb != "plan" else 0)


def _told(one: Measured) -> None:
    n = one.fleet.workloads
    print(
        f"  {one.minutes:.2f} min, {one.cpu_s:.0f} s of CPU ({1000 * one.cpu_s / n:.1f} ms a "
        f"workload), at most {max(one.tasks.values())} task runs a flow"
    )
    print(f"figure pipeline_minutes_{n} {one.minutes:.2f} min")
    print(f"figure pipeline_peak_gib_{n} {one.peak_gib:.2f} GiB", flush=True)


def _figures(every: Sequence[Measured]) -> list[str]:
    """Of all sizes together: task runs, and whether the cost of a workload grows with their
    number."""
    if not every:
        return []
    lines: list[str] = []
    most = max(max(one.tasks.values()) for one in every)
    lines.append(f"figure task_runs_max {most} tasks")
    same = [one for one in every if one.fleet.weeks == every[0].fleet.weeks]
    if len(same) > 1:
        low, high = same[0], same[-1]
        for what in ("minutes", "cpu_s"):
            cost = [getattr(one, what) / one.fleet.workloads for one in (low, high)]
            name = f"pipeline_{what.removesuffix('_s')}_a_workload_{high.fleet.workloads}"
            lines.append(f"figure {name}_over_{low.fleet.workloads} {cost[1] / cost[0]:.2f} ratio")
    return lines


if __name__ == "__main__":
    main()
