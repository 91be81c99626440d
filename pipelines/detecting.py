"""What the detectors learn from a panel, given what was expected of it.

Pure: panels in, baselines out. Young series too: where there is no forecast of the past yet, their
own level stands in for it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from features.metrics import Catalog
from features.panel import Floats, Panel
from features.signals import build_signals
from models.band import Band
from models.base import Baselines
from models.isolation_forest import IsolationForest
from models.together import Together
from pipelines.extensions import own_detectors
from pipelines.settings import Settings

__all__ = ["learn_detectors", "level_where_unknown"]

_KNOWN_SHARE = 0.5  # of the measured steps that must have an expectation of their own


def learn_detectors(
    panel: Panel, expected: Floats, catalog: Catalog, settings: Settings
) -> dict[str, Baselines]:
    """The band of every series; the forest and the joint score of every workload; the user's own.

    ``panel`` comes without what is no example (special days, an earlier regime); ``expected``
    (n_series, n_steps) is what the champions would have said.
    """
    expected = level_where_unknown(panel, expected)
    gates = catalog.gates(panel.keys["metric"])
    worth = (gates.minimum_deviation, gates.minimum_relative)
    knobs, asked = settings.detect, settings.detect.detectors
    found = {"band": Band(knobs.band).fit(panel, expected, gates.directions, *worth)}
    if {"isolation_forest", "together"} & {*asked}:
        signals = build_signals(panel, expected, catalog)
        if "isolation_forest" in asked:
            forest = IsolationForest(knobs.isolation_forest)
            found["isolation_forest"] = forest.fit(signals)
        if "together" in asked:
            found["together"] = Together(knobs.together).fit(signals)
    own = {d.name: d.fit(panel, expected) for d in own_detectors(settings)}
    return found | own


def level_where_unknown(panel: Panel, expected: Floats) -> Floats:
    """``expected`` with the series' own median where most of what was measured has none.

    A history of hours has no day before to be compared with. Its level is what the champion of such
    a series forecasts, and one point of many hardly moves a median.
    """
    measured = ~np.isnan(panel.values)
    told = (measured & ~np.isnan(expected)).sum(axis=1)
    few = (told < _KNOWN_SHARE * measured.sum(axis=1)) & measured.any(axis=1)
    if not few.any():
        return expected
    out = expected.copy()
    level = pd.DataFrame(panel.values[few]).median(axis=1).to_numpy(dtype=np.float64)
    out[few] = np.where(np.isnan(expected[few]), level[:, None], expected[few])
    return out
