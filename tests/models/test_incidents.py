"""Laws of incidents: what is filtered, what is joined, what stays the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.civil import Calendar
from features.frames import INCIDENTS, conform
from models.causes import rank_causes
from models.incidents import INCIDENT_COLUMNS, IncidentParams, group_incidents
from models.memory_slope import LEAK_COLUMNS

START = pd.Timestamp("2026-06-01", tz="UTC")
STEP = pd.Timedelta(5, "min")
N = 2 * 288
SHOP = "prod/shop/Deployment/"


def scored(series: dict[tuple[str, str], dict[int, float]]) -> pd.DataFrame:
    """(workload, metric) → step → score; all other points score 0.2. Values follow the score, in
    noise.
    """
    rng = np.random.default_rng(1)
    frames = []
    for (workload, metric), said in series.items():
        score = np.full(N, 0.2)
        score[list(said)] = list(said.values())
        frames.append(
            pd.DataFrame(
                {
                    "workload": SHOP + workload if "/" not in workload else workload,
                    "metric": metric,
                    "ts": pd.date_range(START, periods=N, freq=STEP),
                    "detector": "band",
                    "score": score,
                    "value": 0.002 * (1 + 0.01 * rng.normal(size=N)) * np.where(score >= 1, 9, 1),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def hot(first: int, n: int, score: float = 2.0) -> dict[int, float]:
    return dict.fromkeys(range(first, first + n), score)


def leak_rows(scores: list[float], workload: str = "cart", first: int = 0) -> pd.DataFrame:
    n = len(scores)
    frame = pd.DataFrame(
        {
            "workload": SHOP + workload,
            "metric": "memory_rss_bytes",
            "issued_at": pd.date_range(START, periods=n, freq="1h") + pd.Timedelta(first, "h"),
            "score": scores,
        }
    )
    for name in LEAK_COLUMNS[3:11]:
        frame[name] = 1.0
    return frame.assign(
        limit=2.0,
        time_to_limit_p10_s=6 * 3600.0,
        time_to_limit_p50_s=9 * 3600.0,
        time_to_limit_p90_s=15 * 3600.0,
        note="",
    )[list(LEAK_COLUMNS)]


NO_LEAK = leak_rows([])


@given(st.lists(st.integers(0, N // 8 - 1), unique=True, max_size=10))
@settings(max_examples=10, deadline=None)
def test_single_blips_are_no_incident(at):
    assert group_incidents(scored({("a", "error_ratio"): {8 * i: 2.5 for i in at}}), NO_LEAK).empty


def test_an_empty_answer_keeps_the_contract():
    empty = scored({("a", "error_ratio"): {}})
    for frame in (empty, empty.iloc[:0]):
        found = group_incidents(frame, NO_LEAK)
        assert list(found.columns) == list(INCIDENT_COLUMNS)
        assert not len(conform(found.assign(run_id="r"), INCIDENTS))


def test_an_incident_says_what_when_and_where():
    scores = scored(
        {("checkout", "error_ratio"): hot(120, 12), ("checkout", "latency_p99_seconds"): {}}
    )
    found = group_incidents(scores, NO_LEAK)
    row = found.iloc[0]
    assert len(found) == 1
    assert (row["started_at"], row["ended_at"]) == (START + 120 * STEP, START + 132 * STEP)
    assert row["detected_at"] == START + 122 * STEP  # the second of three, when it had ended
    assert row["suppressed_alerts"] == 11
    assert row["title"].startswith("checkout: error_ratio ×")
    assert row["causes"][0]["evidence"].endswith("at 10:00 UTC")
    table = conform(found.assign(run_id="r"), INCIDENTS)
    assert table.num_rows == 1
    assert isinstance(table, pa.Table)


@given(st.integers(1, N))
@settings(max_examples=8, deadline=None)
def test_detection_needs_nothing_that_comes_later(n):
    scores = scored({("a", "error_ratio"): hot(100, 3) | hot(300, 30), ("b", "x"): hot(299, 9)})
    whole = group_incidents(scores, NO_LEAK)
    part = group_incidents(scores[scores["ts"] < START + n * STEP], NO_LEAK)
    known = whole[whole["detected_at"] <= START + n * STEP]
    columns = ["incident_id", "detected_at"]
    pd.testing.assert_frame_equal(part[columns], known[columns].reset_index(drop=True))


def test_two_severe_points_are_enough_and_one_is_not():
    assert group_incidents(scored({("a", "x"): hot(50, 1, 9.0)}), NO_LEAK).empty
    found = group_incidents(scored({("a", "x"): hot(50, 2, 9.0)}), NO_LEAK)
    assert found["detected_at"].tolist() == [START + 52 * STEP]


@pytest.mark.parametrize(("pause", "incidents"), [(8, 2), (3, 1)])
def test_a_short_pause_is_the_same_incident(pause, incidents):
    p = IncidentParams(gap_min=30, clear_n=2)
    scores = scored({("a", "x"): hot(50, 5) | hot(55 + pause, 5)})
    assert len(group_incidents(scores, NO_LEAK, p)) == incidents


def test_neighbours_join_when_they_begin_together_and_chains_end():
    together = {(w, "x"): hot(50 + i, 6) for i, w in enumerate("abc")}
    assert len(group_incidents(scored(together), NO_LEAK)) == 1
    elsewhere = {
        ("prod/pay/Deployment/d", "x"): hot(50, 6),
        ("prod/shop/Deployment/a", "x"): hot(50, 6),
    }
    assert len(group_incidents(scored(elsewhere), NO_LEAK)) == 2
    chain = {(f"w{i:03d}", "x"): hot(50 + 3 * i, 6) for i in range(100)}
    found = group_incidents(scored(chain), NO_LEAK, IncidentParams(cap_h=6))
    assert len(found) == 5  # 25 hours of a namespace where always somebody follows


def test_the_callee_that_went_first_is_the_cause():
    scores = scored(
        {("front", "x"): hot(50, 9), ("db", "x"): hot(49, 9), ("other", "x"): hot(50, 9)}
    )
    edges = pd.DataFrame({"caller": [SHOP + "front"], "callee": [SHOP + "db"]})
    found = group_incidents(scores, NO_LEAK, edges=edges)
    assert len(found) == 2
    both = found[found["workloads"].map(len) == 2].iloc[0]
    assert both["causes"][0]["workload"] == SHOP + "db"


def test_a_deploy_just_before_is_named():
    scores = scored({("a", "x"): hot(50, 15)})
    events = pd.DataFrame(
        {"workload": [SHOP + "a"], "ts": [START + 48 * STEP], "event": ["deploy"]}
    )
    causes = group_incidents(scores, NO_LEAK, events=events).iloc[0]["causes"]
    assert "deploy at 04:00 UTC, 10 min before" in [c["evidence"] for c in causes]


def test_a_leak_is_one_incident_over_its_life_and_stays_out_of_floods():
    leaks = leak_rows([0.2, 1.2, 0.3, 1.5, 1.5, 0.9, 1.5, 2.0, 0.1, 0.1, 1.4, 1.3])
    found = group_incidents(scored({("cart", "x"): hot(48, 9)}), leaks)
    assert len(found) == 2
    leak = found[found["title"].str.contains("leak")].iloc[0]
    assert leak["title"] == "memory leak: cart 9 h (6–15 h) from its limit when detected"
    assert leak["detected_at"] == START + pd.Timedelta(4, "h")
    assert pd.isna(leak["ended_at"])
    assert group_incidents(scored({("a", "x"): {}}), leak_rows([0.2, 1.2, 0.2, 1.2])).empty


@pytest.mark.parametrize("seed", range(2))
def test_order_of_rows_does_not_matter(seed):
    scores = scored(
        {(w, m): hot(60 + 2 * i, 5 + i) for i, w in enumerate("ab") for m in ("x", "y")}
    )
    leaks = pd.concat([leak_rows([1.5] * 5), leak_rows([2.0] * 5, "web")])
    order = np.random.default_rng(seed).permutation(len(scores))
    mixed = group_incidents(scores.iloc[order], leaks.iloc[::-1])
    straight = group_incidents(scores.astype({"workload": "category"}), leaks)
    pd.testing.assert_frame_equal(mixed, straight)


def test_ids_stay_when_the_incident_grows():
    scores = scored({("a", "x"): hot(60, 40), ("b", "x"): hot(61, 30)})
    early = group_incidents(scores[scores["ts"] < START + 70 * STEP], NO_LEAK)
    late = group_incidents(scores, NO_LEAK)
    assert early["incident_id"].tolist() == late["incident_id"].tolist()
    assert pd.isna(early.iloc[0]["ended_at"])
    assert not pd.isna(late.iloc[0]["ended_at"])


@given(
    st.lists(st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6), min_size=2, max_size=6),
    st.sampled_from([1e-6, 2.0**-20, 1e6]),
)
@settings(max_examples=20, deadline=None)
def test_causes_do_not_depend_on_the_unit(series, unit):
    rows = [
        {"workload": f"w{i}", "metric": "m", "ts": START + k * STEP, "value": round(v, 3)}
        for i, values in enumerate(series)
        for k, v in enumerate(values)
    ]
    frame = pd.DataFrame(rows)
    scaled = frame.assign(
        value=frame["value"].where(frame["workload"] != "w0", frame["value"] * unit)
    )
    half = START + 3 * STEP

    def rank(f: pd.DataFrame) -> pd.DataFrame:
        return rank_causes(f[f["ts"] < half], f[f["ts"] >= half])[["workload", "metric", "score"]]

    pd.testing.assert_frame_equal(rank(frame), rank(scaled), rtol=1e-6)


def test_nothing_in_common_is_no_cause():
    frame = pd.DataFrame({"workload": ["a"], "metric": ["m"], "ts": [START], "value": [1.0]})
    assert rank_causes(frame, frame.iloc[:0]).empty
    assert rank_causes(frame, frame)["score"].tolist() == [0.0]


@pytest.mark.parametrize("wrong", [{"gap_min": 0}, {"persist_m": 5}, {"alone_m": 13}])
def test_knobs_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        IncidentParams(**wrong)


def test_fewer_errors_are_no_cause():
    frame = scored({("cart", "cpu"): hot(48, 9), ("cart", "error_ratio"): {}})
    errors = frame["metric"] == "error_ratio"
    improved = errors & (frame["ts"] >= START + 48 * STEP)
    frame.loc[improved, "value"] /= 50
    frame = frame.assign(lower=np.where(errors, -np.inf, 0.0), upper=1.0)
    found = group_incidents(frame, leak_rows([]))
    metrics = [c["metric"] for c in found["causes"].iloc[0]]
    assert "cpu" in metrics
    assert "error_ratio" not in metrics
    worse = frame.copy()
    worse.loc[improved, "value"] *= 50 * 9
    causes = group_incidents(worse, leak_rows([]))["causes"].iloc[0]
    assert "error_ratio" in [c["metric"] for c in causes]


@pytest.mark.parametrize("name", ["a_first", "z_last"])
def test_a_detector_without_a_band_hides_no_band(name):
    """The same point has a row a detector; what is harmless, the band says."""
    frame = scored({("cart", "cpu"): hot(48, 9), ("cart", "error_ratio"): {}})
    errors = frame["metric"] == "error_ratio"
    frame.loc[errors & (frame["ts"] >= START + 48 * STEP), "value"] /= 50
    frame = frame.assign(lower=np.where(errors, -np.inf, 0.0), upper=1.0)
    own = frame.assign(detector=name, lower=np.nan, upper=np.nan, score=0.1)
    both = pd.concat([frame, own]).sort_values(["workload", "metric", "ts", "detector"])
    alone, beside = (group_incidents(f, leak_rows([]))["causes"].iloc[0] for f in (frame, both))
    assert beside == alone
    assert "error_ratio" not in [c["metric"] for c in beside]


def test_one_metric_that_is_hardly_out_must_last():
    weak = hot(60, 5, 1.2)
    calm: dict[int, float] = {}
    assert group_incidents(scored({("a", "x"): weak, ("a", "z"): calm}), NO_LEAK).empty
    lasting = group_incidents(scored({("a", "x"): hot(60, 10, 1.2), ("a", "z"): calm}), NO_LEAK)
    assert lasting["detected_at"].tolist() == [START + 69 * STEP]
    assert lasting["started_at"].tolist() == [START + 60 * STEP]
    joined = group_incidents(scored({("a", "x"): weak, ("a", "y"): hot(62, 1, 1.2)}), NO_LEAK)
    assert joined["detected_at"].tolist() == [START + 63 * STEP]
    other = scored({("a", "x"): weak, ("a", "z"): calm, ("b", "y"): hot(62, 1, 1.2)})
    assert group_incidents(other, NO_LEAK).empty


def test_the_only_metric_of_a_workload_needs_no_witness():
    only = group_incidents(scored({("a", "x"): hot(60, 5, 1.2)}), NO_LEAK)
    assert only["detected_at"].tolist() == [START + 62 * STEP]


def deploy(step: int, workload: str = "a", event: str = "deploy") -> pd.DataFrame:
    return pd.DataFrame(
        {"workload": [SHOP + workload], "ts": [START + step * STEP], "event": [event]}
    )


def test_a_deploy_may_settle_and_what_lasts_or_is_severe_is_told():
    points = (hot(60, 5), hot(60, 15), hot(60, 5, 9))
    short, long, severe = (scored({("a", "x"): s}) for s in points)
    assert group_incidents(short, NO_LEAK, events=deploy(60)).empty
    assert len(group_incidents(short, NO_LEAK, events=deploy(60, event="restart"))) == 1
    assert len(group_incidents(short, NO_LEAK, events=deploy(60, "b"))) == 1
    told = group_incidents(long, NO_LEAK, events=deploy(60)).iloc[0]
    assert (told["started_at"], told["detected_at"]) == (START + 60 * STEP, START + 73 * STEP)
    assert told["title"].endswith(", after a deploy")
    told = group_incidents(severe, NO_LEAK, events=deploy(60)).iloc[0]
    assert told["detected_at"] == START + 62 * STEP
    assert told["severity"] == "critical"


def test_missing_samples_are_called_missing_since_when_on_the_local_clock():
    scores = scored({("a", m): hot(60, 9) for m in ("x", "y")} | {("b", "x"): {}})
    scores.loc[scores["score"] >= 1, "value"] = np.nan
    berlin = [Calendar("prod/*", "Europe/Berlin")]
    row = group_incidents(scores, NO_LEAK, calendars=berlin).iloc[0]
    assert row["title"] == "a: samples of 2 metrics missing since Mon 07:00 CEST"
    assert [c["evidence"] for c in row["causes"]] == [
        f"no sample of {m} since 07:00 CEST" for m in ("x", "y")
    ]
    assert [c["confidence"] for c in row["causes"]] == [0.5, 0.5]


def test_a_source_that_is_gone_is_one_incident_over_all_namespaces():
    names = [f"prod/{n}/Deployment/w" for n in ("shop", "pay", "crm")]
    scores = scored({(w, "x"): hot(60, 9) for w in names})
    assert len(group_incidents(scores, NO_LEAK)) == 3
    scores.loc[scores["score"] >= 1, "value"] = np.nan
    found = group_incidents(scores, NO_LEAK)
    assert found["workloads"].tolist() == [sorted(names)]
    assert found["title"].iloc[0].startswith("w and 2 more workloads: samples of x missing")


def test_the_slope_of_the_day_is_no_cause():
    scores = scored({("a", "requests"): {}, ("a", "errors"): hot(200, 9)})
    slope = scores["metric"] == "requests"
    day = 100 + 0.5 * np.arange(N)
    scores["expected"] = np.where(slope, np.tile(day, 2), 0.002)
    scores.loc[slope, "value"] = day * (1 + 0.01 * np.random.default_rng(2).normal(size=N))
    causes = group_incidents(scores, NO_LEAK).iloc[0]["causes"]
    assert causes[0]["metric"] == "errors"
    assert "from the usual" in causes[0]["evidence"]
    assert next(c["confidence"] for c in causes if c["metric"] == "requests") < 0.05


def test_confidence_is_the_share_of_the_evidence():
    scores = scored({(w, m): hot(60, 9) for w in "abc" for m in ("x", "y", "z")})
    events = deploy(58)
    edges = pd.DataFrame({"caller": ["a", "b"], "callee": ["c", "c"]})
    for found in (
        group_incidents(scores, NO_LEAK, events=events),
        group_incidents(scores, NO_LEAK, events=events, edges=edges),
    ):
        causes = found.iloc[0]["causes"]
        shares = [c["confidence"] for c in causes]
        assert len(causes) == IncidentParams().causes
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1 + 1e-9
    assert {c["workload"] for c in causes[:3]} == {SHOP + "c"}


def test_a_known_leak_keeps_what_its_resource_does_to_itself():
    leaks = leak_rows([0.2] * 5 + [1.5] * 30)
    alone = group_incidents(scored({("cart", "x"): {}}), leaks)
    memory = {("cart", "memory_working_set_bytes"): hot(200, 20)}
    folded = group_incidents(scored(memory), leaks)
    assert folded["incident_id"].tolist() == alone["incident_id"].tolist()
    assert folded["suppressed_alerts"].iloc[0] == alone["suppressed_alerts"].iloc[0] + 20
    before = group_incidents(scored({("cart", "memory_rss_bytes"): hot(20, 20)}), leaks)
    other = group_incidents(scored({("cart", "error_ratio"): hot(200, 20)}), leaks)
    assert (len(before), len(other)) == (2, 2)
    assert alone["severity"].tolist() == ["critical"]  # nine hours from its limit


def test_neighbours_on_the_graph_join_across_namespaces_by_name():
    names = ["prod/shop/Deployment/front", "prod/pay/Deployment/db", "test/pay/Deployment/db"]
    scores = scored({(w, "x"): hot(60, 9) for w in names})
    edges = pd.DataFrame({"caller": ["front"], "callee": ["pay/db"]})
    found = group_incidents(scores, NO_LEAK, edges=edges)
    assert sorted(found["workloads"].tolist()) == [sorted(names[:2]), names[2:]]
