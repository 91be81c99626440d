"""What is published of a store: the newest that may still be used, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from publish_store import CLOCK, METRICS, WORKLOADS, add_forecast, add_scores, fill, opened

from features.frames import INCIDENTS, SCORES
from pipelines.adapters.store import Store
from pipelines.run import Run, part_name
from pipelines.series import all_gauges
from pipelines.series.every import gather_all
from pipelines.series.gauge import WORKLOAD_LABELS, Gauge
from pipelines.series.names import NAMES, gauge
from pipelines.series.workloads import gather_workloads, workload_gauges

H = pd.Timedelta("1h")


def by_name(run: Run) -> dict[str, Gauge]:
    return {g.name: g for g in workload_gauges(run)}


def values(one: Gauge, *labels: str, **where: str) -> dict[Any, float]:
    rows = one.labels.astype("str").assign(v=one.values)
    for label, value in where.items():
        rows = rows[rows[label] == value]
    keys = rows[list(labels)].itertuples(index=False, name=None)
    return {k[0] if len(k) == 1 else k: v for k, v in zip(keys, rows["v"], strict=True)}


def test_every_name_of_the_workloads_is_there_with_its_labels(tmp_path: Path) -> None:
    fill(tmp_path)
    found = by_name(opened(tmp_path))
    assert set(found) == {
        "foretide_anomaly_score", "foretide_forecast", "foretide_required_replicas",
        "foretide_floor_replicas", "foretide_demand_replicas", "foretide_time_to_limit_seconds",
        "foretide_incidents", "foretide_incident_score", "foretide_forecast_error_ratio",
        "foretide_valid_until_timestamp_seconds",
    }  # fmt: skip
    for name, one in found.items():
        assert tuple(one.labels.columns) == NAMES[name].labels
        assert len(one.values)
        assert one.help == NAMES[name].help
    assert {g.name for g in all_gauges(opened(tmp_path))} >= set(found)


def test_the_last_score_of_each_series_counts(tmp_path: Path) -> None:
    store = fill(tmp_path)
    found = values(by_name(opened(tmp_path))["foretide_anomaly_score"], "name", "detector")
    assert found == {(n, "band"): 0.5 for n in ("web", "api", "bank")}
    add_scores(store, WORKLOADS[:1], CLOCK + H / 4, score=3.0)  # the newest run speaks for all
    later = by_name(opened(tmp_path, at=CLOCK + H / 4))["foretide_anomaly_score"]
    assert values(later, "name") == {"web": 3.0}


@pytest.mark.parametrize("detector", ["together", "a_own"])
def test_what_was_measured_is_no_measure_of_a_detectors_own(tmp_path: Path, detector: str) -> None:
    store = fill(tmp_path)

    def measured() -> dict[Any, float]:
        (one,) = (g for g in all_gauges(opened(tmp_path)) if g.name == "foretide_actual")
        return values(one, "name", "metric")

    before = measured()
    rows = store.read(SCORES).to_pandas().astype({"metric": "str"})
    other = rows.assign(detector=detector, value=-1.0)
    whole = other.assign(metric="*")
    store.write(SCORES, pd.concat([rows, other, whole], ignore_index=True), part_name(CLOCK))
    assert measured() == before
    assert before


def test_the_order_of_a_tables_rows_does_not_matter(tmp_path: Path) -> None:
    store = fill(tmp_path)
    rows = store.read(SCORES).to_pandas()
    before = values(by_name(opened(tmp_path))["foretide_anomaly_score"], "name")
    store.write(SCORES, rows.sample(frac=1, random_state=3), part_name(CLOCK))
    assert values(by_name(opened(tmp_path))["foretide_anomaly_score"], "name") == before


def test_a_silenced_score_and_one_of_a_series_that_went_silent_are_not_sent(tmp_path: Path) -> None:
    store = fill(tmp_path)
    rows = store.read(SCORES).to_pandas().astype({"workload": "str", "severity": "str"})
    rows.loc[rows["workload"] == WORKLOADS[0], "severity"] = "silenced"
    gone = rows["workload"] == WORKLOADS[1]
    rows.loc[gone, "ts"] -= 2 * H
    store.write(SCORES, rows, part_name(CLOCK))
    found = gather_workloads(opened(tmp_path))
    (scores,) = (g for g in found.gauges if g.name == "foretide_anomaly_score")
    assert values(scores, "name") == {"bank": 0.5}
    assert found.stale == {"scores": 1}
    assert "1 scores are silenced" in "".join(found.notes)


def test_horizons_and_quantiles_are_labels(tmp_path: Path) -> None:
    fill(tmp_path)
    publish = {"forecast_horizons": ["30m", "24h"], "quantiles": [0.5, 0.99]}
    one = by_name(opened(tmp_path, {"publish": publish}))["foretide_forecast"]
    assert values(one, "quantile", "horizon", name="web", metric=METRICS[0]) == {
        ("0.5", "30m"): 100, ("0.99", "30m"): 130, ("0.5", "24h"): 124, ("0.99", "24h"): 154,
    }  # fmt: skip


def test_only_the_metrics_that_are_wanted(tmp_path: Path) -> None:
    fill(tmp_path)
    found = by_name(opened(tmp_path, {"publish": {"metrics": [METRICS[1]]}}))
    assert set(found["foretide_forecast"].labels["metric"].astype("str")) == {METRICS[1]}
    for name in ("foretide_anomaly_score", "foretide_time_to_limit_seconds",
                 "foretide_forecast_error_ratio"):  # fmt: skip
        assert len(found[name].values) == 0
    assert len(found["foretide_required_replicas"].values)


def test_each_horizon_is_of_the_newest_run_that_reaches_it(tmp_path: Path) -> None:
    store = fill(tmp_path)
    add_forecast(store, WORKLOADS, CLOCK + H / 4, hours=3, base=500)
    run = opened(tmp_path, {"publish": {"forecast_horizons": ["1h", "24h"]}}, CLOCK + H / 4)
    found = by_name(run)
    assert values(found["foretide_forecast"], "horizon", name="web", metric=METRICS[0],
                  quantile="0.5") == {"1h": 501, "24h": 124}  # fmt: skip
    assert values(found["foretide_demand_replicas"], "name")["web"] == 1


def test_replicas_are_asked_for_a_lead_time_early(tmp_path: Path) -> None:
    fill(tmp_path)
    at = CLOCK + pd.Timedelta("50min")  # ready replicas rise in 10 min, the lead time is 10 min
    run = opened(tmp_path, {"publish": {"forecast_horizons": ["1h"]}}, at)
    found = by_name(run)["foretide_required_replicas"]
    assert values(found, "horizon", name="web") == {"0s": 3, "1h": 4}
    before = opened(tmp_path, {"publish": {"forecast_horizons": ["1h"]}}, at - pd.Timedelta("5min"))
    assert values(by_name(before)["foretide_required_replicas"], "horizon", name="web")["0s"] == 2


def test_what_no_forecast_reaches_is_said(tmp_path: Path) -> None:
    fill(tmp_path)
    found = gather_workloads(opened(tmp_path, {"publish": {"forecast_horizons": ["1h", "200h"]}}))
    assert any("200h" in line for line in found.notes)


def test_only_leaks_have_a_time_to_limit_and_only_a_finite_one(tmp_path: Path) -> None:
    fill(tmp_path)
    one = by_name(opened(tmp_path))["foretide_time_to_limit_seconds"]
    assert values(one, "name", "quantile") == {("web", "0.1"): 3600, ("web", "0.5"): 7200}


def test_an_incident_counts_once_where_its_likeliest_cause_is(tmp_path: Path) -> None:
    fill(tmp_path)
    found = by_name(opened(tmp_path))
    counts = values(found["foretide_incidents"], "namespace", "severity")
    assert counts == {
        ("pay", "critical"): 1, ("pay", "warning"): 0,
        ("shop", "critical"): 0, ("shop", "warning"): 0,
    }  # fmt: skip
    assert values(found["foretide_incident_score"], "incident", "name") == {("i-open", "bank"): 4}
    none = by_name(opened(tmp_path, {"publish": {"incidents_max": 0}}))
    assert len(none["foretide_incident_score"].values) == 0
    assert values(none["foretide_incidents"], "namespace", "severity") == counts


def test_the_floor_is_the_one_of_now(tmp_path: Path) -> None:
    fill(tmp_path)
    assert values(by_name(opened(tmp_path))["foretide_floor_replicas"], "name") == {"web": 7}
    later = opened(tmp_path, at=CLOCK + H)
    assert values(by_name(later)["foretide_floor_replicas"], "name") == {"bank": 9}


@pytest.mark.parametrize(
    ("after", "left"),
    [
        ("50min", {"scores", "forecasts", "capacity", "leaks", "incidents", "accuracy", "plan"}),
        ("61min", {"forecasts", "capacity", "leaks", "accuracy", "plan"}),
        ("25h", {"forecasts", "capacity", "accuracy"}),
        ("27h", {"accuracy"}),
        ("15D", set[str]()),
    ],
)
def test_nothing_is_sent_past_its_valid_until(tmp_path: Path, after: str, left: set[str]) -> None:
    """The law that protects consumers, at each table's own end."""
    fill(tmp_path)
    run = opened(tmp_path, at=CLOCK + pd.Timedelta(after))
    found = gather_workloads(run)
    sent = {g.name for g in found.gauges if len(g.values)}
    of_table = {
        "scores": "foretide_anomaly_score", "forecasts": "foretide_forecast",
        "capacity": "foretide_required_replicas", "leaks": "foretide_time_to_limit_seconds",
        "incidents": "foretide_incidents", "accuracy": "foretide_forecast_error_ratio",
        "plan": "foretide_floor_replicas",
    }  # fmt: skip
    assert {t for t, name in of_table.items() if name in sent} == left
    ends = {g.name: g for g in found.gauges}["foretide_valid_until_timestamp_seconds"]
    told = values(ends, "table")
    assert set(told) == set(of_table)  # also of what has ended, so that it can be told
    for table, until in told.items():
        assert (until > run.as_of.timestamp()) == (table in left), table
    # whatever is not sent is counted, but of a plan, which is one thing
    assert set(found.stale) == set(of_table) - left - {"plan"}


