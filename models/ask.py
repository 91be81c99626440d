"""Every series is asked of its own model, or of several whose answers are combined; all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats
from models.base import Baselines, Forecaster
from models.combination import COMBINATION, combine

__all__ = ["Together", "ask"]


@dataclass(frozen=True, slots=True)
class Together:
    """Who is combined, and what each weighs for each series, (n_series, n_models)."""

    models: tuple[str, ...]
    weights: Floats


def ask(
    members: Mapping[str, Baselines],
    model: NDArray[np.str_],
    together: Together,
    forecasters: Sequence[Forecaster],
    what: tuple[pd.Timestamp, int, Sequence[float]],
) -> Floats:
    """Quantiles of every series by its model, (n_quantiles, n_series, n_steps).

    Parameters
    ----------
    members : model → baselines of all series
    model : (n_series,)
        A member's name, ``combination``, or one that is neither: such a row is NaN.
    what
        Start, number of steps and quantiles.

    Raises
    ------
    ValueError
        A needed forecaster is not among those given.
    """
    start, n_steps, quantiles = what
    out = np.full((len(quantiles), len(model), n_steps), np.nan)
    combined = np.flatnonzero(model == COMBINATION)
    told: dict[str, Floats] = {}
    for name, baselines in members.items():
        alone = np.flatnonzero(model == name)
        shared = combined if name in together.models else combined[:0]
        needed = np.r_[shared, alone]
        if not len(needed):
            continue
        own = baselines.select(needed)
        said = _named(forecasters, name).predict(own, start, n_steps, quantiles)
        out[:, alone] = said[:, len(shared) :]
        if len(shared):
            told[name] = said[:, : len(shared)]
    if told:
        columns = [c for c, name in enumerate(together.models) if name in told]
        values = [told[together.models[c]] for c in columns]
        weight = together.weights[combined][:, columns]
        order = np.argsort(quantiles)
        said = [combine([member[q] for member in values], weight) for q in order]
        for q, row in zip(order, np.maximum.accumulate(said), strict=True):
            out[q, combined] = row  # rounding may cross by a last digit
    return out


def _named(forecasters: Sequence[Forecaster], name: str) -> Forecaster:
    for forecaster in forecasters:
        if forecaster.name == name:
            return forecaster
    known = ", ".join(f.name for f in forecasters)
    raise ValueError(f"champions need the forecaster {name!r}, got {known or 'none'}")
