"""Moments and lengths of time as a user writes them."""

from __future__ import annotations

import re
from datetime import datetime

import pandas as pd

from pipelines.errors import ConfigError

__all__ = ["parse_duration", "parse_time"]

_FIRST, _LAST = pd.Timestamp("1970-01-01", tz="UTC"), pd.Timestamp("2200-01-01", tz="UTC")
_LENGTH = re.compile(r"(\d+(?:\.\d+)?) ?(s|min|m|h|d|w)")
_SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONGEST_S = 3660 * 86400


def parse_time(text: str, option: str) -> pd.Timestamp:
    """A moment given by the user in ISO 8601, as UTC; without a zone it is taken as UTC.

    Raises
    ------
    ConfigError
        It is no moment between 1970 and 2200.
    """
    try:
        moment = pd.Timestamp(datetime.fromisoformat(text.strip()))
    except ValueError:
        moment = None
    if moment is not None:
        moment = moment.tz_localize("UTC") if moment.tz is None else moment.tz_convert("UTC")
    if moment is None or not _FIRST <= moment < _LAST:
        raise ConfigError(f"{option}: expected a moment like 2026-06-01T00:00Z, got {text!r}")
    return moment.as_unit("ms")


def parse_duration(text: str, option: str) -> pd.Timedelta:
    """A length of time given by the user: a number and ``s``, ``min`` or ``m``, ``h``, ``d``,
    ``w``.

    Raises
    ------
    ConfigError
        It has no unit, or is not between a second and ten years.
    """
    match = _LENGTH.fullmatch(text.strip().lower())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 1 <= seconds <= _LONGEST_S:
        raise ConfigError(f"{option}: expected a length of time like 168h or 30min, got {text!r}")
    return pd.Timedelta(round(seconds * 1000), "ms")
