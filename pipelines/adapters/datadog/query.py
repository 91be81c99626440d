"""Datadog's metric queries: what is put into one, and what its tags say.

In a query of the catalog, ``$__interval`` is the step in seconds, as in
``.rollup(avg, $__interval)``, and ``$__select`` the tags that are asked for, in the scope::

    sum:kubernetes.cpu.usage.total{$__select} by {…}                all: {*}
    sum:kubernetes.memory.rss{$__select AND env:prod} by {…}        all: {env:prod}

A scope joins conditions by AND; the commas of Datadog's older form cannot be mixed with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from features.metrics import Metric
from pipelines.errors import ConfigError

__all__ = ["labels_of", "query_text"]

_SELECT = re.compile(r"\$__select(?:\s+AND\s+)?")
_PLAIN = re.compile(r"[a-z0-9][a-z0-9_./-]*", re.ASCII)
"""Tag values that mean themselves in a query. Datadog's grammar quotes nothing, and it stores tags
in lower case, so every other value is looked for in what comes back."""
_ABSENT = frozenset({"", "n/a"})
_DEFAULT_NAMESPACE = "default"


def query_text(
    metric: Metric,
    select: Mapping[str, tuple[str, ...]],
    step_ms: int,
    tag_of: Mapping[str, str],
    cluster: str,
) -> str:
    """The metric's query with the placeholders filled in.

    A selection that cannot be said in Datadog's grammar is left out of it, as is one that series
    without the tag may belong to: ``cluster`` or the default namespace.

    Raises
    ------
    ConfigError
        There is no query, it has an unknown placeholder, or the step is no whole seconds.
    """
    if not metric.query:
        raise ConfigError(f"metric {metric.name!r} has no query; add one to the metric catalog")
    if step_ms % 1000:
        raise ConfigError(f"Datadog's steps are whole seconds, got {step_ms} ms; change the step")
    untagged = {"cluster": cluster, "namespace": _DEFAULT_NAMESPACE}
    conditions = [
        _condition(tag_of[label], values)
        for label, values in select.items()
        if label in tag_of
        and values
        and untagged.get(label) not in values
        and all(_PLAIN.fullmatch(v) for v in values)
    ]
    text = _SELECT.sub(lambda found: _selected(conditions, found[0]), metric.query)
    text = text.replace("$__interval", str(step_ms // 1000))
    if "$__" in text:
        raise ConfigError(
            f"metric {metric.name!r}: a Datadog query has the placeholders $__select and "
            f"$__interval, got {text[text.index('$__') :][:30]!r}"
        )
    return " ".join(text.split())


def labels_of(
    tags: Sequence[str], tag_of: Mapping[str, str], kind_of: Mapping[str, str]
) -> dict[str, str]:
    """The labels of a series: its kind follows from which of ``kind_of``'s tags it has."""
    pairs = (tag.partition(":") for tag in tags)
    held = {key: value for key, _, value in pairs if value.lower() not in _ABSENT}
    labels = {label: held[tag] for label, tag in tag_of.items() if tag in held}
    labels |= {label: held[label] for label in ("kind", "name") if label in held}
    owner = next((tag for tag in kind_of if tag in held), None)
    return labels if owner is None else labels | {"kind": kind_of[owner], "name": held[owner]}


def _condition(tag: str, values: tuple[str, ...]) -> str:
    return f"{tag}:{values[0]}" if len(values) == 1 else f"{tag} IN ({', '.join(values)})"


def _selected(conditions: Sequence[str], found: str) -> str:
    more = found != "$__select"
    if not conditions:
        return "" if more else "*"
    return " AND ".join(conditions) + (" AND " if more else "")
