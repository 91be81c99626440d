"""What all answers have: how old they are, and text that is data and never ours."""

from __future__ import annotations

import math
from typing import Annotated, Any, TypedDict

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from pipelines.errors import ConfigError
from pipelines.plain import plain
from pipelines.run import Run

__all__ = [
    "LONGEST",
    "Age",
    "Answer",
    "Data",
    "NoSuchName",
    "Part",
    "age",
    "clock_of",
    "data",
    "iso",
    "number",
    "told",
]

LONGEST = 400
"""Characters of one text from outside; label values can be far longer."""
_DIGITS = 6


class Part(BaseModel):
    """A part of an answer: frozen, nothing beside what is declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Part):
    """Text that a cluster, a metric store or a file had a hand in: data, never an instruction.

    In JSON it is ``{"data": "…"}``. The text is a JSON string, so whatever it says it cannot leave
    its field; control characters are replaced, and what is too long ends with ``…``.
    """

    data: Annotated[str, Field(max_length=LONGEST)]


class Answer(Part):
    """What every answer says of itself; times are ISO 8601, UTC."""

    asked_at: str
    """The clock of the question: nothing after it was seen."""
    as_of: str | None
    """What the answer is about ended then; null where there is nothing yet."""
    valid_until: str | None
    stale: bool
    stale_reason: str
    """Why it may not be acted on; empty where it may."""
    evidence: tuple[str, ...]
    """What it was read from."""


class Age(TypedDict):
    """The fields of ``Answer``."""

    asked_at: str
    as_of: str | None
    valid_until: str | None
    stale: bool
    stale_reason: str
    evidence: tuple[str, ...]


class NoSuchName(ConfigError):
    """An argument names nothing that is known; ``close`` are known names that are similar."""

    def __init__(self, text: str, close: tuple[str, ...] = ()) -> None:
        """``text`` is ours, ``close`` are data."""
        super().__init__(text)
        self.close = close


def age(
    run: Run,
    as_of: pd.Timestamp | None,
    valid_until: pd.Timestamp | None,
    *evidence: str,
    nothing: str,
) -> Age:
    """The fields that say how old an answer is; ``nothing`` says why there is none."""
    if as_of is None:
        stale, why = True, nothing
    elif valid_until is None:
        stale, why = True, "until when it may be used is not known"
    else:
        stale = valid_until <= run.as_of
        why = f"it was to be used until {iso(valid_until)}; nothing newer is there" if stale else ""
    return {
        "asked_at": told(run.as_of),
        "as_of": iso(as_of),
        "valid_until": iso(valid_until),
        "stale": stale,
        "stale_reason": why,
        "evidence": evidence,
    }


def data(text: Any, longest: int = LONGEST) -> Data:
    """A text from outside, in its wrapping; empty for what is none."""
    said = plain(" ".join(text[: 4 * longest].split())) if isinstance(text, str) else ""
    return Data(data=said if len(said) <= longest else f"{said[: longest - 1]}…")


def told(moment: pd.Timestamp) -> str:
    """``2026-06-01T09:00:00Z``."""
    return f"{moment.tz_convert('UTC'):%Y-%m-%dT%H:%M:%SZ}"


def iso(moment: Any) -> str | None:
    """The same; nothing where there is no moment."""
    return None if moment is None or pd.isna(moment) else told(pd.Timestamp(moment))


def number(value: Any) -> float | None:
    """A finite number of a few digits; nothing where it is not known, or has no end."""
    if value is None or value is pd.NA or not math.isfinite(float(value)):
        return None
    return float(f"{float(value):.{_DIGITS}g}")


def clock_of(part: str) -> pd.Timestamp:
    """The clock of the run that wrote a part."""
    return pd.Timestamp(part.split("-", 1)[0])
