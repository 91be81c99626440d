"""The store read once for all shards of a run: a day of samples is one file of all workloads, and a
shard that opens it alone reads all of them to keep a few.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from features.panel import Panel
from pipelines.grids import homes
from pipelines.run import Run, RunRef
from pipelines.spreading import where
from pipelines.staging import aside

__all__ = ["gather", "gathered"]

_AT_ONCE = 4_000  # workloads: what is in memory before it is noted aside


def gather(run: Run, shards: Sequence[RunRef], since: pd.Timestamp, verb: str) -> None:
    """Note each shard's panel of ``[since, as_of)`` aside; nothing where a shard reads as well.

    Nor where the workers see no disk of ours: they are nearer to the bucket than to this machine.
    """
    if run.ref.inputs or len(shards) < 2 or shards[0].step_s is None or where(run, verb).is_apart:
        return
    step = pd.Timedelta(shards[0].step_s, "s")
    some = max(_AT_ONCE // run.settings.shards.workloads, 1)
    for at in range(0, len(shards), some):
        wanted = [ref.shard for ref in shards[at : at + some]]

        def mine(workloads: list[str], wanted: list[int] = wanted) -> np.ndarray:
            return np.isin(homes(workloads, shards[0].shards), wanted)

        panel = run.store.panel(None, since, run.as_of, step, mine=mine)
        if panel is None:
            return
        panel = panel.window(end=run.as_of.floor(step))
        names, code = np.unique(panel.keys["workload"].to_numpy(dtype=str), return_inverse=True)
        home = homes(list(names), shards[0].shards)[code]
        for number in wanted:
            _note(run, panel.select(home == number), number, verb)


def gathered(run: Run, since: pd.Timestamp, verb: str) -> Panel:
    """This shard's panel: as it was noted, else from the store or the files."""
    base = aside(run, verb) / f"panel-{run.ref.shard:04d}"
    values = base.with_suffix(".npy")
    if run.ref.inputs or not values.is_file():
        return run.panel(since, run.as_of)
    keys = pd.read_parquet(base.with_suffix(".parquet")).astype("str")
    start_ms, step_ms = np.load(base.with_suffix(".grid.npy"))
    start = pd.Timestamp(int(start_ms), unit="ms", tz="UTC").as_unit("ms")
    return Panel(keys, start, pd.Timedelta(int(step_ms), "ms"), np.load(values))


def _note(run: Run, panel: Panel, number: int, verb: str) -> None:
    base = aside(run, verb) / f"panel-{number:04d}"
    grid = [panel.start.value // 10**6, panel.step // pd.Timedelta(1, "ms")]
    np.save(base.with_suffix(".grid.npy"), np.array(grid, dtype=np.int64))
    panel.keys.to_parquet(base.with_suffix(".parquet"), index=False)
    np.save(base.with_suffix(".npy"), panel.values)
