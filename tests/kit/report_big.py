"""A made-up run of many workloads: the small one's tables, once for each of many namespaces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from report_sample import WORKLOADS, sample

from features.panel import Panel
from pipelines.report import ReportData

__all__ = ["big_sample"]

_TABLES = ("scores", "forecasts", "capacity", "backtest", "verdicts", "advice", "deploys", "skips")
_NAMESPACES = 40


def big_sample(workloads: int = 1000, days: int = 14, step_min: int = 5) -> ReportData:
    """``workloads`` (a multiple of 5) in 4 clusters, each with noise of its own: no two alike.

    Leaks and incidents are in one workload of fifty.
    """
    small = sample(days=days, step_min=step_min)
    assert isinstance(small.history, Panel)
    scores = _scored(small.history)
    small = replace(small, scores=pd.concat([small.scores, scores], ignore_index=True))
    copies = [_names(k) for k in range(workloads // len(WORKLOADS))]
    few = copies[::10]
    tables: dict[str, Any] = {t: _each(getattr(small, t), copies) for t in _TABLES}
    return replace(
        small,
        title=f"{workloads:,} workloads",
        history=_panel(small.history, copies),
        leaks=_each(small.leaks, few),
        incidents=pd.concat([_incidents(small.incidents, k, c) for k, c in enumerate(few)]),
        plan=[row | {"workload": c[row["workload"]]} for c in copies for row in small.plan],
        ledger=[
            row | {"target": c[row["target"]], "action_id": f"{row['action_id']}-{k}"}
            for k, c in enumerate(copies)
            for row in small.ledger
        ],
        **tables,
    )


def _names(k: int) -> dict[str, str]:
    """The small sample's workloads → those of one copy."""
    place = f"cluster-{k % 4}/ns-{k % _NAMESPACES:02d}"
    return {w: f"{place}/Deployment/{w.rsplit('/', 1)[1]}-{k:03d}" for w in WORKLOADS}


def _each(table: pd.DataFrame, copies: list[dict[str, str]]) -> pd.DataFrame:
    parts = [
        table.assign(workload=table["workload"].map(names).fillna(table["workload"]))
        for names in copies
    ]
    return pd.concat(parts, ignore_index=True)


def _panel(panel: Panel, copies: list[dict[str, str]]) -> Panel:
    rng = np.random.default_rng(11)
    keys = _each(panel.keys, copies)
    level = rng.uniform(0.5, 4, (len(copies), 1, 1)) * rng.normal(
        1, 0.02, (len(copies), *panel.values.shape)
    )
    noisy = panel.keys["metric"].isin(("replicas", "hpa_min_replicas", "memory_limit_bytes"))
    level[:, noisy.to_numpy()] = 1.0
    values = (panel.values * level).reshape(len(keys), -1)
    return Panel(keys.astype("str"), panel.start, panel.step, values)


def _scored(panel: Panel) -> pd.DataFrame:
    """A score of every workload in every quarter of an hour of the last week."""
    rng = np.random.default_rng(5)
    ts = panel.times[-7 * 96 * 3 :: 3]
    parts = [
        pd.DataFrame(
            {
                "workload": w,
                "metric": "requests_per_second",
                "ts": ts,
                "detector": "band",
                "score": rng.gamma(1.2, 0.12, len(ts)),
                "value": 1.0,
                "reason": "",
            }
        )
        for w in WORKLOADS
    ]
    return pd.concat(parts, ignore_index=True)


def _incidents(table: pd.DataFrame, k: int, names: dict[str, str]) -> pd.DataFrame:
    return table.assign(
        incident_id=[f"{i}-{k}" for i in table["incident_id"]],
        workloads=[[names[w] for w in told] for told in table["workloads"]],
        causes=[
            [c | {"workload": names[c["workload"]]} for c in causes] for causes in table["causes"]
        ],
    )
