"""Metric catalogs: YAML text in, ``features.metrics.Catalog`` out.

::

    definitions:                # optional: names for expressions that several queries share
      errors: code=~"5.."
    metrics:
      error_ratio: {unit: ratio, role: signal, direction: up, minimum: 0, query: '…{${errors}}…'}

``${errors}`` in a query or in another definition is replaced by the definition's text as it
stands. Keys of a metric are the fields of ``features.metrics.Metric``.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import fields
from typing import Any, cast

import yaml

from features.metrics import Catalog, Metric
from pipelines.errors import ConfigError

__all__ = ["load_catalog"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
_NUMBERS = ("minimum", "maximum", "minimum_deviation")
_KEYS = tuple(f.name for f in fields(Metric) if f.name != "name")


def load_catalog(text: str, *, where: str = "metric catalog") -> Catalog:
    """Read and check a catalog; ``where`` names the text in errors, e.g. by its file.

    Raises
    ------
    ConfigError
        The text is no YAML or not of the form above: the message names the metric and the key.
    """
    try:
        root: object = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not readable as YAML: {error}") from error
    content = _mapping(root, where)
    unknown = sorted(content.keys() - {"definitions", "metrics"})
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; it has definitions and metrics")
    definitions = _mapping(content.get("definitions") or {}, f"{where}: definitions")
    for name, body in definitions.items():
        _text(body, f"{where}: definition {name!r}")
    entries = _mapping(content.get("metrics"), f"{where}: metrics")
    metrics = {
        name: _metric(name, entry, cast("Mapping[str, str]", definitions), where)
        for name, entry in entries.items()
    }
    for metric in metrics.values():
        if metric.limit is not None and metric.limit not in metrics:
            raise ConfigError(
                f"{where}: metric {metric.name!r} has limit {metric.limit!r}, "
                "which is no metric of this catalog"
            )
    return Catalog(metrics)


class _UniqueKeys(yaml.SafeLoader):
    """PyYAML lets the last of two equal keys win in silence; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is there twice", key.start_mark
                )
        return super().construct_mapping(node, deep)


def _metric(name: str, entry: object, definitions: Mapping[str, str], where: str) -> Metric:
    here = f"{where}: metric {name!r}"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{here}: a name has letters, digits and _, and begins with no digit")
    given = dict(_mapping(entry if entry is not None else {}, here))
    unknown = sorted(given.keys() - set(_KEYS))
    if unknown:
        raise ConfigError(f"{here}: unknown key {unknown[0]!r}; it has {', '.join(_KEYS)}")
    for key, value in given.items():
        if key in _NUMBERS:
            given[key] = _number(value, f"{here}: {key}")
        else:
            _text(value, f"{here}: {key}")
    if "query" in given:
        given["query"] = _expand(str(given["query"]), definitions, here).strip()
    try:
        return Metric(name, **cast("dict[str, Any]", given))
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _expand(
    text: str, definitions: Mapping[str, str], here: str, inside: tuple[str, ...] = ()
) -> str:
    def body(match: re.Match[str]) -> str:
        name = match[1]
        if name in inside:
            raise ConfigError(f"{here}: definition {name!r} uses itself: {' > '.join(inside)}")
        if name not in definitions:
            known = ", ".join(definitions) or "none"
            raise ConfigError(f"{here}: no definition {name!r}; there are {known}")
        return _expand(definitions[name], definitions, here, (*inside, name)).strip()

    return _PLACEHOLDER.sub(body, text)


def _mapping(value: object, here: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        came = "nothing" if value is None else repr(value)[:60]
        raise ConfigError(f"{here}: expected keys with values, got {came}")
    for key in cast("dict[object, object]", value):
        _text(key, f"{here}: key")
    return cast("dict[str, object]", value)


def _text(value: object, here: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{here}: expected text, got {value!r}")


def _number(value: object, here: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{here}: expected a number, got {value!r}")
    return float(value)
