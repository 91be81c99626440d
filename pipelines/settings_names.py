"""Names of models in the configuration: built in, or ``package.module:Class`` of the user's own."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from pipelines.plugins import is_spec

__all__ = ["DETECTORS", "FORECASTERS", "Detecting", "Forecasting"]

FORECASTERS = (
    "seasonal_naive",
    "seasonal_median",
    "seasonal_day",
    "seasonal_peak",
    "seasonal_level",
    "seasonal_level_slow",
    "decomposition",
    "prophet",
    "prophet_multiplicative",
    "classical",
)
"""Built in; the first is always among the candidates."""

DETECTORS = ("band", "isolation_forest", "together", "memory_slope")
"""Built in; training leaves out what the first flags, so it is always asked."""


def _forecaster(name: str) -> str:
    return _known(name, FORECASTERS)


def _detectors(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        _known(name, DETECTORS)
    if DETECTORS[0] not in names:
        raise ValueError(f"expected {DETECTORS[0]} among them, got {', '.join(names) or 'none'}")
    return names


def _known(name: str, built_in: tuple[str, ...]) -> str:
    if name in built_in or is_spec(name):
        return name
    words = ", ".join(built_in)
    raise ValueError(f"expected one of {words}, or package.module:Class, got {name!r}")


Forecasting = Annotated[str, AfterValidator(_forecaster)]
"""One of ``forecast.models``."""

Detecting = Annotated[tuple[str, ...], AfterValidator(_detectors)]
"""``detect.detectors``."""
