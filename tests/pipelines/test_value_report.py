"""The weekly value report, from a store's own tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.frames import INCIDENTS, SCORES, VALUE
from features.workloads import workload_id
from pipelines.adapters.store import Store
from pipelines.evaluate import evaluate, window_scores
from pipelines.run import RunRef, part_name
from pipelines.series.value import value_gauges
from pipelines.value import value_rows

T0 = pd.Timestamp("2026-06-01T00:00Z")
END = T0 + pd.Timedelta(7, "D")
MIN, HOUR = pd.Timedelta(1, "min"), pd.Timedelta(1, "h")
WORKLOADS = ("web", "<script>alert(1)</script>")
FAULT = T0 + 30 * HOUR


def workload(name: str) -> str:
    return workload_id("c", "n", "Deployment", name)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A week of errors that rise above 1 % half an hour after they began to rise."""
    store = Store(tmp_path)
    ts = pd.date_range(T0, END, freq="5min", inclusive="left").as_unit("ms")
    for name in WORKLOADS:
        errors = np.where((ts >= FAULT) & (ts < FAULT + 2 * HOUR), 0.005, 0.001)
        errors = np.where((ts >= FAULT + 30 * MIN) & (ts < FAULT + 2 * HOUR), 0.2, errors)
        labels = {"cluster": "c", "namespace": "n", "kind": "Deployment", "name": name}
        store.write_samples(
            pd.DataFrame({**labels, "metric": "error_ratio", "ts": ts, "value": errors})
        )
    rows = pd.DataFrame(
        {
            "incident_id": [f"i{i}" for i in range(2)],
            "started_at": FAULT, "detected_at": FAULT + 10 * MIN, "ended_at": FAULT + 2 * HOUR,
            "title": "t", "workloads": [[workload(n)] for n in WORKLOADS],
            "causes": [
                [{"workload": workload(n), "metric": "error_ratio", "score": 3.0,
                  "confidence": 1.0, "evidence": "e"}]
                for n in WORKLOADS
            ],
            "score": 3.0, "severity": "high", "suppressed_alerts": 0, "run_id": "r",
        }
    )  # fmt: skip
    store.write(INCIDENTS, rows, part_name(FAULT + HOUR))
    points = pd.DataFrame(
        {
            "workload": workload("web"), "metric": "error_ratio", "ts": ts, "detector": "band",
            "score": np.where((ts >= FAULT) & (ts < FAULT + 2 * HOUR), 2.0, 0.1),
        }
    )  # fmt: skip
    texts = dict.fromkeys(("severity", "reason", "model_version", "run_id"), "")
    numbers = dict.fromkeys(("expected", "lower", "upper", "value"), 0.0)
    points = points.assign(**texts, **numbers, valid_until=END)
    store.write(SCORES, points, part_name(END - HOUR))
    return store


def judged(store: Store) -> pd.DataFrame:
    done = evaluate.fn(out=str(store.root), as_of=END.isoformat())
    assert done["outputs"]["value report"].endswith("-value.md")
    table = store.read(VALUE).to_pandas().set_index("name")
    return table[table["scope"] == "all"]


def test_it_says_who_told_first_and_how_often(store: Store) -> None:
    value = judged(store)["value"]
    assert value["incidents"] == 2
    assert value["detect_minutes"] == 10
    assert value["static_detect_minutes"] == 40  # a rule's five minutes, once a step is over
    assert value["sooner_minutes"] == 30
    assert value["static_missed_share"] == 0
    assert value["static_only_share"] == 0
    assert value["detect_minutes_mean"] == 10
    assert value["repeat_share"] == 0
    assert value["incidents_per_day"] == pytest.approx(2 / 7)
    assert value["alerts_per_day"] == pytest.approx(1 / 7)
    assert value["static_alerts_per_day"] == pytest.approx(2 / 7)


def test_what_is_not_known_has_a_reason_and_no_figure(store: Store) -> None:
    table = judged(store)
    unknown = table[table["value"].isna()]
    assert {"forecast_wape", "short_pod_minutes_avoided", "usd_saved"} <= set(unknown.index)
    assert (unknown["reason"] != "").all()
    document = store.get_file(f"evaluation/{part_name(END)}-value.md")
    assert document is not None
    assert "| – |  | no workload with a price" in document.decode()


def test_it_is_published_with_its_bounds_for_two_weeks(store: Store) -> None:
    table = judged(store)

    def gauges(at: pd.Timestamp) -> dict[str, int]:
        run = RunRef.resolve(None, None, str(store.root), at.isoformat(), at).open()
        return {g.name: len(g.values) for g in value_gauges(run)}

    told = gauges(END + 13 * pd.Timedelta(1, "D"))
    assert told["foretide_value"] == table["value"].notna().sum()
    assert told["foretide_value_lower"] == table["lower"].notna().sum() > 0
    assert gauges(END + pd.Timedelta(15, "D")) == {}


