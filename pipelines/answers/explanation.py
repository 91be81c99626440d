"""Why a score, a forecast and a floor are what they are: ``explained``'s answer for programs, its
text marked as what it is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin

import pandas as pd
from pydantic import BaseModel, create_model

from pipelines.answers.explained import explained
from pipelines.answers.explained_types import Explained
from pipelines.answers.known import known_workload
from pipelines.answers.shared import Answer, Data, Part, data, number
from pipelines.run import Run

__all__ = ["Explanation", "explanation"]

_OURS = frozenset(
    {
        "ts", "at", "as_of", "issued_at", "started_at", "ended_at", "starts_at", "ends_at",
        "highest_ts", "peak_24h_ts", "valid_until", "plan_expires_at", "severity", "unit",
        "incident_id", "plan_id", "run_id", "model_version", "mode", "verdict", "advice", "bar",
        "confidence", "name", "stale_reason",
    }
)  # fmt: skip
"""Fields whose text is Foretide's own: clocks, ids, words of a fixed vocabulary, the catalog's
units. Every other text may hold a label's."""
_LISTED = 5
"""So many of each list; how many there were is beside it."""
_LIFTED = frozenset(
    {"workload", "as_of", "at", "evidence", "valid_until", "stale", "stale_reason"}
)  # fmt: skip


def explanation(
    run: Run, workload: str, *, metric: str | None = None, at: pd.Timestamp | None = None
) -> Answer:
    """As ``explained`` says it.

    Raises
    ------
    NoSuchName
        The workload is not known.
    InputError
        No table knows it.
    StoreError
        A table is damaged.
    """
    name = known_workload(run, workload)
    found = explained(run, name, metric=metric, at=at)
    told = {k: v for k, v in dict(found).items() if k not in _LIFTED}
    made: Any = Explanation
    return made(
        asked_at=found.as_of,
        as_of=found.at,
        valid_until=found.valid_until,
        stale=found.stale or found.valid_until is None,
        stale_reason=found.stale_reason
        or ("" if found.valid_until else "nothing of it may be used: see `missing`"),
        evidence=found.evidence[:_LISTED],
        workload=data(name),
        scores_count=len(found.scores),
        forecasts_count=len(found.forecasts),
        **{k: _value(k, v) for k, v in told.items()},
    )


@cache
def _marked(model: type[BaseModel]) -> type[Part]:
    """The same type with ``Data`` where a text may come from outside."""
    fields: dict[str, Any] = {
        name: (_type(name, info.annotation), ...) for name, info in model.model_fields.items()
    }
    return create_model(model.__name__, __base__=Part, __doc__=model.__doc__, **fields)


def _type(name: str, hint: Any) -> Any:
    if hint is str:
        return str if name in _OURS else Data
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return _marked(hint)
    if get_origin(hint) in (Union, UnionType):
        inner = [_type(name, one) for one in get_args(hint) if one is not NoneType]
        return Union[(*inner, None)]
    if get_origin(hint) is tuple:
        return tuple[_type(name, get_args(hint)[0]), ...]
    return hint


def _value(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return value[:200] if name in _OURS else data(value)
    if isinstance(value, BaseModel):
        return _marked(type(value))(**{k: _value(k, v) for k, v in dict(value).items()})
    if isinstance(value, tuple):
        every = cast("tuple[Any, ...]", value)
        return tuple(_value(name, one) for one in every[:_LISTED])
    if isinstance(value, Mapping):
        return {k: _value(k, v) for k, v in cast("Mapping[str, Any]", value).items()}
    return number(value) if isinstance(value, float) else value


_PARTS: dict[str, Any] = {
    name: (_type(name, info.annotation), ...)
    for name, info in Explained.model_fields.items()
    if name not in _LIFTED
}
Explanation: type[Answer] = create_model(
    "Explanation",
    __base__=Answer,
    __doc__="Why the workload has the scores, the forecasts and the floor that it has.",
    workload=(Data, ...),
    scores_count=(int, ...),
    forecasts_count=(int, ...),
    **_PARTS,
)
