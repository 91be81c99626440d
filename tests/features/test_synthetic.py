from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.civil import local_hour_of_week, local_text
from features.frames import SAMPLES, require
from features.panel import Panel
from features.synthetic import FAULTS, ClusterSpec, SimulatedCluster, simulate, simulate_blocks

ZONES = {"prod-eu": "Europe/Berlin", "prod-us": "America/New_York"}
STEP = pd.Timedelta(300, "s")


@pytest.fixture(scope="module")
def cluster() -> SimulatedCluster:
    return simulate(ClusterSpec())


@pytest.fixture(scope="module")
def panel(cluster: SimulatedCluster) -> Panel:
    return Panel.from_frame(cluster.samples)


def zone_of(workload: str) -> str:
    return ZONES[workload.split("/")[0]]


def truth_of(cluster: SimulatedCluster, kind: str) -> list[Any]:
    found = cluster.truth[cluster.truth["kind"] == kind]
    assert len(found) > 0
    return list(found.itertuples())


def span(panel: Panel, metric: str, event: Any) -> np.ndarray:
    return panel.window(event.start, event.end).matrix(metric, [event.workload])[0]


def seasonal(cluster: SimulatedCluster) -> list[str]:
    """Workloads with a Monday peak that were there from the first week on."""
    first = cluster.truth["start"] < cluster.truth["start"].min() + pd.Timedelta(days=1)
    return sorted(cluster.truth.loc[first & (cluster.truth["kind"] == "monday_peak"), "workload"])


def test_samples_keep_the_contract_and_hold_numbers_only(cluster: SimulatedCluster):
    samples = require(cluster.samples, SAMPLES)
    assert samples.schema.equals(SAMPLES.schema)
    values = samples["value"].to_numpy()
    assert np.isfinite(values).all()
    assert values.min() >= 0


def test_the_grid_is_five_weeks_of_forty_workloads(cluster: SimulatedCluster, panel: Panel):
    assert panel.keys["workload"].nunique() == 40
    assert panel.step == STEP
    assert panel.start == pd.Timestamp("2026-05-04T00:00Z")
    assert panel.end == pd.Timestamp("2026-06-08T00:00Z")
    assert panel.counts.duplicates == 0
    assert set(cluster.truth["workload"]) <= set(panel.keys["workload"])


def test_one_seed_is_one_cluster(cluster: SimulatedCluster):
    small = ClusterSpec(n_workloads=6, weeks=1, step_s=900)
    one, same, other = (
        simulate(s) for s in (small, small, ClusterSpec(6, weeks=1, step_s=900, seed=8))
    )
    assert one.samples.equals(same.samples)
    pd.testing.assert_frame_equal(one.truth, same.truth)
    assert not one.samples.equals(other.samples)


def test_blocks_are_the_cluster_in_parts():
    spec = ClusterSpec(n_workloads=90, weeks=1, step_s=3600)
    blocks = list(simulate_blocks(spec))
    whole = simulate(spec)
    assert len(blocks) == 3
    assert sum(len(b.samples) for b in blocks) == len(whole.samples)
    assert Panel.from_frame(whole.samples).keys["workload"].nunique() == 90
    parts = pa.concat_tables([b.samples for b in blocks])
    assert parts["value"].equals(whole.samples["value"])


def test_more_workloads_have_more_faults():
    few, many = (
        simulate(ClusterSpec(n_workloads=n, weeks=1, step_s=3600)).truth["kind"].value_counts()
        for n in (40, 160)
    )
    for kind in FAULTS:
        assert many[kind] > few[kind]


@settings(max_examples=12, deadline=None)
@given(
    n=st.integers(1, 7),
    weeks=st.integers(1, 3),
    step_s=st.sampled_from([900, 1800, 3600]),
    seed=st.integers(0, 99),
    start=st.datetimes(pd.Timestamp("2024-01-01"), pd.Timestamp("2027-01-01")),
)
def test_any_spec_gives_a_cluster(n: int, weeks: int, step_s: int, seed: int, start: datetime):
    spec = ClusterSpec(n, start.replace(tzinfo=UTC), weeks, step_s, seed)
    made = simulate(spec)
    panel = Panel.from_frame(made.samples, step=pd.Timedelta(step_s, "s"))
    assert panel.keys["workload"].nunique() == n
    assert panel.n_steps == weeks * 7 * 86400 // step_s
    assert (made.truth["end"] > made.truth["start"]).all()