def test_replays_become_minutes_hours_and_money(store: Store, monkeypatch) -> None:
    """Of two replayed workloads one has known requests: money is told of that one."""
    rows = pd.DataFrame(
        {
            "workload": [workload(n) for n in ("web", "db") for _ in range(2)],
            "policy": ["reactive", "foretide"] * 2,
            "short_pod_min": [120.0, 30.0, 60.0, 60.0],
            "replica_hours": [100.0, 110.0, 50.0, 52.0],
        }
    )
    cores = {"metric": "cpu_request_cores", "ts": [END - 5 * MIN], "value": 0.5}
    labels = {"cluster": "c", "namespace": "n", "kind": "Deployment", "name": "web"}
    store.write_samples(pd.DataFrame({**labels, **cores}))
    store.write_samples(pd.DataFrame({**labels, **cores, "metric": "replicas", "value": 1.0}))
    monkeypatch.setenv("FORETIDE_PRESCALE__ADVICE__USD_PER_CORE_HOUR", "0.1")
    monkeypatch.setenv("FORETIDE_EVALUATE__VALUE", '{"node_cores": 4}')
    run = RunRef.resolve(None, None, str(store.root), END.isoformat(), END).open()
    empty = pd.DataFrame()
    table = value_rows(run, T0, scores=empty, accuracy=empty, replays=rows)
    value = table[table["scope"] == "all"].set_index("name")["value"]
    assert value["short_pod_minutes_avoided"] == 90
    assert value["replica_hours_extra"] == 12
    assert value["node_hours_extra"] == pytest.approx(10 * 0.5 / 4)
    assert value["usd_spent"] == pytest.approx(10 * 0.5 * 0.1)
    assert value["usd_saved"] == pytest.approx(1.5 * 0.5 * 0.1 * 19)  # 95 %: one is worth 19
    reason = table[table["scope"] == "all"].set_index("name").loc["usd_saved", "reason"]
    assert reason.startswith("of 1 of 2: of the other workloads no requests are known")


def test_each_of_several_clusters_has_figures_of_its_own(store: Store) -> None:
    """Also one that is called like the scope of all, or like markup."""
    ts = pd.date_range(T0, END, freq="5min", inclusive="left").as_unit("ms")
    for cluster in ("all", "a|b/c"):
        labels = {"cluster": cluster, "namespace": "n", "kind": "Deployment", "name": "web"}
        store.write_samples(
            pd.DataFrame({**labels, "metric": "error_ratio", "ts": ts, "value": 0.001})
        )
    judged(store)
    table = store.read(VALUE).to_pandas().set_index(["scope", "name"])
    scopes = list(table.index.unique("scope"))
    assert sorted(scopes) == ["all", "all (cluster)", "a|b/c", "c"]
    value = table["value"]
    assert value["c", "incidents"] == value["all", "incidents"] == 2
    assert value["all (cluster)", "incidents"] == value["a|b/c", "static_alerts_per_day"] == 0
    assert value["c", "alerts_per_day"] == value["all", "alerts_per_day"]
    document = store.get_file(f"evaluation/{part_name(END)}-value.md")
    assert document is not None
    assert "\n| a\\|b/c | " in document.decode()
    run = RunRef.resolve(None, None, str(store.root), END.isoformat(), END).open()
    assert {g.labels["scope"].nunique() for g in value_gauges(run)} == {4}


def test_a_day_that_nobody_scored_is_not_a_day_without_incidents(tmp_path: Path) -> None:
    run = RunRef.resolve(None, None, str(tmp_path), END.isoformat(), END).open()
    ts = pd.date_range(T0, END - 3 * 24 * HOUR, freq="5min", inclusive="left").as_unit("ms")
    scores = pd.DataFrame(
        {"workload": workload("web"), "metric": "m", "detector": "band", "ts": ts, "score": 0.1}
    )
    scores.loc[3, "score"] = 2.0
    empty = pd.DataFrame()
    rows = value_rows(run, T0, scores=scores, accuracy=empty, replays=empty).set_index("name")
    assert rows.loc["alerts_per_day", "value"] == pytest.approx(1 / 4)
    assert rows.loc["alerts_per_day", "reason"].startswith("of 4 of 7: ")
    assert rows.loc["static_only_share", "reason"] == "none of the thresholds' metrics is measured"


def test_scores_are_read_part_by_part_and_the_newest_of_a_step_counts(store: Store) -> None:
    """What a later run found to be nothing is nothing; each step is there once at least."""
    again = store.read(SCORES).to_pandas()
    again = again[(again["ts"] >= FAULT) & (again["ts"] < FAULT + HOUR)].assign(score=0.2)
    store.write(SCORES, again, part_name(END - HOUR + MIN))
    run = RunRef.resolve(None, None, str(store.root), END.isoformat(), END).open()
    told = window_scores(run, T0)
    whole = run.read(SCORES, T0).to_pandas().drop_duplicates(list(SCORES.key), keep="last")
    hot = whole[whole["score"] >= 1]
    assert sorted(told.loc[told["score"] >= 1, "ts"]) == sorted(hot["ts"])
    assert len(hot) == 12
    assert set(told["ts"]) == set(whole["ts"])
