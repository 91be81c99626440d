"""Named special days: one indicator column a name, as in the ``prophet`` package's ``holidays``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from features.panel import Floats

__all__ = ["SpecialDays", "from_meta", "indicators", "to_meta"]

_DAY_S = 86_400.0
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class SpecialDays:
    """Days that behave alike, past and future ones: the effect of the past ones is forecast.

    Attributes
    ----------
    name
        What it is called in components, unlike every other set of the same model.
    days
        ISO dates in the panel's own clock.
    prior_scale
        How large the effect may be, as a share of the series' largest value; nothing means
        ``ProphetParams.holidays_prior_scale``.
    """

    name: str
    days: tuple[str, ...]
    prior_scale: float | None = None

    def __post_init__(self) -> None:
        """Refuse what prophet would not take."""
        if not self.name or "_delim_" in self.name:
            raise ValueError(f"name must be a word without '_delim_', got {self.name!r}")
        for day in self.days:
            try:
                date.fromisoformat(day)
            except ValueError as error:
                raise ValueError(f"days of {self.name!r} must be ISO dates, got {day!r}") from error
        if self.prior_scale is not None and not 0 < self.prior_scale < np.inf:
            raise ValueError(
                f"prior_scale of {self.name!r} must be above 0, got {self.prior_scale}"
            )


def indicators(special: Sequence[SpecialDays], epoch_s: Floats) -> Floats:
    """1.0 where a time falls on one of a set's days, (n_times, n_sets)."""
    out = np.zeros((len(epoch_s), len(special)))
    today = np.floor(epoch_s / _DAY_S).astype(np.int64)
    for column, one in enumerate(special):
        days = [(date.fromisoformat(day) - _EPOCH).days for day in one.days]
        out[:, column] = np.isin(today, np.array(days, dtype=np.int64))
    return out


def to_meta(special: Iterable[SpecialDays]) -> list[dict[str, Any]]:
    """As JSON, for ``Baselines.meta["special"]``."""
    return [
        {"name": one.name, "days": list(one.days), "prior_scale": one.prior_scale}
        for one in special
    ]


def from_meta(meta: Mapping[str, Any]) -> tuple[SpecialDays, ...]:
    """What ``to_meta`` gave; nothing in baselines from before there were special days."""
    return tuple(
        SpecialDays(one["name"], tuple(one["days"]), one["prior_scale"])
        for one in meta.get("special", ())
    )
