"""warm: compile the numeric kernels ahead, so that the first run need not.

Numba keeps what it compiled beside the code. Part of the installation (``make install``): a tiny
simulated cluster is scored and replayed, which touches every kernel with the types of real data.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from features.panel import Panel
from features.synthetic import ClusterSpec, simulate
from models.cluster_facts import ClusterFacts, NodePoolFacts, NodeShape
from models.nodes import nodes_needed
from models.per_pod import per_pod_curve
from pipelines.learning import forecasters
from pipelines.replaying import replay
from pipelines.score import score
from pipelines.settings import ForecastSettings, Settings
from pipelines.settings_names import FORECASTERS

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
    _forecasters()
    _nodes()
    _curves()


def _nodes() -> None:
    """A pod that needs a node."""
    pool = NodePoolFacts("warm", shapes=(NodeShape("small", 2.0, 2.0**32),))
    pod = {"ts": [pd.Timestamp(0, tz="UTC")], "workload": "w", "count": 1, "nodepool": "warm"}
    asked = pd.DataFrame(pod | {"cpu_cores": 1.0, "memory_bytes": 2.0**30})
    nodes_needed(asked, ClusterFacts("warm", (pool,)))


def _curves() -> None:
    """A pod's CPU against its requests, both ways."""
    requests = np.linspace(1, 50, 400)[None]
    curves = per_pod_curve(requests, requests / 100)
    curves.requests_at(curves.cores_at(requests)[:, 0])


def _forecasters() -> None:
    """Every forecaster there is, also those that the default does not use; one series is young."""
    hour = np.arange(16 * 24.0)
    values = 5 + np.sin(hour * np.pi / 12) + np.arange(4.0)[:, None]
    values[0, :-6] = np.nan
    names = {"workload": [f"warm/up/Deployment/{i}" for i in range(4)], "metric": "load"}
    panel = Panel(
        pd.DataFrame(names, dtype="str"), pd.Timestamp(0, tz="UTC"), pd.Timedelta("1h"), values
    )
    fine = replace(panel, step=pd.Timedelta("5min"))
    every = Settings(forecast=ForecastSettings(models=FORECASTERS))
    for forecaster in forecasters(every):
        for seen in (panel, fine):
            forecaster.predict(forecaster.fit(seen), seen.end, 1, (0.5,))


if __name__ == "__main__":
    warm()
