"""The report is filled with what holds of the live models, not with the last file alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from features.frames import BACKTEST, VALUE, VERDICTS
from pipelines.explaining import told_verdicts
from pipelines.report.fill import report_data
from pipelines.run import Run, RunRef, part_name
from pipelines.value_text import told_value, value_lines

FULL, PART, NOW = (pd.Timestamp(f"2026-06-{day}T00:00Z") for day in ("01", "05", "08"))
CART, SHOP, GONE = (f"c/n/Deployment/{name}" for name in ("cart", "shop", "gone"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A store in which all was trained, two were judged, and then one was trained again."""
    config = tmp_path / "foretide.yaml"
    config.write_text(yaml.safe_dump({"store": {"path": str(tmp_path / "store")}}))
    run = RunRef.resolve(str(config), None, None, NOW.isoformat(), NOW).open()
    ts = pd.date_range(NOW - pd.Timedelta(days=2), NOW, freq="h", inclusive="left")
    labels = {"cluster": "c", "namespace": "n", "kind": "Deployment"}
    samples = [
        pd.DataFrame({"name": name, "metric": "cpu_usage_cores", "ts": ts.as_unit("ms")})
        for name in ("cart", "shop")
    ]
    table = pd.concat(samples).assign(**labels, value=1.0)
    run.store.write_samples(table)
    run.store.write(BACKTEST, backtest((CART, SHOP), "prophet"), part_name(FULL))
    run.store.write(BACKTEST, backtest((GONE,), "prophet"), f"{part_name(FULL)}-0001")
    run.store.write(VERDICTS, verdicts((CART, SHOP)), part_name(FULL + pd.Timedelta(days=2)))
    run.store.write(BACKTEST, backtest((CART,), "combination"), part_name(PART))
    return run


def backtest(workloads: tuple[str, ...], model: str) -> pd.DataFrame:
    figures = {f.name: 0.1 for f in BACKTEST.schema if str(f.type) == "double"}
    row = {"metric": "cpu_usage_cores", "model": model, "solver": "", "origin": FULL, "points": 9}
    return pd.DataFrame({"workload": list(workloads)}).assign(**row, **figures, champion=True)


def verdicts(workloads: tuple[str, ...]) -> pd.DataFrame:
    figures = {f.name: 0.1 for f in VERDICTS.schema if str(f.type) == "double"}
    row = {"metric": "cpu_usage_cores", "model": "prophet", "verdict": "drifted", "reason": "far",
           "points": 9, "run_id": "r", "trained_at": FULL} | figures  # fmt: skip
    stamps = dict.fromkeys(("evaluated_at", "since", "losing_since"), FULL + pd.Timedelta(days=2))
    return pd.DataFrame({"workload": list(workloads)}).assign(**row, **stamps)


def test_a_training_of_some_leaves_the_others_champions(run: Run) -> None:
    live = report_data(run, []).backtest.set_index("workload")["model"]
    assert live.astype(str).to_dict() == {CART: "combination", SHOP: "prophet"}
    before = replace(run.ref, as_of=FULL.isoformat()).open()
    assert [p[:8] for p in before.parts(BACKTEST)] == ["20260601"] * 2


def test_a_verdict_holds_until_its_workload_is_trained_again(run: Run) -> None:
    told = report_data(run, []).verdicts.set_index("workload")["holds"]
    assert told.to_dict() == {CART: False, SHOP: True}


def test_nothing_is_said_of_models_that_nobody_judged(run: Run) -> None:
    early = replace(run.ref, as_of=FULL.isoformat()).open()
    assert told_verdicts(early).empty
    assert told_verdicts(replace(run.ref, inputs=("other.parquet",)).open()).empty


def test_value_is_that_of_the_newest_week_in_the_weekly_reports_words(run: Run) -> None:
    rows = [("all", 3.25, ""), ("c", float("nan"), "fewer than 5 incidents")]
    table = pd.DataFrame(rows, columns=["scope", "value", "reason"]).assign(
        name="incidents_per_day", unit="a day", lower=float("nan"), upper=float("nan"), run_id="r"
    )
    for moment, scopes in ((PART, table.assign(value=9.0)), (NOW, table)):
        week = {"started_at": moment - pd.Timedelta(days=7), "evaluated_at": moment}
        run.store.write(VALUE, scopes.assign(**week), part_name(moment))
    data = report_data(run, [])
    assert [(r["scope"], r["told"], r["figure"], r["reason"]) for r in data.value] == [
        ("all", "incidents", "3.2 a day", ""),
        ("c", "incidents", "–", "fewer than 5 incidents"),
    ]
    assert data.value_window == (NOW - pd.Timedelta(days=7), NOW)
    assert [r["figure"] for r in value_lines(table, "all")] == ["3.2 a day"]


@pytest.mark.parametrize(
    ("name", "unit", "estimate", "said"),
    [
        ("sooner_minutes", "min", (-10.0, -85.0, -5.0), ("10 min later", "5 to 85 min later")),
        ("sooner_minutes", "min", (30.0, 5.0, 42.5), ("30 min sooner", "5 to 42.5 min sooner")),
        ("sooner_minutes", "min", (0.0, -5.0, 115.0), ("0 min", "5 min later to 115 min sooner")),
        ("sooner_minutes", "min", (np.nan,) * 3, ("–", "")),
        (
            "short_pod_minutes_avoided",
            "pod-min",
            (22502.0, 19185.4, 26150.9),
            ("22,500 pod-min", "19,200 to 26,200"),
        ),
        ("incidents_per_day", "a day", (0.04, 0.012, 0.4), ("0.04 a day", "0.012 to 0.4")),
        ("replica_hours_extra", "pod-h", (-134.4, -210.0, 3.0), ("-134 pod-h", "-210 to 3")),
        ("incidents", "incidents", (1234.0, np.nan, np.nan), ("1,234 incidents", "")),
    ],
)
def test_a_figure_is_as_exact_as_its_interval_and_a_lag_is_no_negative_lead(
    name: str, unit: str, estimate: tuple[float, float, float], said: tuple[str, str]
) -> None:
    value, lower, upper = estimate
    row = {"scope": "all", "name": name, "value": value, "lower": lower, "upper": upper}
    table = pd.DataFrame([row | {"unit": unit, "reason": ""}])
    (line,) = value_lines(table, "all")
    assert (line["figure"], line["interval"]) == said
    if np.isfinite(value) and line["told"]:  # the terminal says the same
        (told,) = told_value(table)
        assert said[0] in told
        assert said[1] in told


def test_a_yes_that_holds_is_read_and_one_that_is_over_is_not(run: Run) -> None:
    for name, end in (("holds", NOW + pd.Timedelta(days=1)), ("over", NOW)):
        told = {"plan_id": name, "approved_at": PART.isoformat(), "floors": {CART: 4}}
        text = json.dumps(told | {"expires_at": end.isoformat()})
        run.store.put_file(f"approvals/{name}.json", text.encode())
    assert [(a["plan_id"], a["floors"]) for a in report_data(run, []).approvals] == [
        ("holds", {CART: 4})
    ]
