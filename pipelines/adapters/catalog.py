"""Metric catalogs: YAML text in, ``features.metrics.Catalog`` out.

::

    extends: prometheus         # optional: takes that catalog's definitions and metrics
    definitions:                # optional: names for expressions that several queries share
      errors: code=~"5.."
    metrics:
      error_ratio: {unit: ratio, role: signal, direction: up, minimum: 0, query: '…{${errors}}…'}
      cpu_usage_cores: {query: '…'}     # what is not given stays as in the extended catalog
      disk_used_bytes:                  # nothing: the extended catalog's metric is left out

``${errors}`` in a query or in another definition is replaced by the definition's text as it
stands; definitions are put together before that, so one that is given again changes every query
that uses it. Keys of a metric are the fields of ``features.metrics.Metric``. A query that is a
mapping becomes JSON text: sorted keys, no blanks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from features.metrics import Catalog, Metric
from pipelines.adapters.catalog_text import query_text, read_yaml
from pipelines.errors import ConfigError

__all__ = ["load_catalog"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBERS = ("minimum", "maximum", "minimum_deviation", "minimum_relative_deviation")
_KEYS = tuple(f.name for f in fields(Metric) if f.name != "name")
_PATH = (".yaml", ".yml")


def load_catalog(
    text: str,
    *,
    where: str = "metric catalog",
    read: Callable[[str], str] | None = None,
    over: Mapping[str, object] | None = None,
    over_from: str = "metrics",
) -> Catalog:
    """Read and check a catalog, and those that it extends.

    Parameters
    ----------
    where : names the text in errors; a path, if ``extends`` is to be relative to it
    read
        Text of the catalog that ``extends`` names: a shipped catalog's name, or a path that ends
        with ``.yaml``, made relative to the file that extends it. It may raise ``OSError``.
    over
        Entries as under ``metrics:``, laid over the text's: a user's gates without a file.
    over_from : names these in errors

    Raises
    ------
    ConfigError
        A text is no YAML or not of the form above: the message names the file, the metric and the
        key. An extended catalog cannot be read, or extends itself.
    """
    layers = _Layers()
    _stack(text, where, read, layers, ())
    for name, entry in (over or {}).items():
        layers.put(name, entry, over_from, any_name=True)
    metrics = {name: layers.metric(name, where) for name in layers.metrics}
    for metric in metrics.values():
        if metric.limit is not None and metric.limit not in metrics:
            raise ConfigError(
                f"{where}: metric {metric.name!r} has limit {metric.limit!r}, "
                "which is no metric of this catalog"
            )
    return Catalog(metrics)


@dataclass
class _Layers:
    """Catalogs, one put over the other; of each key the outermost value."""

    definitions: dict[str, str] = field(default_factory=dict[str, str])
    metrics: dict[str, dict[str, object]] = field(default_factory=dict[str, dict[str, object]])
    asked_in: dict[str, str] = field(default_factory=dict[str, str])
    """Metric → the file that its query is from."""

    def put(self, name: str, entry: object, where: str, *, any_name: bool = False) -> None:
        """Lay one metric's keys over what is there; in a file a metric may have any name."""
        here = f"{where}: metric {name!r}"
        if not any_name and not _NAME.fullmatch(name):
            raise ConfigError(f"{here}: a name has letters, digits and _, and begins with no digit")
        if entry is None:
            if self.metrics.pop(name, None) is None:
                raise ConfigError(
                    f"{here}: it has no keys, and there is none in an extended catalog to leave "
                    "out; write {} for a metric without keys"
                )
            return
        below = self.metrics.setdefault(name, {})
        for key, value in _mapping(entry, here).items():
            if value is None and key in below:
                del below[key]
            else:
                below[key] = _checked(key, value, here)
                if key == "query":
                    self.asked_in[name] = where
        _metric(name, {k: v for k, v in below.items() if k != "query"}, where)

    def metric(self, name: str, where: str) -> Metric:
        """The finished entry."""
        given = dict(self.metrics[name])
        if "query" in given:
            here = f"{self.asked_in[name]}: metric {name!r}"
            given["query"] = query_text(given["query"], self.definitions, here)
        return _metric(name, given, where)


def _stack(
    text: str,
    where: str,
    read: Callable[[str], str] | None,
    layers: _Layers,
    inside: tuple[str, ...],
) -> None:
    """Put a catalog over those that it extends, innermost first."""
    content = _mapping(read_yaml(text, where), where)
    unknown = sorted(content.keys() - {"extends", "definitions", "metrics"})
    if unknown:
        raise ConfigError(
            f"{where}: unknown key {unknown[0]!r}; it has extends, definitions and metrics"
        )
    if "extends" in content:
        below = _path(content["extends"], where)
        if below in (*inside, where):
            chain = " > ".join((*inside, where, below))
            raise ConfigError(f"{where}: extends: a catalog extends itself: {chain}")
        _stack(_extended(below, where, read), below, read, layers, (*inside, where))
    definitions = _mapping(content.get("definitions") or {}, f"{where}: definitions")
    for name, body in definitions.items():
        layers.definitions[name] = _text(body, f"{where}: definition {name!r}")
    nothing = {} if "extends" in content else None
    entries = _mapping(content.get("metrics") or nothing, f"{where}: metrics")
    for name, entry in entries.items():
        layers.put(name, entry, where)


def _path(value: object, where: str) -> str:
    """The name of a shipped catalog as it is; a path relative to the file that extends it."""
    name = _text(value, f"{where}: extends")
    return str(Path(where).parent / name) if name.endswith(_PATH) else name


def _extended(name: str, where: str, read: Callable[[str], str] | None) -> str:
    if read is None:
        raise ConfigError(f"{where}: extends: {name!r} cannot be read from here")
    try:
        return read(name)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise ConfigError(
            f"{where}: extends: {name} cannot be read ({why}); give the name of a catalog that "
            "foretide has, or the path of a .yaml file"
        ) from None


def _checked(key: str, value: object, here: str) -> object:
    """A metric's value, if it is of the key's type."""
    if key not in _KEYS:
        raise ConfigError(f"{here}: unknown key {key!r}; it has {', '.join(_KEYS)}")
    if key in _NUMBERS:
        return _number(value, f"{here}: {key}")
    if key == "query" and isinstance(value, dict) and value:
        return cast("object", value)
    return _text(value, f"{here}: {key}")


def _metric(name: str, given: Mapping[str, object], where: str) -> Metric:
    try:
        return Metric(name, **cast("dict[str, Any]", given))
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _mapping(value: object, here: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        came = "nothing" if value is None else repr(value)[:60]
        raise ConfigError(f"{here}: expected keys with values, got {came}")
    for key in cast("dict[object, object]", value):
        _text(key, f"{here}: key")
    return cast("dict[str, object]", value)


def _text(value: object, here: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{here}: expected text, got {value!r}")
    return value


def _number(value: object, here: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{here}: expected a number, got {value!r}")
    return float(value)
