"""Types of the flows' parameters: a wrong one is refused before a run starts work.

Prefect's server refuses what does not fit the pattern when a run is asked for; the flow run itself,
whoever asked for it, refuses what is no moment or no length of time, with the sentence of
``pipelines.moments``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from pipelines.errors import ConfigError
from pipelines.moments import parse_duration, parse_time

__all__ = ["Length", "Moment"]


def _checked(parse: Callable[[str, str], object], option: str) -> AfterValidator:
    def check(text: str) -> str:
        try:
            parse(text, option)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return text

    return AfterValidator(check)


def _schema(pattern: str, *examples: str) -> WithJsonSchema:
    """What the server holds a parameter against."""
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)})


Moment = Annotated[str, _checked(parse_time, "moment"), _schema(r"^\s*\d{4}", "2026-06-01T00:00Z")]
"""ISO 8601; without a zone it is UTC."""

Length = Annotated[
    str,
    _checked(parse_duration, "length of time"),
    _schema(r"^\s*\d+(\.\d+)? ?[a-zA-Z]+\s*$", "6h", "30min"),
]
"""A number and ``s``, ``min`` or ``m``, ``h``, ``d``, ``w``."""
