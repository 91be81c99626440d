"""The two tools that write: only where ``mcp.allow_writes`` is set, and with the approval token.

They go the way of the verbs: the same flow, the same guardrails, the same ledger. The token is a
person's yes: it is in the server's environment, and who reads with the bearer token has it not.
"""

from __future__ import annotations

import glob
import logging
import os
from typing import Annotated, Any, cast

from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.tools.base import ToolResult
from mcp_types import ToolAnnotations
from pydantic import Field

from pipelines.answers.known import chosen
from pipelines.answers.shared import Data, Part, data, number
from pipelines.clock import present
from pipelines.clusters import Reach, reach
from pipelines.mcp.access import Secret
from pipelines.mcp.asking import Desk
from pipelines.release import release as give_back
from pipelines.rungs.held import held

__all__ = ["Applied", "Released", "add_writes"]

_log = logging.getLogger("foretide.mcp")
_TIMEOUT_S = 600.0
"""A round may take prescale.apply.run_max_s, and flows wait for each other."""
_ROWS = 20
_WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True)

Approval = Annotated[
    str, Field(min_length=1, max_length=1024, description="given by the person who approves")
]


class Skipped(Part):
    """So many workloads were not touched, for one reason."""

    reason: Data
    workloads_count: int


class Applied(Part):
    """What a round did; the ledger has every action."""

    run_id: str
    plan_id: str
    dry_run: bool
    done: int
    skipped: tuple[Skipped, ...]
    failed: tuple[Data, ...]
    figures: dict[str, float | None]
    notes: tuple[Data, ...]


class GivenBack(Part):
    """One thing that was due, or is still held and should not be."""

    what: Data
    status: str
    before: str
    after: str
    detail: Data


class Released(Part):
    """What went back to its users."""

    given_back: tuple[GivenBack, ...]
    given_back_count: int
    left: tuple[GivenBack, ...]
    left_count: int


def add_writes(server: FastMCP[Any], desk: Desk, approval: Secret) -> None:
    """Give the server the tools that write."""

    async def apply(
        plan_id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$", description="of show_plan")],
        approval_token: Approval,
        dry_run: bool = False,
        days: Annotated[float, Field(gt=0, le=28, description="the yes holds so long")] = 1.0,
    ) -> ToolResult:
        """Approve the newest plan, which must be plan_id, and bring the cluster to it within the
        guardrails, as `foretide apply --approve` does. Raised floors expire by themselves."""
        _refuse_unapproved(approval, approval_token, "apply")
        return await desk.ask(
            lambda _: _applied(desk, plan_id, dry_run=dry_run, days=days),
            heavy=True,
            timeout_s=_TIMEOUT_S,
        )

    async def release(
        approval_token: Approval,
        workload: Annotated[str, Field(min_length=1, max_length=800)] | None = None,
        everything: bool = False,
    ) -> ToolResult:
        """Give back what has expired; of one workload that is held, or with everything of all,
        also what has not. A scheduled apply raises again what its plan wants."""
        _refuse_unapproved(approval, approval_token, "release")
        if workload is not None and everything:
            raise ToolError("give workload or everything, not both")
        return await desk.ask(
            lambda _: _released(desk, workload, everything=everything),
            heavy=True,
            timeout_s=_TIMEOUT_S,
        )

    for tool, answer in ((apply, Applied), (release, Released)):
        schema = answer.model_json_schema(mode="serialization")
        server.tool(tool, output_schema=schema, annotations=_WRITES)


def _refuse_unapproved(approval: Secret, given: str, what: str) -> None:
    if not approval.is_same(given):
        _log.warning("%s was asked for with a wrong approval token: refused", what)
        raise ToolError("the approval token is not the right one: nothing was done")
    _log.info("%s: approved call", what)


def _applied(desk: Desk, plan_id: str, *, dry_run: bool, days: float) -> Applied:
    from pipelines.apply import apply as flow

    _log.info("apply: plan %s%s", plan_id, " (dry run)" if dry_run else "")
    made: Any = flow if os.environ.get("PREFECT_API_URL") else flow.fn
    found = cast(
        "dict[str, Any]",
        made(desk.config, desk.out, None, approve=plan_id, dry_run=dry_run, days=days),
    )
    return Applied(
        run_id=str(found["run_id"]),
        plan_id=plan_id,
        dry_run=dry_run,
        done=int(found["done"]),
        skipped=tuple(
            Skipped(reason=data(str(why)), workloads_count=int(n))
            for why, n in list(found["skipped"].items())[:_ROWS]
        ),
        failed=tuple(data(str(line)) for line in found["failed"][:_ROWS]),
        figures={str(k): number(v) for k, v in found["figures"].items()},
        notes=tuple(data(str(line)) for line in found["notes"][:_ROWS]),
    )


def _released(desk: Desk, workload: str | None, *, everything: bool) -> Released:
    there: Reach = reach(desk.config)
    own = there.rungs.namespace
    with there.open() as kube:
        match = "*" if everything else None
        if workload is not None:
            names = {h.workload for h in held(kube, there.name, namespace=own) if h.name}
            match = glob.escape(chosen(workload, sorted(names)))
        _log.info("release: %s", "what has expired" if match is None else match)
        found = give_back(kube, there.name, present(), match=match, namespace=own).to_dict()
    given = [_given(w) for w in found["released"]]
    left = [_given({**w, "status": "still held", "detail": w["problem"]}) for w in found["left"]]
    return Released(
        given_back=tuple(given[:_ROWS]),
        given_back_count=len(given),
        left=tuple(left[:_ROWS]),
        left_count=len(left),
    )


def _given(row: dict[str, Any]) -> GivenBack:
    return GivenBack(
        what=data(str(row["what"])),
        status=str(row["status"]),
        before=str(row.get("before", ""))[:80],
        after=str(row.get("after", ""))[:80],
        detail=data(str(row.get("detail", ""))),
    )
