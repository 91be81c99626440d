"""Settings of pre-scaling: from forecasts to floors, and what may be done about them."""

from __future__ import annotations

from pydantic import Field

from models.advice import AdviceParams
from models.capacity import CapacityParams
from models.floor_costs import IssueParams
from models.guard_params import GuardParams
from models.modes import Rule
from models.nowcast import NowcastParams
from models.per_pod import CurveParams
from models.plan import PlanParams
from models.replay import ReplayParams
from models.replay_case import ReplayCaseParams
from pipelines.apply_params import ApplyParams
from pipelines.rungs.params import RungParams
from pipelines.settings_outside import Section

__all__ = ["PrescaleSettings"]


class PrescaleSettings(Section):
    """From forecasts to floors."""

    rules: tuple[Rule, ...] = ()
    """What people want for which workloads; the first that matches counts."""
    capacity: CapacityParams = CapacityParams()
    curve: CurveParams = CurveParams()
    """What a pod carries, learned from requests and CPU."""
    hpa_file: str = ""
    """HPAs and ScaledObjects, as kubectl prints them, for when no cluster is asked."""
    hpa_metrics: dict[str, str] = Field(default_factory=dict[str, str])
    """What an HPA scales on → our metric: a Pods, Object or External metric's name, or
    RESOURCE/CONTAINER. Equal names need no entry."""
    nowcast: NowcastParams = NowcastParams()
    """How the next hours follow the last errors."""
    issue: IssueParams = IssueParams()
    """How often floors are renewed: what their costs are counted with, and what a replay does."""
    plan: PlanParams = PlanParams()
    guard: GuardParams = GuardParams()
    """What nobody has to be asked for."""
    advice: AdviceParams = AdviceParams()
    """When pre-scaling is advised for a workload."""
    rungs: RungParams = RungParams()
    """Which ways of raising capacity may be taken."""
    apply: ApplyParams = ApplyParams()
    replay: ReplayParams = ReplayParams()
    replay_case: ReplayCaseParams = ReplayCaseParams()
    """The pods of a replayed load that comes without any."""
