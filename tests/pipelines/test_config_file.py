"""config/foretide.yaml: it says the defaults, and its examples work."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.settings import CONFIG_DIR, load_settings

FILE = CONFIG_DIR / "foretide.yaml"
DELIBERATE: dict[str, Any] = {}
"""Keys whose value in the file is not the default, with that value. None so far."""

EXAMPLE = re.compile(r"^(\s*)# (?=[a-z_]+:(?: |$)|  - |    [a-z])", re.MULTILINE)
"""A commented line that is YAML once its ``# `` is gone: a key, an item, or a key further in."""


@pytest.fixture(autouse=True)
def _no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("FORETIDE_")]:
        monkeypatch.delenv(name)


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, tree


def test_it_says_the_defaults() -> None:
    ours = dict(leaves(load_settings(FILE).model_dump()))
    defaults = dict(leaves(load_settings().model_dump()))
    assert {k: v for k, v in ours.items() if defaults[k] != v} == DELIBERATE


def test_its_commented_examples_are_true(tmp_path: Path) -> None:
    told, n_lines = EXAMPLE.subn(r"\1", FILE.read_text(encoding="utf-8"))
    assert n_lines >= 8
    changed = tmp_path / "foretide.yaml"
    changed.write_text(told, encoding="utf-8")
    settings = load_settings(changed)  # of a key that is there twice, the last one
    assert settings.calendars[0].country == "DE-BY"
    assert settings.silences[0].metric == "latency_*"
    assert settings.metrics["checkout_queue_depth"] == {
        "direction": "up", "minimum": 0, "minimum_deviation": 20,
    }  # fmt: skip
    assert "/workspaces/ws-" in settings.source.url


def test_a_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    text = re.search(r"export FORETIDE_SOURCE__HEADERS='(.*)'", FILE.read_text(encoding="utf-8"))
    assert text is not None
    monkeypatch.setenv("FORETIDE_SOURCE__HEADERS", text[1])
    settings = load_settings(FILE)
    assert settings.source.sent_headers["Authorization"] == "Bearer TOKEN"
    assert "Bearer" not in repr(settings)
    assert settings.source.url == load_settings().source.url


def test_no_key_is_there_twice() -> None:
    """YAML lets the last one win in silence."""
    seen: list[str] = []

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
            keys = [k.value for k, _ in node.value]
            seen.extend(k for k in keys if keys.count(k) > 1)
            return super().construct_mapping(node, deep)

    yaml.load(FILE.read_text(encoding="utf-8"), Loader)  # noqa: S506 - a SafeLoader
    assert seen == []


def test_it_can_be_read_in_one_go() -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 360
    assert max(map(len, lines)) <= 110