def test_an_empty_store_has_nothing_to_say(tmp_path: Path) -> None:
    found = gather_workloads(opened(tmp_path))
    assert sum(len(g.values) for g in found.gauges) == 0
    assert found.broken == ()


def test_a_damaged_table_keeps_the_others_from_nobody(tmp_path: Path) -> None:
    fill(tmp_path)
    for table, rest in ((INCIDENTS, "foretide_anomaly_score"), (SCORES, "foretide_forecast")):
        part = tmp_path / "store" / table.name / f"{part_name(CLOCK)}.parquet"
        part.write_bytes(b"no parquet")
        found = gather_all(opened(tmp_path))
        assert table.name in "".join(found.broken)
        assert rest in {g.name for g in found.gauges if len(g.values)}


def test_hostile_names_stay_data(tmp_path: Path) -> None:
    odd = 'prod/a"b\\c/Deployment/x\ny%2Fz'
    fill(tmp_path, [odd])
    one = by_name(opened(tmp_path))["foretide_anomaly_score"]
    row = one.labels.astype("str").iloc[0]
    assert [row[c] for c in WORKLOAD_LABELS] == ["prod", 'a"b\\c', "Deployment", "x\ny/z"]


def test_shards_say_the_same_as_one_part(tmp_path: Path) -> None:
    whole = fill(tmp_path / "a")
    store = Store(tmp_path / "b" / "store")
    fill(tmp_path / "b")
    from features.frames import CAPACITY, FORECASTS

    for contract in (SCORES, FORECASTS, CAPACITY):
        rows = whole.read(contract).to_pandas().astype({"workload": "str"})
        for i, w in enumerate(WORKLOADS):
            part = part_name(CLOCK) if i == 0 else f"{part_name(CLOCK)}-{i:04d}"
            store.write(contract, rows[rows["workload"] == w], part)
    one, other = by_name(opened(tmp_path / "a")), by_name(opened(tmp_path / "b"))
    assert one.keys() == other.keys()
    for name in one:
        columns = one[name].labels.columns
        assert values(one[name], *columns) == values(other[name], *columns)


def test_labels_that_the_name_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="expected labels"):
        gauge("foretide_run_failed", pd.DataFrame({"flaw": ["x"]}), np.ones(1))
