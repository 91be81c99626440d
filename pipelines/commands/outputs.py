"""What every verb prints with ``--json``, as types, and the JSON Schemas made of them.

A type stands where its verb makes it; here are those of verbs that put a plain mapping together.
All times are ISO 8601, UTC. Names and reasons may hold text that came from a cluster: data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from pipelines.answers.explained_types import Explained
from pipelines.doctor.check import Check
from pipelines.errors import ConfigError
from pipelines.outcome import Outcome
from pipelines.rungs.discovery import RungState
from pipelines.status import Told
from pipelines.versions import Moved

__all__ = ["OUTPUTS", "schema", "schemas"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class BacktestRow(TypedDict):
    """One model over all series; losses ``*_vs_bar`` are ratios to the bar's."""

    model: str
    series: int
    windows: int
    wape: float
    wape_mean: float
    mase: float
    pinball_q50: float
    pinball_q90: float
    pinball_q99: float
    pinball_q50_vs_bar: float
    pinball_q90_vs_bar: float
    pinball_q99_vs_bar: float
    coverage_q90: float
    peak_coverage_q90: float
    champion_for: int | None
    seconds: float


class ModelRow(TypedDict):
    """One registered version; ``wape`` is the median of its backtest."""

    family: str
    version: str
    champion: bool
    challenger: bool
    as_of: str | None
    series: int | None
    wape: float
    run_id: str | None
    code_revision: str | None
    held_back: str | None


class MetricVerdict(TypedDict):
    """The newest evaluation of one metric's model."""

    verdict: str
    reason: str
    evaluated_at: str
    since: str
    holds: bool


class MetricModel(TypedDict):
    """Which model is live for one metric, and why; ``model`` is null where it was skipped."""

    metric: str
    model: str | None
    reason: str
    wape: float
    bar_wape: float
    confidence: str | None
    weights: Mapping[str, float]
    solvers: Mapping[str, list[str]]
    verdict: MetricVerdict | None
    band: str | None


class ModelShown(TypedDict):
    """The live models of one workload."""

    workload: str
    forecaster: str
    detector: str | None
    forest: str | None
    metrics: list[MetricModel]


class GivenBack(TypedDict):
    """One write that gives something back."""

    what: str
    status: str
    before: str
    after: str
    detail: str


class LeftHeld(TypedDict):
    """What could not be given back."""

    what: str
    problem: str


class ReleaseDone(TypedDict):
    """What release did."""

    released: list[GivenBack]
    left: list[LeftHeld]


class HeldNow(TypedDict):
    """One thing that is held in the cluster; ``until`` is null where nobody can read it."""

    what: Literal["floor", "room", "hold"]
    kind: str
    namespace: str
    name: str
    uid: str
    workload: str
    value: str
    original: str
    plan_id: str
    until: str | None
    reverts: int
    owners: list[str]
    ours: bool
    reason: str
    problem: str
    expired: bool


class ClusterStatus(TypedDict):
    """The state of one cluster."""

    cluster: str
    at: str
    held: list[HeldNow]
    rungs: list[RungState]
    waiting: list[Told]
    taken_back: list[Told]
    notes: list[str]


class CauseFound(TypedDict):
    """One cause; ``confidence`` is from 0 to 1."""

    name: str
    metric: str
    score: float
    confidence: float
    evidence: str
    workload: str


class Diagnosis(TypedDict):
    """Ranked causes, best first; ``done`` and ``skipped`` count series."""

    causes: list[CauseFound]
    at: str
    target: str | None
    done: int
    skipped: Mapping[str, int]
    notes: list[str]
    outputs: Mapping[str, str]


class TestSent(TypedDict):
    """What became of a test message."""

    test: str


class DemoDone(TypedDict):
    """The demo: what each verb did, and where the report is."""

    verb: Literal["demo"]
    report: str
    seconds: float
    figures: Mapping[str, float]
    outcomes: Mapping[str, Outcome]


class ShellScript(TypedDict):
    """The script that makes a shell complete."""

    shell: Literal["bash", "zsh", "fish"]
    script: str


OUTPUTS: Mapping[str, Any] = {
    **dict.fromkeys(
        ("ingest", "train", "evaluate", "report", "run", "apply", "publish", "replay", "backtest"),
        Outcome,
    ),
    **dict.fromkeys(("score", "forecast", "plan"), Outcome | Explained),
    "notify": Outcome | TestSent,
    "diagnose": Diagnosis,
    "doctor": list[Check],
    "models list": list[ModelRow],
    "models show": ModelShown,
    "models promote": Moved,
    "models rollback": Moved,
    "release": ReleaseDone,
    "status": ClusterStatus,
    "demo": DemoDone,
    "completion": ShellScript,
    "schema": dict[str, Any],
}
"""Verb → type; ``run`` prints one document a step, a line each."""

_ROWS: Mapping[str, Any] = {"backtest": BacktestRow}
"""What the ``rows`` of an outcome are, where they are the answer and all alike."""


def schemas() -> dict[str, Any]:
    """Every verb's schema, by verb."""
    return {verb: schema(verb) for verb in OUTPUTS}


def schema(verb: str) -> dict[str, Any]:
    """The JSON Schema, draft 2020-12, of what a verb prints with ``--json``.

    Raises
    ------
    ConfigError
        There is no such verb: the text names those there are.
    """
    if verb not in OUTPUTS:
        raise ConfigError(f"schema: no verb {verb!r} prints JSON; expected {', '.join(OUTPUTS)}")
    made: dict[str, Any] = TypeAdapter(OUTPUTS[verb]).json_schema(mode="serialization")
    if verb in _ROWS:
        row = TypeAdapter(_ROWS[verb]).json_schema(mode="serialization")
        made["properties"]["rows"] = {"type": "array", "items": row}
    told: dict[str, Any] = _strict(made)
    return {"$schema": DIALECT, "title": f"foretide {verb} --json", **told}


def _strict(part: Any) -> Any:
    """Every key is there and no other is; a number may be null, for what is not known."""
    if isinstance(part, list):
        return [_strict(p) for p in part]
    if not isinstance(part, dict):
        return part
    found: dict[str, Any] = {
        k: _strict(v) for k, v in part.items() if k not in ("title", "default")
    }
    if "properties" in found:
        # a property that is itself named title or default is one all the same
        found["properties"] = {k: _strict(v) for k, v in part["properties"].items()}
        found |= {"required": list(found["properties"]), "additionalProperties": False}
    if found.get("type") == "number":
        found["type"] = ["number", "null"]
    if isinstance(text := found.get("description"), str):
        found["description"] = " ".join(text.split("\n\n")[0].split())
    return found
