"""Traffic traces: the last week of each load in the files of a directory, replayed.

A series counts where somebody could scale on it: it is demand, or unknown to the catalog and in a
file without labels of anomalies (those are the detectors'), and has at least four weeks before the
last. Steps, pods and floors are those of `foretide replay --input FILE`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from prescale_cases import MEASURES, Outcome, means, replayed, show, show_equal

from features.panel import Panel
from pipelines.errors import ForetideError
from pipelines.floor_learning import is_load
from pipelines.replay_weeks import RULES_SPAN, prepared_week
from pipelines.run import Run, RunRef

CLOCK = pd.Timestamp("2100-01-01", tz="UTC")  # files end before it: theirs is used


def evaluate(data: Path) -> Outcome:
    """A table a load."""
    tables: list[pd.DataFrame] = []
    for file in sorted([*data.glob("*.parquet"), *data.glob("*.csv")]):
        try:
            tables += list(_of_file(file))
        except ForetideError as error:
            print(f"{file.name}: passed over, {error}")
    if not tables:
        print(f"no file in {data} holds a load of five weeks")
        return Outcome()
    cases = pd.concat(tables, ignore_index=True)
    show(f"mean of {cases['case'].nunique()} traces", means(cases))
    return Outcome(cases)


def _of_file(file: Path) -> Iterator[pd.DataFrame]:
    """The loads of a file, as the replay verb replays it."""
    first = RunRef.resolve(None, [str(file)], None, None, CLOCK).open()
    start = first.as_of - pd.Timedelta(first.settings.evaluate.window_days, "D")
    begin = start - max(pd.Timedelta(first.settings.history.days, "D"), RULES_SPAN)
    for ref in first.shards(begin):
        run = ref.open()
        panel = run.panel(begin, run.as_of)
        panel = panel.select(_judged(file, panel, start, run))
        if panel.n_series:
            yield from _of_panel(file, panel, start, run)


def _judged(file: Path, panel: Panel, start: pd.Timestamp, run: Run) -> np.ndarray:
    """Which series are judged; why not is printed."""
    load, there = is_load(panel, run.catalog), np.isfinite(panel.values)
    known = np.array([run.catalog.knows(m) for m in panel.keys["metric"]], dtype=bool)
    labelled = (file.parent / "labels" / f"{file.stem}.csv").is_file()
    since = panel.times[there.argmax(axis=1)]
    old = there.any(axis=1) & np.asarray(since <= start - RULES_SPAN + panel.step)
    busy = np.nan_to_num(panel.values).max(axis=1) > 0
    why = np.select(
        [~load, labelled & ~known, ~old, ~busy],
        [
            "no load by the catalog",
            "unknown, and with labels of anomalies",
            "less than four weeks before the last",
            "never above 0",
        ],
        "",
    )
    for reason, count in Counter(why[why != ""].tolist()).items():
        print(f"{file.name}: {count} of {len(why)} series passed over, {reason}")
    return why == ""


def _of_panel(file: Path, panel: Panel, start: pd.Timestamp, run: Run) -> Iterator[pd.DataFrame]:
    week, skipped = prepared_week(panel, start, run.catalog, run.settings, measured=False)
    for reason, count in Counter(skipped["reason"].tolist()).items():
        print(f"{file.name}: {count} series skipped, {reason}")
    if week is None:
        return
    table, equal = replayed(week, run.settings)
    for key, rows in table.groupby(["workload", "metric"], sort=False, observed=True):
        case = f"{file.stem} {' '.join(map(str, key))}"
        span = f"{start:%Y-%m-%d} to {run.as_of:%Y-%m-%d}, step {panel.step.total_seconds():g} s"
        show(f"{case}: {span}", rows)
        own = (equal["workload"] == key[0]) & (equal["metric"] == key[1])
        show_equal(equal[own])
        yield rows.assign(case=case)[["case", "policy", *MEASURES]]
