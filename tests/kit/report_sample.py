"""A made-up run for the report: five workloads, two weeks, a leak, two incidents, a plan."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from features.panel import Panel
from pipelines.report import ReportData

AS_OF = pd.Timestamp("2026-06-08T00:00Z")
ISSUED = (pd.Timestamp("2026-06-01T00:00Z"), AS_OF)
NAMES = ("checkout", "cart", "search", "payments", "thumbnails")
WORKLOADS = tuple(f"prod/{'media' if n == 'thumbnails' else 'shop'}/Deployment/{n}" for n in NAMES)
LEAKY, SLOW = WORKLOADS[1], WORKLOADS[3]
_GIB = 2.0**30


def sample(
    workloads: tuple[str, ...] = WORKLOADS, days: int = 14, step_min: int = 60
) -> ReportData:
    panel = _panel(workloads, days, step_min)
    forecasts = _forecasts(workloads, panel.start)
    return ReportData(
        as_of=AS_OF,
        title="Demo cluster",
        run_id="20260608T000000Z-4f2a",
        history=panel,
        scores=_scores(panel),
        leaks=_leaks(),
        incidents=_incidents(),
        forecasts=forecasts,
        capacity=_capacity(forecasts),
        backtest=_backtest(workloads),
        verdicts=_verdicts(workloads),
        skips=_skips(),
        plan=_plan(workloads),
        shortfalls=_shortfalls(),
        room=_room(),
        left_alone=({"workload": SLOW, "reason": "its own floor is enough"},),
        advice=_advice(workloads),
        ledger=_ledger(),
        deploys=pd.DataFrame(
            {
                "workload": [LEAKY, SLOW],
                "ts": [AS_OF - pd.Timedelta(hours=90), AS_OF - pd.Timedelta(hours=30)],
            }
        ),
        summary=(
            ("Leaks found", "1 of 1", "median 31 h before the limit"),
            ("Over-target demand", "−91 %", "at 1.04× replica-hours"),
            ("Forecast error", "0.62×", "WAPE against last week's value"),
            ("Ready before the peak", "5 of 5", "workloads on Monday 09:00"),
        ),
    )


def _panel(workloads: tuple[str, ...], days: int, step_min: int) -> Panel:
    rng = np.random.default_rng(7)
    start = AS_OF - pd.Timedelta(days=days)
    ts = pd.date_range(start, AS_OF, freq=f"{step_min}min", inclusive="left")
    hours = np.asarray((ts - start) / pd.Timedelta(hours=1), dtype=float)
    keys: list[tuple[str, str]] = []
    rows: list[np.ndarray] = []
    for i, workload in enumerate(workloads):
        demand = _demand(hours, i) * rng.normal(1, 0.04, len(hours))
        memory = (0.9 + 0.05 * i + 0.1 * demand / demand.max()) * _GIB
        if workload == LEAKY:
            memory = memory + np.maximum(hours - hours[-1] + 90, 0) * 0.008 * _GIB
        latency = 0.12 + rng.exponential(0.01, len(hours))
        if workload == SLOW:
            latency[-int(5 * 60 / step_min) :] += 0.9
        demand[40:44] = np.nan
        replicas = np.ceil(demand / (demand[np.isfinite(demand)].max() / 6)).clip(2)
        for metric, values in (
            ("requests_per_second", demand),
            ("cpu_usage_cores", demand * 0.004),
            ("memory_working_set_bytes", memory),
            ("memory_limit_bytes", np.full(len(hours), 2 * _GIB)),
            ("latency_p99_seconds", latency),
            ("replicas", replicas),
            ("hpa_min_replicas", np.full(len(hours), 2.0)),
        ):
            keys.append((workload, metric))
            rows.append(values)
    return Panel(
        pd.DataFrame(keys, columns=["workload", "metric"], dtype="str"),
        start,
        pd.Timedelta(minutes=step_min),
        np.array(rows),
    )


def _demand(hours: np.ndarray, i: int) -> np.ndarray:
    day = np.exp(3 * np.cos((hours % 24 - 9 - i % 3) / 24 * 2 * np.pi)) / np.e**3
    weekend = np.where(hours % 168 >= 120, 0.35, 1.0)
    return (40 + 30 * i) + (500 + 160 * i) * day * weekend


def _forecasts(workloads: tuple[str, ...], start: pd.Timestamp) -> pd.DataFrame:
    frames = []
    for issued in ISSUED:
        ts = pd.date_range(issued, periods=168, freq="h")
        hours = np.asarray((ts - start) / pd.Timedelta(hours=1), dtype=float)
        for i, workload in enumerate(workloads):
            for metric, scale in (("requests_per_second", 1.0), ("cpu_usage_cores", 0.004)):
                middle = _demand(hours, i) * scale
                bands = {"q05": 0.88, "q50": 1.0, "q90": 1.1, "q95": 1.14, "q99": 1.25}
                frames.append(
                    pd.DataFrame(
                        {"workload": workload, "metric": metric, "issued_at": issued, "ts": ts}
                    )
                    .assign(**{q: middle * share for q, share in bands.items()})
                    .assign(
                        model="combination",
                        confidence="day" if i == 4 else "week",
                        model_version="3",
                        run_id="r",
                        valid_until=issued + pd.Timedelta(days=7),
                    )
                )
    return pd.concat(frames, ignore_index=True)


def _capacity(forecasts: pd.DataFrame) -> pd.DataFrame:
    rps = forecasts[forecasts["metric"] == "requests_per_second"]
    peak = rps.groupby("workload")["q90"].transform("max")
    needed = np.ceil(rps["q90"] / (peak / 7)).clip(2.0, None).astype("int64")
    return rps[["workload", "issued_at", "ts"]].assign(
        replicas=needed,
        ready_replicas=needed,
        reactive_replicas=needed,
        cpu_cores=np.nan,
        memory_bytes=np.nan,
        lead_time_s=185.0,
        lead_time_source="p95 of node launches and p95 of its pods' starts",
        quantile=0.9,
        gate="act",
        gate_reason="beats the bar",
        run_id="r",
        valid_until=AS_OF + pd.Timedelta(days=1),
    )


def _scores(panel: Panel) -> pd.DataFrame:
    slow = panel.of("latency_p99_seconds")
    row = slow.keys.index[slow.keys["workload"] == SLOW]
    if not len(row):
        return pd.DataFrame()
    values = slow.values[row[0]]
    return pd.DataFrame(
        {
            "workload": SLOW,
            "metric": "latency_p99_seconds",
            "ts": slow.times,
            "detector": "band",
            "score": np.where(values > 0.8, 3.4, 0.3),
            "expected": 0.13,
            "lower": 0.1,
            "upper": 0.2,
            "value": values,
            "severity": "high",
            "reason": "far above its usual band",
            "model_version": "3",
            "run_id": "r",
            "valid_until": AS_OF + pd.Timedelta(days=1),
        }
    )


def _leaks() -> pd.DataFrame:
    def row(hours_ago: float, left_h: float) -> dict[str, Any]:
        return {
            "workload": LEAKY,
            "metric": "memory_working_set_bytes",
            "issued_at": AS_OF - pd.Timedelta(hours=hours_ago),
            "slope_per_h": 0.008 * _GIB,
            "slope_per_h_lower": 0.0065 * _GIB,
            "slope_per_h_upper": 0.0093 * _GIB,
            "value": (1.67 - 0.008 * hours_ago) * _GIB,
            "limit": 2 * _GIB,
            "time_to_limit_p10_s": (left_h - 6) * 3600,
            "time_to_limit_p50_s": left_h * 3600,
            "time_to_limit_p90_s": (left_h + 11) * 3600,
            "score": 2.6,
            "note": "",
            "model_version": "3",
            "run_id": "r",
        }

    return pd.DataFrame([row(52, 93), row(24, 65), row(0, 41)])


def _incidents() -> pd.DataFrame:
    def cause(workload: str, metric: str, score: float, evidence: str) -> dict[str, Any]:
        return {"workload": workload, "metric": metric, "score": score, "evidence": evidence}

    return pd.DataFrame(
        {
            "incident_id": ["i-1", "i-2"],
            "started_at": [AS_OF - pd.Timedelta(hours=5), AS_OF - pd.Timedelta(days=4)],
            "detected_at": [
                AS_OF - pd.Timedelta(hours=4, minutes=50),
                AS_OF - pd.Timedelta(hours=95),
            ],
            "ended_at": [pd.NaT, AS_OF - pd.Timedelta(hours=92)],
            "title": [
                "payments answers slowly, checkout waits for it",
                "search lost a third of its requests",
            ],
            "workloads": [[SLOW, WORKLOADS[0]], [WORKLOADS[2]]],
            "causes": [
                [
                    cause(
                        SLOW,
                        "latency_p99_seconds",
                        3.4,
                        "p99 rose from 130 ms to 1.02 s 6 min before any other",
                    ),
                    cause(WORKLOADS[0], "error_ratio", 1.3, "errors follow 4 min later"),
                ],
                [
                    cause(
                        WORKLOADS[2],
                        "requests_per_second",
                        2.1,
                        "34 % below its band, no deploy near",
                    )
                ],
            ],
            "score": [3.4, 2.1],
            "severity": ["critical", "warning"],
            "suppressed_alerts": [14, 3],
            "run_id": ["r", "r"],
        }
    )


def _backtest(workloads: tuple[str, ...]) -> pd.DataFrame:
    """The combination is live, but for the last workload, where the bar is."""
    losses = {
        "combination": 0.05,
        "prophet": 0.06,
        "seasonal_level": 0.07,
        "seasonal_naive": 0.081,
    }
    return pd.DataFrame(
        [
            {
                "workload": w,
                "metric": "requests_per_second",
                "model": model,
                "origin": AS_OF - pd.Timedelta(days=7 * k),
                "horizon_s": 604800.0,
                "wape": wape + 0.01 * i + 0.004 * k,
                "mase": wape * 6,
                "pinball_q50": wape,
                "pinball_q90": wape / 2,
                "pinball_q99": wape / 10,
                "coverage_q90": 0.9 - 0.01 * i,
                "peak_coverage_q90": 0.55,
                "solver": "exact" if model == "prophet" else "",
                "points": 168,
                "champion": model == ("seasonal_naive" if i == 4 else "combination"),
            }
            for i, w in enumerate(workloads)
            for model, wape in losses.items()
            for k in (1, 2)
        ]
    )


def _verdicts(workloads: tuple[str, ...]) -> pd.DataFrame:
    said = {
        "good": "not worse than its backtest beyond chance",
        "drifted": "off by 21% of the load, 6% in its backtest",
        "demoted": "off by 19%, last week's values by 11%, since 2026-06-06 00:00 UTC",
        "unjudged": "12 h of forecast came due, 24 h are needed",
    }
    rows = [
        {
            "workload": w,
            "metric": "requests_per_second",
            "evaluated_at": AS_OF,
            "trained_at": AS_OF - pd.Timedelta(days=6),
            "model": "combination",
            "verdict": verdict,
            "reason": reason,
            "since": AS_OF - pd.Timedelta(days=1),
            "losing_since": AS_OF - pd.Timedelta(days=2) if verdict == "demoted" else pd.NaT,
            "wape": 0.06,
            "bar_wape": 0.08,
            "backtest_wape": 0.06,
            "pinball_q50": 1.0,
            "pinball_q90": 1.0,
            "coverage_q90": 0.912,
            "backtest_coverage_q90": 0.9,
            "peak_coverage_q90": 0.867,
            "points": 168,
            "run_id": "r",
        }
        for w, (verdict, reason) in zip(workloads, said.items(), strict=False)
    ]
    table = pd.DataFrame(rows)
    return table.assign(losing_since=pd.to_datetime(table["losing_since"], utc=True))


def _skips() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "workload": ["prod/shop/CronJob/nightly", "prod/media/Deployment/preview"],
            "metric": ["", "cpu_usage_cores"],
            "step": ["train", "train"],
            "reason": [
                "9 % of the window was measured, 50 % is needed",
                "history is 3 days, 14 are needed",
            ],
            "issued_at": AS_OF,
            "run_id": "r",
        }
    )


def _plan(workloads: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            "workload": w,
            "ts_from": AS_OF + pd.Timedelta(hours=6.5 + i % 3),
            "ts_to": AS_OF + pd.Timedelta(hours=12 + i % 3),
            "floor_from": 2,
            "floor_to": 7 - i % 3,
            "mode": "shadow" if i == 4 else "act",
            "reason": f"q90 of requests reaches {600 + 160 * i}/s at {9 + i % 3}:00",
        }
        for i, w in enumerate(workloads)
    ]


def _shortfalls() -> list[dict[str, Any]]:
    at = AS_OF + pd.Timedelta(hours=9)
    why = "NodePool general: limit of 64 cores"
    return [
        {"what": LEAKY, "at": at, "wanted": 12.0, "held": 9.0, "reason": why},
        {"what": "prod/general", "at": at, "wanted": 80.0, "held": 64.0, "reason": why},
    ]


def _room() -> list[dict[str, Any]]:
    window = {"ts_from": AS_OF + pd.Timedelta(hours=6), "ts_to": AS_OF + pd.Timedelta(hours=12)}
    rows = [
        {"what": "room", "size": "4 × 0.5 cores, 1 GiB", "mode": "act", "reason": "the peak at 9"},
        {"what": "nodes held", "size": "no consolidation", "mode": "shadow", "reason": "until 12"},
    ]
    return [row | window | {"where": "prod/general"} for row in rows]


def _advice(workloads: tuple[str, ...]) -> pd.DataFrame:
    """Worth it, not worth it, not known; nobody judged the others."""
    week = {"evaluated_at": AS_OF, "started_at": AS_OF - pd.Timedelta(days=28), "run_id": "r"}
    rows = [
        {"verdict": "enable", "weeks": 4, "short_pod_min_reactive": 312.0,
         "short_pod_min_foretide": 4.0, "extra_replica_hours": 60.0,
         "extra_cost_usd_per_week": 2.4, "replica_hours_ratio": 1.06,
         "reason": "312 → 4 pod-minutes short a week, +6% pod-hours, better in 4 of 4 weeks"},
        {"verdict": "do not enable", "weeks": 4, "short_pod_min_reactive": 20.0,
         "short_pod_min_foretide": 10.0, "extra_replica_hours": 9.0, "replica_hours_ratio": 1.01,
         "reason": "the HPA alone is 20 pod-minutes short a week: little to gain"},
        {"verdict": "not enough data", "weeks": 0, "reason": "0 of 3 weeks were judged"},
    ]  # fmt: skip
    told = zip(rows, workloads, strict=False)
    return pd.DataFrame([row | week | {"workload": w} for row, w in told])


def _ledger() -> list[dict[str, Any]]:
    """A floor that stands, one that somebody else took back, and one that is over."""
    row = {"cluster": "prod", "uid": "u", "replicas": 2, "plan_id": "4f2a", "mode": "act",
           "stage": "", "rolled_back_by": "", "field": "hpa spec.minReplicas"}  # fmt: skip
    told = (
        (WORKLOADS[0], "2", "7", "done", 1, 2, "the peak at 9", ""),
        (SLOW, "2", "5", "reverted", 2, 1, "the peak at 9", "taken back by argocd"),
        (WORKLOADS[2], "2", "4", "done", 9, -3, "the peak of yesterday", ""),
    )
    return [
        row
        | {
            "target": who,
            "before": before,
            "after": after,
            "status": status,
            "reason": why,
            "detail": detail,
            "action_id": f"a{i}",
            "applied_at": AS_OF - pd.Timedelta(hours=ago),
            "expires_at": AS_OF + pd.Timedelta(hours=left),
        }
        for i, (who, before, after, status, ago, left, why, detail) in enumerate(told)
    ]
