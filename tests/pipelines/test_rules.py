"""The alert rules, run by promtool: each fires when it should, none in a healthy week.

The healthy week is made as the deployments would make it: runs by the schedules of
config/prefect.yaml, some missed, some failed and one day a holiday, each published as
``run_gauges`` tells it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from features.frames import RUNS
from pipelines.series.gauge import Gauge
from pipelines.series.own import run_gauges

ROOT = Path(__file__).parents[2]
RULES = ROOT / "config" / "rules" / "foretide.yaml"
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {r["alert"]: r for g in GROUPS for r in g["rules"] if "alert" in r}
AGE_MAX = {
    r["labels"]["flow"]: float(re.fullmatch(r"vector\((\d+)\)", r["expr"]).group(1))
    for g in GROUPS
    for r in g["rules"]
    if r.get("record") == "foretide:run_age_max_seconds"
}
Key = tuple[str, tuple[tuple[str, str], ...]]
"""A series: its name, and its labels with their values."""
MINUTE, HOUR, DAY = 60, 3600, 86400
START = pd.Timestamp("2026-06-01T00:00Z")
"""A Monday; promtool's clock begins at 0 there."""


@dataclass(frozen=True)
class Pace:
    """How often a flow runs, how long it takes, and what it is about."""

    every_s: int
    at_s: int
    unit: str = ""
    units: int = 0
    skipped: int = 0


# the chain of events as times: a step begins when what it needs is done
PACES = {
    "ingest": Pace(900, 0, "metrics", 24, 1),
    "score": Pace(900, 2 * MINUTE, "series", 9000, 700),
    "forecast": Pace(HOUR, 2 * MINUTE, "series", 5000, 300),
    "forecast-next": Pace(900, 2 * MINUTE, "series", 5000, 300),
    "prescale": Pace(900, 4 * MINUTE, "workloads", 40, 960),
    "apply": Pace(300, 3 * MINUTE, "workloads", 40, 960),
    "publish": Pace(900, 8 * MINUTE, "series", 60_000, 0),
    "notify": Pace(900, 5 * MINUTE, "incidents", 1, 0),
    "train": Pace(7 * DAY, 6 * DAY + 22 * HOUR + 37 * MINUTE, "series", 9000, 700),
    "evaluate": Pace(DAY, HOUR + 25 * MINUTE, "judgements", 3, 0),
    "retrain": Pace(DAY, HOUR + 55 * MINUTE, "series", 12, 0),
}


