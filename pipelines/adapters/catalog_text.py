"""The texts in a metric catalog: YAML in which no key is there twice, and queries made whole."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping
from typing import Any, cast

import yaml

from pipelines.errors import ConfigError

__all__ = ["expand", "query_text", "read_yaml"]

# libyaml's parser where PyYAML was built with it: every task opens the catalog
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")


def read_yaml(text: str, where: str) -> object:
    """Plain YAML values; ``where`` names the text in errors.

    Raises
    ------
    ConfigError
        It is no YAML, a key is there twice, or a value asks for a type of Python's.
    """
    try:
        return yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not readable as YAML: {error}") from error


def query_text(query: object, definitions: Mapping[str, str], here: str) -> str:
    """A query with its definitions put in: text, or a mapping as JSON (sorted keys, no blanks).

    The same mapping gives the same text, whatever order its keys were written in.

    Raises
    ------
    ConfigError
        A definition is missing or uses itself, or a mapping has what JSON has not.
    """
    if isinstance(query, str):
        return expand(query, definitions, here).strip()
    whole = _inside(query, definitions, f"{here}: query")
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def expand(
    text: str, definitions: Mapping[str, str], here: str, inside: tuple[str, ...] = ()
) -> str:
    """Replace each ``${name}`` by its definition, and those in it.

    Raises
    ------
    ConfigError
        There is no such definition, or it uses itself.
    """

    def body(match: re.Match[str]) -> str:
        name = match[1]
        if name in inside:
            raise ConfigError(f"{here}: definition {name!r} uses itself: {' > '.join(inside)}")
        if name not in definitions:
            known = ", ".join(definitions) or "none"
            raise ConfigError(f"{here}: no definition {name!r}; there are {known}")
        return expand(definitions[name], definitions, here, (*inside, name)).strip()

    return _PLACEHOLDER.sub(body, text)


def _inside(value: object, definitions: Mapping[str, str], here: str) -> object:
    """The same value with definitions put into every text in it."""
    match value:
        case str():
            return expand(value, definitions, here)
        case dict():
            whole: dict[str, object] = {}
            for key, inner in cast("dict[object, object]", value).items():
                if not isinstance(key, str):
                    raise ConfigError(f"{here}: key: expected text, got {key!r}")
                whole[key] = _inside(inner, definitions, f"{here}: {key}")
            return whole
        case list():
            items = cast("list[object]", value)
            return [_inside(item, definitions, f"{here}[{i}]") for i, item in enumerate(items)]
        case bool() | int() | None:
            return value
        case float() if abs(value) < float("inf"):
            return value
        case _:
            raise ConfigError(f"{here}: expected text, a number, a list or keys, got {value!r}")


class _UniqueKeys(_Loader):
    """PyYAML lets the last of two equal keys win in silence; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is there twice", key.start_mark
                )
        return super().construct_mapping(node, deep)
