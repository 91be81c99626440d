"""`foretide mcp` where it may write: only with the approval token, by the way of the verbs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from apply_world import NO_STAGES, World, a_floor, a_plan, a_world
from fastmcp import Client
from mcp_server import TOKEN, asked_over_http, serving_http

from models.actions import Plan
from pipelines.clock import present

pytestmark = pytest.mark.e2e

APPROVAL = "approval-token-of-the-test-0123456789"
MINUTE = pd.Timedelta(1, "min")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    guard = NO_STAGES | {"approve_above_share": 0.5}
    with a_world(tmp_path, guard=guard, apply={"require_release": False}) as world:
        world.hpa("web")
        yield world


@contextmanager
def served(world: World) -> Iterator[tuple[str, list[str]]]:
    config = Path(world.config())
    settings = yaml.safe_load(config.read_text()) | {"mcp": {"allow_writes": True}}
    config.write_text(yaml.safe_dump(settings))
    secrets = {"FORETIDE_MCP__TOKEN": TOKEN, "FORETIDE_MCP__APPROVAL_TOKEN": APPROVAL}
    with serving_http(["--config", str(config)], world.folder, secrets) as (url, lines):
        yield url, lines


def kept_plan(world: World) -> Plan:
    """One that begins now, and asks for more than may be raised without a person."""
    now = present()
    plan = a_plan(a_floor("web", 12, starts=now - 5 * MINUTE), as_of=now - 20 * MINUTE)
    return world.keep(plan)


async def called(client: Client[Any], name: str, **arguments: Any) -> tuple[bool, Any]:
    told = await client.call_tool(name, arguments, raise_on_error=False)
    return told.is_error, told.content[0].text if told.is_error else told.structured_content


def test_a_write_needs_the_approval_the_plan_and_the_guardrails(world: World) -> None:
    plan = kept_plan(world)

    async def session(client: Client[Any]) -> None:
        tools = {t.name: t for t in await client.list_tools()}
        assert tools["apply"].annotations.destructive_hint
        assert (await called(client, "status"))[1]["writes_allowed"]
        for wrong in (TOKEN, APPROVAL[:-1], APPROVAL.upper(), ""):
            for name, arguments in (("apply", {"plan_id": plan.plan_id}), ("release", {})):
                failed, text = await called(client, name, approval_token=wrong, **arguments)
                assert failed, (name, wrong)
                assert "approv" in text
        for other in ("0" * 12, "../plans", "*"):
            failed, _ = await called(client, "apply", plan_id=other, approval_token=APPROVAL)
            assert failed, other
        assert (world.writes(), world.floor("web"), world.ledger()) == ([], 2, [])
        known = {"plan_id": plan.plan_id, "approval_token": APPROVAL}
        failed, told = await called(client, "apply", dry_run=True, **known)
        assert not failed, told
        assert (world.writes(), world.ledger()) == ([], [])
        failed, told = await called(client, "apply", **known)
        assert not failed, told
        assert told["figures"]["raised"] == 1
        assert world.floor("web") == 12
        assert world.states("web") == ["intended", "done"]  # the ledger, as ever
        _, state = await called(client, "status")
        assert [(h["target"]["data"], h["value"]) for h in state["held"]] == [
            ("prod/shop/Deployment/web", "12")
        ]
        for workload in ("prod/shop/Deployment/*", "*", "[w]eb"):  # no glob of the caller's
            failed, _ = await called(client, "release", approval_token=APPROVAL, workload=workload)
            assert failed
        assert world.floor("web") == 12
        failed, told = await called(
            client, "release", approval_token=APPROVAL, workload="Deployment/web"
        )
        assert not failed, told
        assert (told["given_back_count"], told["left_count"]) == (1, 0)
        assert world.floor("web") == 2

    with served(world) as (url, lines):
        asked_over_http(url, session)
    log = "".join(lines)
    assert "wrong approval token" in log
    assert APPROVAL not in log
    assert TOKEN not in log