@pytest.mark.parametrize(
    "knobs",
    [
        {"n_workloads": 0},
        {"weeks": 0},
        {"step_s": 7},
        {"step_s": 4000},
        {"seed": -1},
        {"start": datetime(2026, 5, 4)},  # noqa: DTZ001
        {"monday_factor": 0.5},
    ],
)
def test_a_wrong_knob_is_named(knobs: dict[str, Any]):
    with pytest.raises(ValueError, match=next(iter(knobs))):
        ClusterSpec(**knobs)


def test_monday_peak_starts_at_nine_local_time_in_both_zones(cluster: SimulatedCluster):
    peaks = truth_of(cluster, "monday_peak")
    assert {local_text(p.start, zone_of(p.workload)) for p in peaks} == {"Monday 09:00"}
    assert {p.start.hour for p in peaks} == {7, 13}
    assert {p.start.date().isoformat() for p in peaks} == {
        "2026-05-04", "2026-05-11", "2026-05-18", "2026-06-01",
    }  # fmt: skip


def morning(panel: Panel, workload: str, first: str, last: str) -> pd.Series:
    """Mean load between two local times of each local day, which the index names in ISO."""
    load = pd.Series(panel.matrix("requests_per_second", [workload])[0], panel.times)
    local = load.tz_convert(zone_of(workload)).between_time(first, last, inclusive="left")
    days = pd.DatetimeIndex(local.index).strftime("%Y-%m-%d")
    return local.groupby(days).mean()


def weekdays(days: pd.Series) -> np.ndarray:
    return np.array([pd.Timestamp(day).day_of_week for day in days.index])


def test_monday_is_two_and_a_half_weekdays_and_the_holiday_is_not(
    cluster: SimulatedCluster, panel: Panel
):
    ratios: list[float] = []
    holiday: list[float] = []
    for workload in seasonal(cluster):
        days = morning(panel, workload, "09:20", "10:20").drop("2026-05-14")
        usual = days[np.isin(weekdays(days), [1, 2, 3])].median()
        mondays = days[weekdays(days) == 0]
        ratios.append(mondays.drop("2026-05-25").median() / usual)
        holiday.append(mondays["2026-05-25"] / days[weekdays(days) == 6].median())
    assert len(ratios) > 20
    assert 2.3 < np.median(ratios) < 2.7
    assert min(ratios) > 1.8
    assert 0.85 < np.median(holiday) < 1.15
    assert max(holiday) < 1.8


@pytest.mark.parametrize(
    ("first", "last", "least", "most"),
    [("08:40", "09:00", 0.75, 1.25), ("09:20", "09:40", 2.2, 2.8)],
)
def test_the_ramp_is_short_and_begins_at_nine(
    cluster: SimulatedCluster, panel: Panel, first: str, last: str, least: float, most: float
):
    ratios: list[float] = []
    for workload in seasonal(cluster):
        days = morning(panel, workload, first, last)
        usual = days[["2026-05-19", "2026-05-20", "2026-05-21"]].mean()
        ratios.append(days["2026-05-18"] / usual)
    assert least < np.median(ratios) < most


def test_leaks_reach_the_limit_at_the_labelled_moment(cluster: SimulatedCluster, panel: Panel):
    leaks = truth_of(cluster, "leak")
    assert len(leaks) == 3
    for leak in leaks:
        before = span(panel, "memory_rss_bytes", leak)
        after = panel.window(leak.end, leak.end + 2 * STEP)
        limit = after.matrix("memory_limit_bytes", [leak.workload])[0, 0]
        rss = after.matrix("memory_rss_bytes", [leak.workload])[0]
        kills = panel.window(leak.end - STEP, leak.end + STEP).matrix(
            "restarts_total", [leak.workload]
        )[0]
        assert np.nanmax(before) < limit
        assert rss[0] == limit
        assert rss[1] < 0.8 * limit
        assert kills[1] == kills[0] + 1
        assert leak.end <= panel.end
    hours = sorted((leak.end - leak.start) / pd.Timedelta(hours=1) for leak in leaks)
    for lasted, planned in zip(hours, (12, 36, 120), strict=True):
        assert 0.6 * planned < lasted < 1.3 * planned


def test_only_leaks_kill(cluster: SimulatedCluster, panel: Panel):
    restarts = panel.of("restarts_total")
    killed = set(restarts.keys["workload"][np.nanmax(restarts.values, axis=1) > 0])
    assert killed == {leak.workload for leak in truth_of(cluster, "leak")}


def test_drops_are_zero_and_only_drops_of_busy_workloads_are(
    cluster: SimulatedCluster, panel: Panel
):
    for drop in truth_of(cluster, "drop_to_zero"):
        assert (span(panel, "requests_per_second", drop) == 0).all()
        around = panel.window(drop.start - 3 * STEP, drop.start)
        assert (around.matrix("requests_per_second", [drop.workload]) > 0).all()


