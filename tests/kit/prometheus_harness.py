"""A ``Harness`` of the source contract for any server of ``metric_servers``, direct or by proxy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import httpx
import numpy as np
import pyarrow as pa
from metric_servers import MetricsServer, millis, plain_labels
from source_contract import HOSTILE, Denied

from features.metrics import Metric
from features.workloads import with_workload
from pipelines.adapters.prometheus import PrometheusParams, PrometheusSource
from pipelines.adapters.source import Source, Spec

__all__ = ["PrometheusHarness"]

QUICK = PrometheusParams(attempts=2, retry_wait_s=0.05)


@dataclass
class PrometheusHarness:
    """``client`` makes the client of the source, e.g. one that signs and goes through a proxy.

    ``refused`` brings a source with bad credentials where the way asks for any.
    """

    server: MetricsServer
    client: Callable[[], httpx.Client] | None = None
    refused: Callable[[], Denied] | None = None
    params: PrometheusParams = QUICK
    principal: str = ""
    hostile: str = HOSTILE
    _open: list[httpx.Client] = field(default_factory=list)

    def load(self, samples: pa.Table) -> None:
        """Each decade of values as a series of its own.

        VictoriaMetrics keeps a block of a series as integers of one common exponent, so 1e-9 beside
        1e15 comes back as 0. No stamp has two decades, so their union is the series again.
        """
        frame = with_workload(samples).sort_values("ts", kind="stable")
        with np.errstate(divide="ignore"):
            decade = np.floor(np.log10(frame["value"].abs())).clip(-99).astype(int)
        self.server.write(
            (plain_labels(workload, metric) | {"decade": str(d)}, millis(p), p["value"].to_numpy())
            for (workload, metric, d), p in frame.groupby(
                ["workload", "metric", decade], observed=True
            )
        )

    def spec(self, metric: str, select: Mapping[str, tuple[str, ...]] | None = None) -> Spec:
        """Samples at their own stamps only, so that a gap stays a gap."""
        named = f"__name__={json.dumps(metric)}"
        query = f"max without (decade) (last_over_time({{{named},$__select}}[1s]))"
        return Spec(Metric(metric, query=query), select or {})

    def source(self) -> Source:
        client = self.client() if self.client else httpx.Client(base_url=self.server.url)
        self._open.append(client)
        return PrometheusSource(
            client, cluster="prod", params=self.params, principal=self.principal
        )

    def denied(self) -> Denied | None:
        return self.refused() if self.refused else None

    def unreachable(self) -> Source | None:
        client = httpx.Client(base_url="http://127.0.0.1:9")
        self._open.append(client)
        return PrometheusSource(client, cluster="prod", params=replace(self.params, attempts=1))

    def close(self) -> None:
        """For the end of the fixture that yields the harness."""
        while self._open:
            self._open.pop().close()
