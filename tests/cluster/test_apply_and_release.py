"""A plan on a cluster, and back again: the fake one, and a real one where a kubeconfig is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from apply_world import NO_STAGES, a_floor, a_plan, keep_plan
from yaml import safe_dump

from pipelines.adapters.kube import HPA, SCALED_OBJECT, Kind, Kube
from pipelines.ledger import Entry
from pipelines.release import release
from pipelines.round import Round, done_by
from pipelines.run import RunRef
from pipelines.rungs.same import same_as_before
from pipelines.status import status

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def applied(
    kube: Kube, namespace: str, now: pd.Timestamp, tmp_path: Path
) -> Callable[[float], list[Entry]]:
    """``applied(minutes)``: one round, of a plan for the namespace's ``web``."""
    config = tmp_path / "foretide.yaml"
    settings = {
        "store": {"path": str(tmp_path / "store")},
        "prescale": {
            "guard": NO_STAGES,
            "rungs": {"force_owners": ["gitops"]},
            "plan": {"mode": "act"},
        },
    }
    config.write_text(safe_dump(settings))
    floor = replace(a_floor("web", 6, starts=now), workload=f"prod/{namespace}/Deployment/web")
    keep_plan(a_plan(floor, as_of=now.floor("15min")), str(tmp_path / "store"))

    def apply(minutes: float) -> list[Entry]:
        at = now + pd.Timedelta(minutes, "min")
        run = RunRef.resolve(str(config), None, None, at.isoformat(), at).open()
        seen = Round.read(run, kube, "prod")
        assert {job.holder.namespace for job in seen.jobs} <= {namespace}, "nothing else is touched"
        return done_by(seen)

    return apply


@pytest.mark.parametrize("rung", ["hpa", "keda"])
def test_raised_renewed_shown_and_given_back_as_it_was(
    rung: str,
    kube: Kube,
    namespace: str,
    now: pd.Timestamp,
    make_deployment: Make,
    applied: Callable[[float], list[Entry]],
    request: pytest.FixtureRequest,
) -> None:
    kind: Kind = HPA if rung == "hpa" else SCALED_OBJECT
    make: Make = request.getfixturevalue("make_hpa" if rung == "hpa" else "make_scaled_object")
    field = "minReplicas" if rung == "hpa" else "minReplicaCount"
    make_deployment("web", 2)
    before = make("web", 2, 20)

    def floor() -> int:
        return int(kube.get(kind, "web", namespace)["spec"][field])

    assert [row.status for row in applied(0)] == ["done"]
    assert floor() == 6
    assert [row.status for row in applied(20)] == ["kept"]
    mine = [h for h in status(kube, "prod", now).held if h.namespace == namespace]
    assert [(h.original, h.value, h.ours) for h in mine] == [("2", "6", True)]
    ended = release(kube, "prod", now, match=f"prod/{namespace}/*")
    assert not ended.failed
    assert floor() == 2
    assert same_as_before(before, kube.get(kind, "web", namespace)) == []
