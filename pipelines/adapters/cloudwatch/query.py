"""The catalog's query language for CloudWatch: which metrics make up one logical metric.

A query is JSON text in ``Metric.query``, made from a YAML mapping of the catalog. It names either
one metric::

    namespace: ContainerInsights
    metric: pod_network_rx_bytes
    statistic: Sum
    dimensions: [ClusterName, Namespace, PodName]
    labels: {ClusterName: cluster, Namespace: namespace, PodName: name}
    constants: {kind: Deployment}

or several ``inputs`` and an ``expression`` of metric math over their names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from features.frames import WORKLOAD_PARTS
from features.metrics import Metric
from pipelines.errors import ConfigError

__all__ = ["Combine", "Lookup", "Query", "Selector", "read_query"]

Combine = Literal["sum", "max", "min", "mean", "last"]

_STATISTIC = re.compile(
    r"Average|Sum|Minimum|Maximum|SampleCount|IQM"
    r"|(?:p|tm|wm|tc|ts)\d{1,3}(?:\.\d+)?|(?:PR|TM|WM|TC|TS)\([\d.%]*:[\d.%]*\)"
)
_INPUT_NAME = re.compile(r"[a-z][a-z0-9_]*")
_USUAL_COMBINE: Mapping[str, Combine] = {
    "Sum": "sum",
    "SampleCount": "sum",
    "Maximum": "max",
    "Minimum": "min",
}


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _Input(_Strict, frozen=True):
    metric: str
    statistic: str
    namespace: str | None = None
    dimensions: list[str] | None = None
    where: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    parse: dict[str, str] | None = None
    combine: Combine | None = None
    missing: float | None = None


class _Names(_Strict, frozen=True):
    namespace: str
    metric: str
    labels: dict[str, str]
    length: int = 0


class _Text(_Strict, frozen=True):
    namespace: str
    dimensions: list[str]
    metric: str = ""
    statistic: str = ""
    where: dict[str, str] = {}
    labels: dict[str, str] = {}
    parse: dict[str, str] = {}
    constants: dict[str, str] = {}
    scale: float = 1.0
    per_second: bool = False
    combine: Combine | None = None
    inputs: dict[str, _Input] = {}
    expression: str = ""
    names_from: _Names | None = None


@dataclass(frozen=True, slots=True)
class Selector:
    """Which metrics are meant, and how a metric's dimensions say its workload.

    Attributes
    ----------
    dimensions : names; a metric must have exactly these
    where : dimension → the value that it must have
    labels : dimension → the label that its value becomes
    parse : dimension → expression whose named groups become labels; it must match the whole value
    combine : how several metrics of one workload become one
    missing : the value where there is no sample; nothing: then there is no result either
    """

    namespace: str
    metric: str
    statistic: str
    dimensions: tuple[str, ...]
    where: Mapping[str, str]
    labels: Mapping[str, str]
    parse: Mapping[str, re.Pattern[str]]
    combine: Combine
    missing: float | None = None

    @property
    def label_names(self) -> frozenset[str]:
        """The labels that it gives."""
        return frozenset(self.labels.values()).union(*(p.groupindex for p in self.parse.values()))


@dataclass(frozen=True, slots=True)
class Lookup:
    """A metric that has the names of all workloads.

    With a ``length``, the names found elsewhere are only the first letters and digits of these, as
    the AWS load balancer controller cuts them for its target groups. With 0 they are whole, and
    who is not among these is nobody: a ReplicaSet beside its Deployment.
    """

    selector: Selector
    length: int


@dataclass(frozen=True, slots=True)
class Query:
    """A decoded query. Without an ``expression`` it has one input, whose name is of no account.

    ``scale`` multiplies every value; ``per_second`` divides it by the period in seconds.
    """

    inputs: Mapping[str, Selector]
    expression: str
    constants: Mapping[str, str]
    scale: float
    per_second: bool
    names_from: Lookup | None

    @property
    def combine(self) -> Combine:
        """How several metrics of one workload become one, where there is no expression."""
        return next(iter(self.inputs.values())).combine

    @property
    def totals(self) -> bool:
        """Whether a value grows with the period: a sum that nobody divides."""
        statistics = {one.statistic for one in self.inputs.values()}
        return not (self.expression or self.per_second) and statistics <= {"Sum", "SampleCount"}


def read_query(metric: Metric) -> Query:
    """The metric's query, decoded and checked.

    Raises
    ------
    ConfigError
        There is none, or it is not of the form above: the text names the metric and the field.
    """
    if not metric.query:
        raise ConfigError(f"metric {metric.name!r} has no query; add one to the metric catalog")
    here = f"metric {metric.name!r}: query"
    try:
        text = msgspec.json.decode(metric.query, type=_Text)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{here}: {error}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{here}: a CloudWatch query is a mapping with namespace, metric, statistic and "
            f"dimensions, got {metric.query[:60]!r}"
        ) from error
    try:
        return _checked(text)
    except ValueError as error:
        raise ConfigError(f"{here}: {error}") from error


def _checked(text: _Text) -> Query:
    single = bool(text.metric)
    if single == bool(text.inputs):
        raise ValueError("it needs either metric and statistic, or inputs and expression")
    if bool(text.expression) != bool(text.inputs):
        raise ValueError("inputs and expression go together")
    given = text.inputs or {
        "metric": _Input(text.metric, text.statistic, combine=text.combine),
    }
    inputs = {name: _selector(name, one, text) for name, one in given.items()}
    if text.expression:
        _check_expression(text, inputs)
    _check_labels(text, inputs)
    names = text.names_from
    if names is not None and names.length < 0:
        raise ValueError(f"names_from: length must be 0 or more, got {names.length}")
    return Query(
        inputs=inputs,
        expression=text.expression,
        constants=text.constants,
        scale=text.scale,
        per_second=text.per_second,
        names_from=None if names is None else Lookup(_lookup(names), names.length),
    )


def _selector(name: str, one: _Input, text: _Text) -> Selector:
    if not _STATISTIC.fullmatch(one.statistic):
        raise ValueError(
            f"{name}: statistic must be Average, Sum, Minimum, Maximum, SampleCount or a "
            f"percentile such as p99 or tm99, got {one.statistic!r}"
        )
    dimensions = text.dimensions if one.dimensions is None else one.dimensions
    where = text.where if one.where is None else one.where
    labels = text.labels if one.labels is None else one.labels
    parse = text.parse if one.parse is None else one.parse
    for key, used in (("where", where), ("labels", labels), ("parse", parse)):
        strange = sorted(used.keys() - set(dimensions))
        if strange:
            raise ValueError(f"{name}: {key} has {strange[0]!r}, which is not in dimensions")
    return Selector(
        namespace=one.namespace or text.namespace,
        metric=one.metric,
        statistic=one.statistic,
        dimensions=tuple(dimensions),
        where=where,
        labels=labels,
        parse={d: _pattern(f"{name}: parse of {d}", p) for d, p in parse.items()},
        combine=one.combine or _USUAL_COMBINE.get(one.statistic, "mean"),
        missing=one.missing,
    )


def _pattern(here: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{here}: {error}") from error


def _lookup(names: _Names) -> Selector:
    return Selector(
        names.namespace, names.metric, "Sum", tuple(names.labels), {}, names.labels, {}, "sum"
    )


def _check_expression(text: _Text, inputs: Mapping[str, Selector]) -> None:
    words = set(re.findall(r"\w+", text.expression))
    for name, one in inputs.items():
        if not _INPUT_NAME.fullmatch(name):
            raise ValueError(f"inputs: {name!r} must have a-z, 0-9 and _ and begin with a letter")
        if name not in words:
            raise ValueError(f"inputs: {name!r} is not used in the expression")
        if one.combine == "last":
            raise ValueError(f"inputs: {name}: metric math cannot combine by 'last'")
    optional = [name for name, one in inputs.items() if one.missing is not None]
    if len(optional) > 1 or len(optional) == len(inputs):
        # with two of them, one there and one not, the result would be neither
        raise ValueError(
            f"inputs: one of several inputs may have `missing`, got {', '.join(optional)}"
        )


def _check_labels(text: _Text, inputs: Mapping[str, Selector]) -> None:
    given = text.constants.keys() | frozenset[str]().union(
        *(s.label_names for s in inputs.values())
    )
    strange = sorted(given - set(WORKLOAD_PARTS))
    if strange:
        raise ValueError(
            f"labels, parse and constants may give {', '.join(WORKLOAD_PARTS)}, got {strange[0]!r}"
        )
    if "name" not in given:
        raise ValueError("no dimension or constant gives the label `name`")
