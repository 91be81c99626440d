"""Floors of a replayed week as the schedule issues them: from the past alone, without seams."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from features.metrics import Catalog
from features.panel import Panel
from models.floor_costs import IssueParams
from models.replay_case import assumed_case
from pipelines.learning import learn
from pipelines.reissued import issued_floors
from pipelines.settings import Settings

START = pd.Timestamp("2026-05-04T00:00Z")
STEP = pd.Timedelta(30, "min")
WEEK = 7 * 48
CUT = START + pd.Timedelta(weeks=3)
PARTS = 30


def every(hours: float) -> Settings:
    """Few models: what is tested is when they are asked."""
    models = ["seasonal_naive", "seasonal_day"]
    issue = {"every_min": 60 * hours, "refit_h": hours}
    return Settings.model_validate({"forecast": {"models": models}, "prescale": {"issue": issue}})


THREE, SIX, ONCE = every(3), every(6), every(168)


def load() -> np.ndarray:
    """Working days, of three workloads, (3, steps)."""
    t = np.arange(4 * WEEK)
    day = 20 + 380 * ((t % 48 >= 18) & (t % 48 < 34)) * np.where(t // 48 % 7 < 5, 1.0, 0.2)
    noise = np.random.default_rng(3).lognormal(0, 0.03, (3, len(t)))
    return np.array([[1.0], [0.3], [4.0]]) * day * noise


def floors_of(values: np.ndarray, settings: Settings, start_s: float = 180.0) -> np.ndarray:
    names = {"workload": [f"a/b/Deployment/w{i}" for i in range(3)], "metric": "hits"}
    panel = Panel(pd.DataFrame(names, dtype="str"), START, STEP, values)
    past = panel.window(end=CUT)
    case = assumed_case(past.values)
    case = type(case)(*(case.pod_capacity_cores, case.target_ratio, case.min_replicas,
                        case.max_replicas, np.full(3, start_s), case.refusal,
                        case.request_cores))  # fmt: skip
    groups = learn(past, Catalog({}), settings, detectors=False).groups
    return issued_floors(groups, panel, CUT, case, np.ones(3), settings)


@pytest.mark.parametrize("settings", [THREE, ONCE], ids=["3 h", "168 h"])
def test_what_comes_after_an_issue_is_not_known_to_it(settings: Settings) -> None:
    values = load()
    usual = floors_of(values, settings, 3600.0)
    assert usual.shape == (3, WEEK * PARTS)
    at = 100  # half-hours into the week
    other = values.copy()
    other[:, 3 * WEEK + at :] *= 3
    changed = floors_of(other, settings, 3600.0)
    apart = round(settings.prescale.issue.refit_h * 2)
    seen = min(-(-at // apart) * apart, WEEK)  # the first issue after the change
    assert (usual[:, : seen * PARTS] == changed[:, : seen * PARTS]).all()
    assert (usual[:, : seen * PARTS].max(axis=1) > 10).all()


def test_what_came_since_the_training_is_believed() -> None:
    growing = 1.08 ** (np.arange(4 * WEEK) // 48)
    day = 20 + 380 * ((np.arange(4 * WEEK) % 48 >= 18) & (np.arange(4 * WEEK) % 48 < 34))
    values = np.array([[1.0], [0.3], [4.0]]) * day * growing
    last = slice(6 * 48 * PARTS, None)
    need = np.repeat(values[:, 3 * WEEK :], PARTS, axis=1)[:, last].max(axis=1)
    need /= assumed_case(values[:, : 3 * WEEK]).pod_capacity_cores * 0.7
    once, often = (floors_of(values, s)[:, last].max(axis=1) for s in (ONCE, SIX))
    assert (np.abs(often - need) < 0.5 * np.abs(once - need)).all()


def test_floors_step_down_over_the_joints() -> None:
    params = SIX.prescale.capacity
    floors = floors_of(load(), SIX)
    each = floors[:, ::PARTS]  # on the grid of the steps
    fall = each[:, :-1] - each[:, 1:]
    share = 1 - (1 - params.step_down_share) ** (30 / params.step_down_min)
    # two floors a step, each rounded for itself
    assert (fall <= np.maximum(np.ceil(share * each[:, :-1]), 1) + 1).all()
    assert fall.max() > 10


def test_pods_have_their_lead_time() -> None:
    none, some = (floors_of(load(), ONCE, s) for s in (0.0, 600.0))
    rise = np.flatnonzero(np.diff(none[0]) > 5)[0]
    length = ONCE.prescale.capacity.floor_step_min
    assert rise - 10 - length <= np.flatnonzero(np.diff(some[0]) > 5)[0] <= rise
    assert (some >= none).all()
    assert some.sum() > none.sum()


def test_nonsense_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="issue: every_min must be more than 0"):
        IssueParams(every_min=0)
    with pytest.raises(ValueError, match="issue: delay_s must be 0 or more"):
        IssueParams(delay_s=-1)