def test_gaps_have_no_sample_and_end(cluster: SimulatedCluster, panel: Panel):
    for gap in truth_of(cluster, "gap"):
        mine = panel.select((panel.keys["workload"] == gap.workload).to_numpy())
        assert np.isnan(mine.window(gap.start, gap.end).values).all()
        assert not np.isnan(mine.window(gap.end, gap.end + STEP).values).any()


def test_spikes_and_bursts_stand_out_of_their_day(cluster: SimulatedCluster, panel: Panel):
    day = pd.Timedelta(hours=1)
    for kind, metric in (("spike", "requests_per_second"), ("error_burst", "error_ratio")):
        for event in truth_of(cluster, kind):
            quiet = panel.window(event.start - day, event.start)
            usual = np.nanmedian(quiet.matrix(metric, [event.workload]))
            assert np.nanmax(span(panel, metric, event)) > 1.3 * usual


def test_a_burst_has_a_victim_in_the_same_namespace(cluster: SimulatedCluster):
    bursts = truth_of(cluster, "error_burst")
    causes = {e.workload: e for e in bursts if e.note.startswith("cause")}
    victims = [e for e in bursts if e.note.startswith("victim of ")]
    assert victims
    for victim in victims:
        cause = causes[victim.note.removeprefix("victim of ")]
        assert victim.workload.split("/")[:2] == cause.workload.split("/")[:2]
        assert cause.start < victim.start < cause.end


def test_young_workloads_begin_late(panel: Panel):
    requests = panel.of("requests_per_second")
    first = np.argmax(~np.isnan(requests.values), axis=1)
    begins = panel.times[first]
    assert (begins > panel.start).sum() == 2
    assert ((begins > panel.end - pd.Timedelta(days=7)) & (begins < panel.end)).sum() == 1


def test_deploys_move_the_stamp_and_reset_the_memory(cluster: SimulatedCluster, panel: Panel):
    drops = []
    for deploy in truth_of(cluster, "deploy"):
        around = panel.window(deploy.start - STEP, deploy.start + STEP)
        stamp = around.matrix("deploy_timestamp_seconds", [deploy.workload])[0]
        assert stamp[1] == deploy.start.timestamp()
        rss = around.matrix("memory_rss_bytes", [deploy.workload])[0]
        drops.append(rss[1] / rss[0])
    assert np.median(drops) < 0.9


def test_the_autoscaler_stays_in_bounds_and_comes_late(cluster: SimulatedCluster, panel: Panel):
    workloads = sorted(panel.of("hpa_min_replicas").keys["workload"])
    replicas = panel.matrix("replicas", workloads)
    low, high = (panel.matrix(f"hpa_{m}_replicas", workloads) for m in ("min", "max"))
    there = ~np.isnan(replicas)
    assert (replicas >= low)[there].all()
    assert (replicas <= high)[there].all()
    peaks = panel.window(pd.Timestamp("2026-06-01T07:00Z"), pd.Timestamp("2026-06-01T07:25Z"))
    eu = [w for w in workloads if w.startswith("prod-eu") and w in seasonal(cluster)]
    used = peaks.matrix("cpu_usage_cores", eu) / peaks.matrix("cpu_request_cores", eu)
    calm = panel.matrix("cpu_usage_cores", eu) / panel.matrix("cpu_request_cores", eu)
    assert np.median(np.nanmax(used, axis=1)) > 1.0
    assert np.nanmedian(calm) < 0.8


def test_working_set_holds_the_resident_memory_below_the_limit(panel: Panel):
    workloads = sorted(set(panel.keys["workload"]))
    rss, cached, limit = (
        panel.matrix(f"memory_{m}_bytes", workloads) for m in ("rss", "working_set", "limit")
    )
    there = ~np.isnan(rss)
    assert (rss <= cached)[there].all()
    assert (cached <= limit)[there].all()


def test_load_follows_the_local_clock(cluster: SimulatedCluster, panel: Panel):
    """The same service peaks at the same local hour on both sides of the ocean."""
    week = panel.window(pd.Timestamp("2026-05-19T00:00Z"), pd.Timestamp("2026-05-22T00:00Z"))
    night: list[float] = []
    for workload in seasonal(cluster):
        load = week.matrix("requests_per_second", [workload])[0]
        hour = local_hour_of_week(week.times, zone_of(workload)) % 24
        night.append(np.nanmean(load[(hour >= 2) & (hour < 5)]) / np.nanmean(load))
    assert max(night) < 0.6
