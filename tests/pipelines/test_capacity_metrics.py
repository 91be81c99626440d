"""Capacity by the workloads' own HPAs, from samples in a file to the capacity table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from kube_server import serve_kube

from features.frames import CAPACITY, require
from pipelines.adapters.kube import HPA, NODE_CLAIM, POD, Kind
from pipelines.errors import ClusterForbidden, ConfigError
from pipelines.forecast import forecast
from pipelines.hpa_specs import known_specs
from pipelines.lead_times import cluster_starts
from pipelines.run import RunRef

pytestmark = [
    # mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

START = pd.Timestamp("2026-06-01", tz="UTC")
DAYS, STEP = 14, "30min"
END = START + pd.Timedelta(DAYS, "D")
WEB, API, OLD, ODD = (f"default/shop/Deployment/{n}" for n in ("web", "api", "old", "odd"))
IDLE, SLOPE, PODS = 0.1, 0.01, 6.0


def samples() -> pd.DataFrame:
    """Workloads whose pods burn 0.1 cores and 0.01 for each request a second."""
    at = pd.date_range(START, END, freq=STEP, inclusive="left")
    wave = 200 + 150 * np.sin(np.arange(len(at)) / 48 * 2 * np.pi)
    rng = np.random.default_rng(3)
    rows: list[pd.DataFrame] = []

    def add(name: str, metric: str, value: Any) -> None:
        one = {"namespace": "shop", "kind": "Deployment", "name": name, "metric": metric}
        rows.append(pd.DataFrame(one | {"ts": at, "value": value}))

    for name in ("web", "api", "old", "odd"):
        requests = wave * rng.normal(1, 0.02, len(at))
        add(name, "cpu_usage_cores", IDLE * PODS + SLOPE * requests)
        add(name, "cpu_request_cores", PODS)
        add(name, "memory_request_bytes", 1e9)
        add(name, "replicas", PODS)
        add(name, "hpa_min_replicas", 2)
        add(name, "hpa_max_replicas", 50)
        add(name, "hpa_target_cpu_ratio", 0.7)
        add(name, "pod_start_seconds", 40.0)
        if name in ("web", "api"):
            add(name, "http_hits", requests)
        if name == "api":
            add(name, "requests_per_second", requests)
    node = {"namespace": "_cluster", "kind": "Cluster", "name": "all"}
    rows.append(
        pd.DataFrame(node | {"metric": "node_start_seconds", "ts": at[-50:], "value": 80.0})
    )
    return pd.concat(rows)


def hpa(name: str, *metrics: dict[str, Any], low: int = 3) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": f"{name}-hpa", "namespace": "shop"},
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": low,
            "maxReplicas": 40,
            "metrics": list(metrics),
        },
    }


CPU_70 = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
}


def pods(name: str, value: str) -> dict[str, Any]:
    target = {"type": "AverageValue", "averageValue": value}
    return {"type": "Pods", "pods": {"metric": {"name": name}, "target": target}}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "samples.parquet"
    samples().to_parquet(path)
    return path


def capacity(folder: Path, file: Path, **prescale: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The capacity table of one forecast, and its outcome; ``cluster`` may be among the keys."""
    cluster = prescale.pop("cluster", {})
    config = folder / "foretide.yaml"
    # quantiles as costs ask for them: which pay beside an HPA is tested where it is learned
    prescale = {"capacity": {"beside_hpa": False}, **prescale}
    told = {
        "prescale": prescale,
        "cluster": cluster,
        "forecast": {"horizon_h": 24, "models": ["seasonal_median"]},
    }
    config.write_text(yaml.safe_dump(told))
    out = folder / "out"
    done = forecast.fn(config=str(config), inputs=[str(file)], out=str(out))
    table = require(pq.read_table(next((out / "capacity").glob("*.parquet"))), CAPACITY)
    return table.to_pandas().astype({"workload": "str"}), done


def of(table: pd.DataFrame, workload: str) -> pd.DataFrame:
    return table[table["workload"] == workload]


