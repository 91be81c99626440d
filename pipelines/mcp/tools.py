"""The tools that read. Every name that is given is looked up among those that are known."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pandas as pd
from fastmcp import FastMCP
from fastmcp.tools.base import ToolResult
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field

from pipelines.answers.diagnosed import Diagnosed, diagnosed
from pipelines.answers.explanation import Explanation, explanation
from pipelines.answers.forecasts import Forecasts, forecasts
from pipelines.answers.incidents import Incidents, incidents
from pipelines.answers.planned import Planned, planned
from pipelines.answers.simulated import Simulated, simulated
from pipelines.answers.state import State, state
from pipelines.answers.value import Value, value
from pipelines.clusters import reach
from pipelines.errors import ClusterError, ConfigError
from pipelines.mcp.asking import Desk
from pipelines.moments import parse_time
from pipelines.run import Run
from pipelines.status import Status
from pipelines.status import status as look

__all__ = ["add_tools", "standing"]

Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=800,
        description="cluster/namespace/kind/name, or its end where one workload alone ends so",
    ),
]
MetricName = Annotated[str, Field(min_length=1, max_length=200, description="e.g. cpu_usage_cores")]
Moment = Annotated[
    str, Field(min_length=8, max_length=40, description="UTC, e.g. 2026-06-01T09:40Z")
]
IncidentId = Annotated[str, Field(min_length=1, max_length=64)]
HorizonHours = Annotated[float, Field(gt=0, le=168, description="hours ahead")]
Severity = Literal["warning", "critical"]
_READ = ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False)


def add_tools(server: FastMCP[Any], desk: Desk, *, writes_allowed: bool) -> None:
    """Give the server all tools that read."""
    _add_troubles(server, desk)
    _add_ahead(server, desk)

    async def value_report(by_cluster: bool = False) -> ToolResult:
        """What Foretide was worth in the last evaluated week: figures with intervals, or why one
        is not known."""
        return await desk.ask(lambda run: value(run, by_cluster=by_cluster))

    async def status() -> ToolResult:
        """Whether Foretide itself is well: its last runs, the age of every table, what is held in
        the cluster, until when, and what waits for a person's approval."""
        return await desk.ask(lambda run: standing(run, desk, writes_allowed=writes_allowed))

    _add(server, value_report, Value)
    _add(server, status, State)


def standing(run: Run, desk: Desk, *, writes_allowed: bool) -> State:
    """The state, with what the cluster says of it where one is configured and answers."""
    seen: Status | None = None
    notes: tuple[str, ...] = ()
    if run.settings.cluster.connect != "no":
        there = reach(desk.config)
        try:
            with there.open() as kube:
                store = (desk.config, desk.out)
                seen = look(kube, there.name, run.as_of, store=store, params=there.rungs)
        except (ClusterError, ConfigError) as error:
            notes = (f"the cluster was not asked: {error}",)
    return state(run, seen=seen, notes=notes, writes_allowed=writes_allowed)


def _add_troubles(server: FastMCP[Any], desk: Desk) -> None:
    async def list_incidents(
        state: Literal["open", "all"] = "open",
        workload: Name | None = None,
        severity: Severity | None = None,
        since_h: Annotated[float, Field(gt=0, le=336)] = 24.0,
        limit: Annotated[int, Field(ge=1, le=50)] = 10,
    ) -> ToolResult:
        """What is going wrong: incidents and leaks with ranked causes and evidence, open ones and
        the strongest first. A score of 1 is the alert line."""
        return await desk.ask(
            lambda run: incidents(
                run, state=state, workload=workload, severity=severity, since_h=since_h, limit=limit
            )
        )

    async def explain_score(
        workload: Name, metric: MetricName | None = None, at: Moment | None = None
    ) -> ToolResult:
        """Why a workload has its score, its forecast and its floor: inputs, model, gates and
        arithmetic, from the stored tables; of now, or of a moment."""
        return await desk.ask(lambda run: explanation(run, workload, metric=metric, at=_moment(at)))

    async def diagnose(
        incident_id: IncidentId | None = None,
        workload: Name | None = None,
        at: Moment | None = None,
        before_h: Annotated[float, Field(ge=1, le=24)] = 6.0,
        top: Annotated[int, Field(ge=1, le=10)] = 5,
    ) -> ToolResult:
        """Rank what explains an incident (by its id), or what was seen at a workload from a moment
        on, by the samples around it. Takes seconds."""
        return await desk.ask(
            lambda run: diagnosed(
                run,
                incident_id=incident_id,
                workload=workload,
                at=_moment(at),
                before_h=before_h,
                top=top,
            ),
            heavy=True,
        )

    _add(server, list_incidents, Incidents)
    _add(server, explain_score, Explanation)
    _add(server, diagnose, Diagnosed)


def _add_ahead(server: FastMCP[Any], desk: Desk) -> None:
    async def get_forecast(
        workload: Name,
        metric: MetricName | None = None,
        horizon_h: HorizonHours = 24.0,
        points: Annotated[int, Field(ge=1, le=48)] = 12,
    ) -> ToolResult:
        """A workload's demand ahead, as quantiles, its peak, and the replicas that it asks for."""
        return await desk.ask(
            lambda run: forecasts(run, workload, metric=metric, horizon_h=horizon_h, points=points)
        )

    async def show_plan(
        workload: Name | None = None,
        horizon_h: HorizonHours = 24.0,
        limit: Annotated[int, Field(ge=1, le=100)] = 20,
    ) -> ToolResult:
        """The newest plan: which floors it raises when, in which mode, what cannot be held, and
        the plan_id that a person approves. Nothing is applied by being planned."""
        return await desk.ask(
            lambda run: planned(run, workload=workload, horizon_h=horizon_h, limit=limit)
        )

    async def simulate(
        workload: Name,
        floor_replicas: Annotated[int, Field(ge=1, le=10_000)] | None = None,
        load_factor: Annotated[float, Field(ge=0.1, le=10)] = 1.0,
        days: Annotated[float, Field(gt=0, le=14)] = 7.0,
        horizon_h: Annotated[float, Field(ge=1, le=168)] = 24.0,
    ) -> ToolResult:
        """What a floor, or a load of load_factor times the usual, would mean for a workload:
        replayed over its last days, and for the hours ahead. Nothing is changed. Takes seconds."""
        return await desk.ask(
            lambda run: simulated(
                run,
                workload,
                floor_replicas=floor_replicas,
                load_factor=load_factor,
                days=days,
                horizon_h=horizon_h,
            ),
            heavy=True,
        )

    _add(server, get_forecast, Forecasts)
    _add(server, show_plan, Planned)
    _add(server, simulate, Simulated)


def _add(server: FastMCP[Any], tool: Any, answer: type[BaseModel]) -> None:
    schema = answer.model_json_schema(mode="serialization")
    server.tool(tool, output_schema=schema, annotations=_READ)


def _moment(text: str | None) -> pd.Timestamp | None:
    return None if text is None else parse_time(text, "at")