def promtool(folder: Path, tests: list[dict[str, Any]]) -> str:
    """Empty where all passed, else what promtool says."""
    tool = shutil.which("promtool")
    if tool is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is not on PATH, and CI must not skip it")
        pytest.skip("promtool is not on PATH")
    file = folder / "rules_test.yaml"
    document = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
    file.write_text(yaml.safe_dump(document, width=10**9))
    done = subprocess.run(
        [tool, "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def series(name: str, labels: dict[str, str], at_min: dict[int, float], end_min: int) -> dict:
    """Samples at some minutes and nothing in between."""
    words: list[str] = []
    before = 0
    for minute, value in sorted(at_min.items()):
        if minute > end_min:
            break
        if minute > before:
            words.append(f"_x{minute - before}")
        words.append(f"{value:.12g}")
        before = minute + 1
    inside = ",".join(f'{k}="{v}"' for k, v in labels.items())
    return {"series": f"{name}{{{inside}}}", "values": " ".join(words)}


def steady(name: str, value: float, minutes: int, start: int = 0, /, **labels: str) -> dict:
    """Published every quarter of an hour from a minute on, always the same."""
    return series(name, labels, dict.fromkeys(range(start, minutes, 15), value), minutes)


# what fires


def change(
    name: str, first: float, then: float, at_min: int, end_min: int, /, **labels: str
) -> dict:
    """A value that changes at a minute."""
    told = {m: first if m < at_min else then for m in range(0, end_min, 15)}
    return series(name, labels, told, end_min)


def units(flow: str, skipped: tuple[float, float], done: tuple[float, float]) -> list[dict]:
    """A day and more of a flow; it changes after the first."""
    at, end = 25 * 60, 30 * 60
    kind = {"flow": flow, "unit": "series"}
    return [
        change("foretide_run_units", *skipped, at, end, state="skipped", **kind),
        change("foretide_run_units", *done, at, end, state="done", **kind),
    ]


WORLD = {"cluster": "prod", "namespace": "shop"}
FIRES: dict[str, tuple[list[dict], int, int, dict[str, str]]] = {
    # alert → series, a minute at which it is not yet firing, one at which it is, its labels
    "ForetideNoData": (
        [steady("foretide_run_last_timestamp_seconds", 0, 60, flow="ingest")],
        45 + 60 + 10,
        45 + 60 + 20,
        {"flow": ""},
    ),
    "ForetideFlowLate": (
        [steady("foretide_run_last_success_timestamp_seconds", 0, 600, flow="score")],
        90,
        98,
        {"flow": "score"},
    ),
    "ForetideRunFailing": (
        [change("foretide_run_failed", 0, 1, 60, 600, flow="train")],
        139,
        141,
        {"flow": "train"},
    ),
    "ForetideRunPartly": (
        [change("foretide_run_units", 0, 3, 60, 600, flow="score", unit="series", state="failed")],
        179,
        181,
        {"flow": "score", "unit": "series", "state": "failed"},
    ),
    "ForetideSkipsMore": (
        units("score", (5, 30), (95, 70)), 26 * 60 - 1, 26 * 60 + 1, {"flow": "score"}
    ),
    "ForetideSkipsMost": (
        units("train", (60, 60), (40, 40)), 24 * 60 - 1, 24 * 60 + 1, {"flow": "train"}
    ),
    "ForetideSeesLess": (
        units("forecast", (0, 0), (100, 60)), 27 * 60 - 1, 27 * 60 + 1, {"flow": "forecast"}
    ),
    "ForetideStale": (
        [steady("foretide_valid_until_timestamp_seconds", HOUR, 600, table="plan")],
        69,
        72,
        {"table": "plan"},
    ),
    "ForetideModelOld": (
        [change("foretide_model_age_seconds", 9 * DAY, 11 * DAY, 60, 600, family="detector")],
        89,
        91,
        {"family": "detector"},
    ),
    "ForetideGateFailed": (
        [
            change("foretide_gate_failures", 10, 40, 25 * 60, 30 * 60, gate="accuracy"),
            change("foretide_gate_judged", 100, 100, 25 * 60, 30 * 60, gate="accuracy"),
        ],
        26 * 60 - 1,
        26 * 60 + 1,
        {"gate": "accuracy"},
    ),
    "ForetideSeriesRefused": (
        [change("foretide_series_refused", 0, 12, 60, 600)], 99, 101, {}
    ),
    "ForetideFloorsOverdue": (
        [change("foretide_held_floors_overdue", 0, 2, 60, 600)], 79, 81, {}
    ),
    "ForetideRolledBack": ([change("foretide_rollbacks", 0, 1, 60, 600)], 59, 62, {}),
    "ForetideLeakNearLimit": (
        [
            change(
                "foretide_time_to_limit_seconds", 20 * HOUR, 3 * HOUR, 60, 600,
                **WORLD, kind="Deployment", name="cart", metric="memory_rss_bytes", quantile="0.5",
            )
        ],
        74,
        76,
        {
            **WORLD, "kind": "Deployment", "name": "cart", "metric": "memory_rss_bytes",
            "quantile": "0.5",
        },
    ),
    "ForetideSevereIncident": (
        [change("foretide_incidents", 0, 1, 60, 600, **WORLD, severity="critical")],
        64,
        66,
        WORLD,
    ),
}  # fmt: skip


def test_every_rule_is_tried_and_every_one_says_what_to_do() -> None:
    assert FIRES.keys() == ALERTS.keys()
    headings = re.findall(r"^#+ (Foretide\w+)$", (ROOT / "docs" / "watching.md").read_text(), re.M)
    assert sorted(headings) == sorted(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["for"]
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith(f"docs/watching.md#{name.lower()}")


def test_each_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    tests = []
    for name, (given, before, at, labels) in FIRES.items():
        severity = ALERTS[name]["labels"]["severity"]
        told = {k: v for k, v in labels.items() if v} | {"severity": severity}
        inside = ",".join(f'{k}="{v}"' for k, v in told.items())
        firing = f'ALERTS{{alertname="{name}",alertstate="firing"}}'
        sample = f'ALERTS{{alertname="{name}",alertstate="firing",{inside}}}'
        test = {
            "interval": "1m",
            "input_series": given,
            "promql_expr_test": [
                {"expr": firing, "eval_time": f"{before}m", "exp_samples": []},
                {
                    "expr": firing,
                    "eval_time": f"{at}m",
                    "exp_samples": [{"labels": sample, "value": 1}],
                },
            ],
        }
        if name == "ForetideNoData":  # absent series take their labels from nowhere
            test["promql_expr_test"][1]["exp_samples"][0]["labels"] = (
                f'ALERTS{{alertname="{name}",alertstate="firing",severity="{severity}"}}'
            )
        tests.append(test)
    assert promtool(tmp_path, tests) == ""


def test_a_week_as_it_should_be_raises_no_alarm(tmp_path: Path) -> None:
    given = healthy_week(np.random.default_rng(7))
    nothing = 'count_over_time(ALERTS{alertstate="firing"}[7d])'
    seen = "count(count_over_time(foretide:run_age_seconds[30m]))"
    tests = [
        {
            "interval": "1m",
            "input_series": given,
            "promql_expr_test": [
                {"expr": nothing, "eval_time": "7d", "exp_samples": []},
                # the week was there: every flow was watched in it
                {
                    "expr": seen,
                    "eval_time": "7d",
                    "exp_samples": [{"labels": "{}", "value": len(PACES)}],
                },
            ],
        }
    ]
    assert promtool(tmp_path, tests) == ""


def test_what_a_flow_may_be_late_fits_its_schedule() -> None:
    """Of each deployment that runs by itself: a missed run is nothing, several are."""
    file = yaml.safe_load((ROOT / "config" / "prefect.yaml").read_text())
    named = {d["name"] for d in file["deployments"] if d.get("schedules") or d.get("triggers")}
    assert named == AGE_MAX.keys() == PACES.keys()
    for deployment in file["deployments"]:
        name = deployment["name"]
        for schedule in deployment.get("schedules") or []:
            every = interval_s(schedule["cron"])
            assert every >= PACES[name].every_s or name in {"apply", "publish"}, name
            assert AGE_MAX[name] > 2 * every, name


def interval_s(cron: str) -> int:
    """Between two runs of the kinds of schedule that are in use."""
    minute, hour, _, _, weekday = cron.split()
    if step := re.fullmatch(r"(?:\*|\d+-59)/(\d+)", minute):
        return int(step.group(1)) * MINUTE
    if hour == "*":
        return HOUR
    return DAY if weekday == "*" else 7 * DAY


# the healthy week


def healthy_week(random: np.random.Generator) -> list[dict]:
    """Every series that is published in the week, at the minutes at which it is.

    What the runs say is kept up to date from run to run, and held against ``run_gauges`` at some of
    the moments: asking it at all of them takes too long.
    """
    runs = week_of_runs(random)
    told: dict[Key, dict[int, float]] = {}
    values: dict[Key, float] = {}
    good: dict[str, pd.Timestamp] = {}
    for i, row in enumerate(runs.to_dict("records")):
        moment = row["as_of"]
        if row["verb"] == "publish" and moment >= START:
            minute = int((moment - START).total_seconds() // 60) + 1
            if minute % 1000 < 15:
                assert values == of_gauges(run_gauges(runs.iloc[:i]))
            for key, value in (values | state_of(moment, good, random)).items():
                is_stamp = key[0].endswith("timestamp_seconds")
                shifted = value - START.timestamp() if is_stamp else value
                told.setdefault(key, {})[minute] = shifted
        values |= of_row(row)
        if row["state"] != "failed":
            good[row["verb"]] = moment
    return [series(n, dict(labels), at, 7 * 1440) for (n, labels), at in told.items()]


def of_gauges(gauges: list[Gauge]) -> dict[Key, float]:
    return {
        (g.name, tuple(zip(g.labels.columns, map(str, row), strict=True))): float(v)
        for g in gauges
        for row, v in zip(g.labels.itertuples(index=False), g.values, strict=True)
    }


FIGURES = {
    "apply": {"held": "held_floors", "overdue": "held_floors_overdue", "rolled_back": "rollbacks"},
    "ingest": {"usd": "ingest_cost_usd", "samples": "ingest_samples"},
    "publish": {"series_published": "series_published", "series_refused": "series_refused"},
}


def of_row(row: dict[str, Any]) -> dict[Key, float]:
    """What one more run changes."""
    verb = row["verb"]
    flow = (("flow", verb),)
    stamp = row["as_of"].timestamp()
    found: dict[Key, float] = {
        ("foretide_run_last_timestamp_seconds", flow): stamp,
        ("foretide_run_failed", flow): float(row["state"] == "failed"),
        ("foretide_run_duration_seconds", flow): 47.0,
    }
    if row["state"] == "failed":
        return found
    found["foretide_run_last_success_timestamp_seconds", flow] = stamp
    for state in ("done", "skipped", "failed"):
        labels = (*flow, ("unit", row["unit"]), ("state", state))
        found["foretide_run_units", labels] = float(row[state])
    reason = ("reason", "history # d, needs # d")
    found["foretide_run_skipped", (*flow, reason)] = 1.0
    named = {f["name"]: f["value"] for f in row["figures"]}
    for figure, name in FIGURES.get(verb, {}).items():
        found[f"foretide_{name}", ()] = named[figure]
    return found


def state_of(
    moment: pd.Timestamp, good: dict[str, pd.Timestamp], random: np.random.Generator
) -> dict[Key, float]:
    """What is told beside the runs: ages, ends, gates, incidents; on the holiday of the week the
    forecasts are off for a tenth of the series."""
    holiday = (moment - START).days == 3
    trained = max(good.get("train", START), START - pd.Timedelta(hours=1.4))
    hour = pd.Timedelta(1, "h")
    found: dict[Key, float] = {
        ("foretide_model_age_seconds", (("family", f),)): (moment - trained).total_seconds()
        for f in ("forecaster", "detector")
    }
    valid = {"scores": ("score", 1), "forecasts": ("forecast", 26), "capacity": ("forecast", 26)}
    for table, (flow, hours) in (valid | {"plan": ("prescale", 24)}).items():
        until = good[flow] + hours * hour
        found["foretide_valid_until_timestamp_seconds", (("table", table),)] = until.timestamp()
    shut = 400 + 30 * random.random() + (500 if holiday else 0)
    found["foretide_gate_failures", (("gate", "accuracy"),)] = shut
    found["foretide_gate_judged", (("gate", "accuracy"),)] = 5000.0
    warnings = float(random.poisson(1 + 2 * holiday))
    place = (("cluster", "prod"), ("namespace", "shop"))
    found["foretide_incidents", (*place, ("severity", "warning"))] = warnings
    found["foretide_incidents", (*place, ("severity", "critical"))] = 0.0
    leak = (*place, ("kind", "Deployment"), ("name", "cart"), ("metric", "memory_rss_bytes"))
    days_left = 9 - (moment - START) / pd.Timedelta(1, "D")
    found["foretide_time_to_limit_seconds", (*leak, ("quantile", "0.5"))] = days_left * DAY
    return found


def week_of_runs(random: np.random.Generator) -> pd.DataFrame:
    """The table of runs of this week and the one before: one in fifty was missed, and of those that
    come again within the hour one in fifty failed; none of them twice in a row."""
    rows: list[dict[str, Any]] = []
    for verb, pace in PACES.items():
        begin = START - pd.Timedelta(7 if pace.every_s >= DAY else 1, "D")
        first = begin + pd.Timedelta(pace.at_s, "s")
        last_went_well = False
        for as_of in pd.date_range(first, START + pd.Timedelta(7, "D"), freq=f"{pace.every_s}s"):
            chance = random.random() if last_went_well and verb != "train" else 1.0
            last_went_well = chance >= 0.04
            if chance < 0.02:
                continue
            failed = chance < 0.04 and pace.every_s <= HOUR
            rows.append(run_row(verb, pace, as_of, failed=failed, random=random))
    frame = pd.DataFrame(rows)[RUNS.schema.names]
    return frame.sort_values(["as_of", "started_at"], kind="stable", ignore_index=True)


def run_row(
    verb: str, pace: Pace, as_of: pd.Timestamp, *, failed: bool, random: np.random.Generator
) -> dict[str, Any]:
    off = 0 if failed else int(random.integers(0, 1 + pace.skipped // 20 + pace.units // 100))
    zero = {"overdue", "rolled_back", "series_refused"}
    figures = [{"name": n, "value": 0.0 if n in zero else 12.0} for n in FIGURES.get(verb, ())]
    return {
        "verb": verb,
        "run_id": f"{as_of:%Y%m%dT%H%M%SZ}",
        "as_of": as_of,
        "started_at": as_of + pd.Timedelta(3, "s"),
        "ended_at": as_of + pd.Timedelta(50, "s"),
        "state": "failed" if failed else "done",
        "unit": "" if failed else pace.unit,
        "done": 0 if failed else pace.units - min(off, pace.units),
        "skipped": 0 if failed else pace.skipped + off,
        "failed": int(failed),
        "reasons": [] if failed else [{"reason": "history 1.2 d, needs 3.0 d", "count": 1}],
        "figures": [] if failed else figures,
        "error": "SourceUnreachable: no answer" if failed else "",
    }