def demand(folder: Path, workload: str, metric: str, column: str) -> np.ndarray:
    table = pq.read_table(next((folder / "out" / "forecasts").glob("*.parquet"))).to_pandas()
    mine = table[(table["workload"] == workload) & (table["metric"] == metric)]
    return mine.sort_values("ts")[column].to_numpy()


def test_a_pods_metric_two_metrics_and_none_of_them(tmp_path: Path, file: Path) -> None:
    manifests = [
        hpa("web", pods("http_hits", "25")),
        hpa("api", CPU_70, pods("hits", "90")),
        hpa("odd", CPU_70, pods("queue_depth", "5")),
        {"kind": "List", "items": [hpa("broken", {"type": "Magic"})]},
    ]
    (tmp_path / "hpa.yaml").write_text(yaml.safe_dump_all(manifests))
    table, _ = capacity(
        tmp_path,
        file,
        hpa_file=str(tmp_path / "hpa.yaml"),
        hpa_metrics={"hits": "http_hits"},
        rules=[{"match": f"{WEB}*", "under_cost": 99}],
    )
    web, api, old, odd = (of(table, w) for w in (WEB, API, OLD, ODD))
    assert set(table["gate"].where(table["workload"] != ODD, "act")) == {"act"}

    # web: only the Pods metric, at its own quantile
    assert set(web["quantile"]) == {0.99}
    need = np.clip(np.ceil(demand(tmp_path, WEB, "http_hits", "q99") / 25), 3, 40)
    assert web["ready_replicas"].max() == need.max()
    assert web["gate_reason"].iloc[0].startswith("carries the 99% quantile")
    assert "http_hits at 25 a pod" in web["gate_reason"].iloc[0]

    # api: the larger of what CPU (by requests, 60 a pod) and the Pods metric ask for
    assert set(api["quantile"]) == {0.95}
    by_cpu = demand(tmp_path, API, "requests_per_second", "q95") / 60
    assert api["ready_replicas"].max() == pytest.approx(np.ceil(by_cpu.max()), abs=1)
    assert "requests_per_second at " in api["gate_reason"].iloc[0]

    # old has no manifest: the samples' CPU target and bounds, and CPU itself
    need = np.ceil(demand(tmp_path, OLD, "cpu_usage_cores", "q95") / 0.7)
    assert old["ready_replicas"].max() == need.max()
    assert old["ready_replicas"].min() == max(need.min(), 2)

    # odd: a metric that nobody forecasts keeps it in the shadow, and names the key
    assert set(odd["gate"]) == {"shadow"}
    assert "set prescale.hpa_metrics: {queue_depth: OUR_METRIC}" in odd["gate_reason"].iloc[0]
    assert (odd["replicas"] >= odd["ready_replicas"]).all()

    # lead times: node launches by the cluster's metric and the pods' own starts
    assert set(table["lead_time_s"]) == {120.0}
    assert set(table["lead_time_source"].astype("str")) == {
        "p95 of node launches and p95 of its pods' starts"
    }


def test_the_cluster_is_asked_first(tmp_path: Path, file: Path) -> None:
    (tmp_path / "hpa.yaml").write_text(yaml.safe_dump(hpa("web", pods("http_hits", "1"))))
    with serve_kube(namespaces=("shop",)) as server:
        server.put(HPA, hpa("web", pods("http_hits", "25"), low=4))
        cluster = {"connect": "kubeconfig", "kubeconfig": str(server.kubeconfig(tmp_path))}
        table, outcome = capacity(
            tmp_path, file, cluster=cluster, hpa_file=str(tmp_path / "hpa.yaml")
        )
    assert not any("not read from the cluster" in n for n in outcome["notes"])
    web = of(table, WEB)
    assert "http_hits at 25 a pod" in web["gate_reason"].iloc[0]
    assert web["ready_replicas"].min() >= 4


