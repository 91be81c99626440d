"""What an explanation is made of: frozen and small, the unit in a number's name or in ``unit``.

Times are ISO 8601, UTC. A number that a table does not know is null. Names and reasons may hold
text that came from a cluster: they are data.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = [
    "Candidate",
    "CapacityStep",
    "Explained",
    "FloorWhy",
    "ForecastWhy",
    "Gate",
    "LeakWhy",
    "Missing",
    "NamedIncident",
    "PlannedFloor",
    "ScoreWhy",
]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Missing(_Value):
    """A part of the answer that is not known, and why."""

    what: str
    reason: str


class Gate(_Value):
    """One of the conditions between a number and what is done about it."""

    name: str
    passes: bool
    reason: str


class NamedIncident(_Value):
    """An incident that names the workload."""

    incident_id: str
    title: str
    severity: str
    started_at: str
    ended_at: str | None


class ScoreWhy(_Value):
    """The newest score of one metric by one detector, and how it comes about.

    ``metric`` is ``*`` where a detector looks at all metrics of the workload together; ``value`` is
    then the detector's own, without a unit. ``steps``, ``steps_over_line`` and ``highest*`` are of
    the run that wrote the score, until ``ts``.
    """

    metric: str
    detector: str
    ts: str
    score: float
    alert_line: float
    critical_line: float
    severity: str
    unit: str
    value: float | None
    expected: float | None
    lower: float | None
    upper: float | None
    reason: str
    arithmetic: tuple[str, ...]
    steps: int
    steps_over_line: int
    highest: float
    highest_ts: str
    highest_reason: str
    model_version: str
    run_id: str
    valid_until: str


class LeakWhy(_Value):
    """The newest judgement of one metric that may run into its limit."""

    metric: str
    unit: str
    issued_at: str
    score: float
    value: float | None
    limit: float | None
    slope_per_h: float | None
    time_to_limit_p50_s: float | None
    note: str
    arithmetic: tuple[str, ...]


class Candidate(_Value):
    """One model of the backtest, averaged over its origins."""

    model: str
    wape: float | None
    coverage_q90: float | None
    is_champion: bool


class ForecastWhy(_Value):
    """The forecast of one metric at ``ts``, who made it, and why it is that model's."""

    metric: str
    unit: str
    issued_at: str
    ts: str
    quantiles: dict[str, float]
    peak_24h_ts: str
    peak_24h_q50: float
    peak_24h_q90: float
    model: str
    confidence: str
    wape: float | None
    bar: str
    bar_wape: float | None
    candidates: tuple[Candidate, ...]
    verdict: str
    verdict_reason: str
    verdict_holds: bool | None
    arithmetic: tuple[str, ...]
    model_version: str
    run_id: str
    valid_until: str


class CapacityStep(_Value):
    """What is asked for from ``ts`` on."""

    ts: str
    replicas: int
    ready_replicas: int
    reactive_replicas: int


class PlannedFloor(_Value):
    """A raised floor of the plan."""

    starts_at: str
    ends_at: str
    original: int
    before: int
    after: int
    mode: str
    reason: str


class FloorWhy(_Value):
    """The floor: what the forecast asks for, what the plan makes of it, what is done.

    ``now`` is the step at the moment of the answer, ``peak_24h`` the highest of the next day.
    ``mode`` is what people want done; ``last_action`` is from the ledger, empty where there is
    none in the last day.
    """

    issued_at: str
    now: CapacityStep
    peak_24h: CapacityStep
    quantile: float
    lead_time_s: float
    lead_time_source: str
    cpu_cores: float | None
    memory_bytes: float | None
    plan_id: str
    plan_expires_at: str | None
    mode: str
    floors: tuple[PlannedFloor, ...]
    gates: tuple[Gate, ...]
    advice: str
    advice_reason: str
    last_action: str
    arithmetic: tuple[str, ...]
    run_id: str
    valid_until: str


class Explained(_Value):
    """Why a workload has the scores, the forecasts and the floor that it has.

    ``at`` is the moment that is explained; ``scores`` come with the highest first; ``evidence``
    names the tables and the runs that wrote them. ``valid_until`` is the earliest of the shown.
    """

    workload: str
    as_of: str
    at: str
    scores: tuple[ScoreWhy, ...]
    leaks: tuple[LeakWhy, ...]
    incidents: tuple[NamedIncident, ...]
    forecasts: tuple[ForecastWhy, ...]
    floor: FloorWhy | None
    missing: tuple[Missing, ...]
    evidence: tuple[str, ...]
    valid_until: str | None
    stale: bool
    stale_reason: str
