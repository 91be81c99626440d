"""The simulated cluster of `foretide demo`: its last week, with the pods and HPAs that it has."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml
from prescale_cases import MEASURES, Outcome, means, replayed, show, show_equal

from features.panel import Panel
from features.synthetic import ClusterSpec, simulate
from features.workloads import with_workload
from pipelines.catalogs import open_catalog
from pipelines.replay_weeks import prepared_week
from pipelines.settings import CONFIG_DIR, Settings

KNOWN = ["pod_start_seconds", "replicas"]  # beside cpu_* and hpa_*: all that a replay looks at


def evaluate(data: Path, spec: ClusterSpec | None = None) -> Outcome:
    """A table over all its workloads, which are one case together."""
    spec = spec or ClusterSpec()
    told = yaml.safe_load((CONFIG_DIR / "demo.yaml").read_text(encoding="utf-8"))
    settings = Settings.model_validate(told)
    catalog = open_catalog(settings.source.catalog_name, settings.metrics)
    end = pd.Timestamp(spec.start) + pd.Timedelta(spec.weeks, "W")
    panel = _panel(spec, catalog.aggregates(), end)
    start = end - pd.Timedelta(settings.evaluate.window_days, "D")
    week, skipped = prepared_week(panel, start, catalog, settings, measured=True)
    reasons = skipped["reason"].value_counts()
    print("left out: " + ("; ".join(f"{n} × {why}" for why, n in reasons.items()) or "nothing"))
    if week is None:
        return Outcome()
    table, equal = replayed(week, settings)
    mine = means(table).assign(case="demo cluster")
    show(f"demo cluster: mean of {table['workload'].nunique()} workloads with an HPA", mine)
    missed = table[(table["policy"] == "reactive") & (table["unserved"] > 0)]
    print(f"  the reactive HPA left something unserved on {len(missed)} of them")
    show_equal(equal)
    return Outcome(mine[["case", "policy", *MEASURES]])


def _panel(spec: ClusterSpec, aggregates: dict[str, str], end: pd.Timestamp) -> Panel:
    """What a replay looks at, on the grid."""
    frame = with_workload(simulate(spec).samples)
    metric = frame["metric"].astype("str")
    mine = metric.str.startswith(("cpu_", "hpa_")) | metric.isin(KNOWN)
    frame = frame[mine.to_numpy()]
    frame["metric"] = frame["metric"].cat.remove_unused_categories()
    step = pd.Timedelta(spec.step_s, "s")
    return Panel.from_frame(frame, step=step, end=end, aggregates=aggregates)