class Listing:
    """Lists what it is given, as ``adapters.kube.Kube`` does."""

    def __init__(self, objects: dict[Kind, list[Any]], error: Exception | None = None) -> None:
        self.objects, self.error, self.closed = objects, error, False

    def serves(self, kind: Kind) -> bool:
        return kind in self.objects

    def list(self, kind: Kind) -> Iterator[Any]:
        if self.error:
            raise self.error
        yield from self.objects[kind]

    def close(self) -> None:
        self.closed = True


def test_a_pod_that_waited_for_its_node_says_the_whole_lead_time(tmp_path: Path) -> None:
    def since(kind: str, at: str) -> dict[str, str]:
        return {"type": kind, "status": "True", "lastTransitionTime": f"2026-06-10T08:{at}Z"}

    owner = {"kind": "StatefulSet", "name": "db", "controller": True}
    born = {"creationTimestamp": "2026-06-10T08:00:00Z"}
    pod = {
        "metadata": {"namespace": "shop", "ownerReferences": [owner]} | born,
        "spec": {"nodeName": "n1"},
        "status": {"conditions": [since("PodScheduled", "01:40"), since("Ready", "03:20")]},
    }
    claim = {
        "metadata": {"labels": {"karpenter.sh/nodepool": "spot"}} | born,
        "status": {"nodeName": "n1", "conditions": [since("Initialized", "01:35")]},
    }
    run = RunRef(None, (), str(tmp_path), END.isoformat()).open()
    kube: Any = Listing({POD: [pod], NODE_CLAIM: [claim]})
    starts, notes = cluster_starts(run, opener=lambda _: kube)
    assert (notes, kube.closed) == ((), True)
    assert starts is not None
    assert starts["workload"].tolist() == [
        "default/_cluster/NodePool/spot",
        "default/shop/StatefulSet/db",
    ]
    assert starts["whole_s"].tolist() == [95, 200]
    assert starts["waited"].tolist() == [False, True]
    broken: Any = Listing({POD: []}, ClusterForbidden("no pods for you"))
    starts, notes = cluster_starts(run, opener=lambda _: broken)
    assert starts is None
    assert "no pods for you" in notes[0]


def test_a_cluster_that_does_not_answer_is_told_and_the_file_is_read(
    tmp_path: Path, file: Path
) -> None:
    (tmp_path / "hpa.yaml").write_text(yaml.safe_dump(hpa("web", pods("http_hits", "25"))))
    with serve_kube(namespaces=("shop",)) as server:
        server.fail(status=403, times=1000)
        cluster = {"connect": "kubeconfig", "kubeconfig": str(server.kubeconfig(tmp_path))}
        table, outcome = capacity(
            tmp_path, file, cluster=cluster, hpa_file=str(tmp_path / "hpa.yaml")
        )
    told = [n for n in outcome["notes"] if "autoscalers not read from the cluster" in n]
    assert len(told) == 1
    assert "prescale.hpa_file" in told[0]
    assert "http_hits at 25 a pod" in of(table, WEB)["gate_reason"].iloc[0]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, file: Path) -> None:
    with pytest.raises(ConfigError, match=r"prescale.hpa_file: .*gone\.yaml"):
        capacity(tmp_path, file, hpa_file=str(tmp_path / "gone.yaml"))
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        capacity(tmp_path, file, hpa_file=str(tmp_path / "bad.yaml"))


def test_manifests_name_no_cluster_the_configuration_does(tmp_path: Path) -> None:
    (tmp_path / "hpa.json").write_text(yaml.safe_dump(hpa("web", CPU_70)))
    names = ["prod/shop/Deployment/web", "test/shop/Deployment/web", "prod/shop/Deployment/x"]
    for cluster, wanted in (("", names[:2]), ("prod", names[:1])):
        config = tmp_path / "foretide.yaml"
        prescale = {"hpa_file": str(tmp_path / "hpa.json")}
        config.write_text(yaml.safe_dump({"prescale": prescale, "cluster": {"name": cluster}}))
        run = RunRef(str(config), (), str(tmp_path), END.isoformat()).open()
        assert sorted(known_specs(run, names).specs) == wanted
