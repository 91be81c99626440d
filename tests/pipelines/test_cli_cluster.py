"""The documents of the verbs that ask a cluster keep their schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from apply_world import World, a_floor, a_plan, a_world
from jsonschema import Draft202012Validator

from pipelines.cli import _run_cli
from pipelines.commands.outputs import schema


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A floor that is held, since 2026: expired by the machine's clock."""
    with a_world(tmp_path) as world:
        world.hpa("web")
        world.keep(a_plan(a_floor("web", 12)))
        world.apply(0)
        yield world


@pytest.mark.parametrize("verb", ["apply", "status", "release"])
def test_what_a_verb_says_of_a_cluster_keeps_its_schema(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    if verb == "apply":
        args = ["--config", world.config(), "--dry-run"]
    else:
        args = ["--kubeconfig", str(world.server.kubeconfig(tmp_path)), "--cluster", "prod"]
    assert _run_cli([verb, *args, *(["--all"] if verb == "release" else []), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [e.message for e in Draft202012Validator(schema(verb)).iter_errors(told)] == []
    held = {"apply": "rows", "status": "held", "release": "released"}[verb]
    assert verb == "apply" or told[held]
