"""warm: compile the numeric kernels ahead, so that the first run need not.

Numba keeps what it compiled beside the code. Part of the installation (``make install``): a tiny
simulated cluster is scored and replayed, which touches every kernel with the types of real data.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from features.synthetic import ClusterSpec, simulate
from pipelines.replaying import replay
from pipelines.score import score

__all__ = ["warm"]


def warm() -> None:
    """Score and replay a small cluster in a folder that goes away."""
    spec = ClusterSpec(n_workloads=6, weeks=3, step_s=900)
    until = pd.Timestamp(spec.start) + pd.Timedelta(weeks=spec.weeks - 1)
    with tempfile.TemporaryDirectory(prefix="foretide-warm-") as folder:
        file = str(Path(folder) / "samples.parquet")
        pq.write_table(simulate(spec).samples, file)
        score.fn(inputs=[file], out=folder, train_until=until.isoformat())
        replay.fn(inputs=[file], out=folder)


if __name__ == "__main__":
    warm()
