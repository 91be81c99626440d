"""A registered version as an MLflow model: what it asks for, what it answers.

``mlflow.pyfunc.load_model("models:/foretide-forecaster@champion").predict(frame)`` in a notebook:

==========  ======================================  ============================================
family      a row in                                rows out
==========  ======================================  ============================================
forecaster  ``n_steps``; ``workload``, or all       ``workload, metric, ts``, the quantiles: the
                                                    ``n_steps`` steps after the training's end
detector    ``workload, metric, ts`` (ISO 8601),    ``workload, metric, ts, score, lower, upper``
            ``value``, ``expected`` (or NaN)        of the band, on the scale of models/base.py
==========  ======================================  ============================================

A bundle is read when it is asked for, so 10,000 workloads need not fit in memory. What a forest or
the joint score says needs all of a workload's metrics: ``foretide score``. One of your own is
asked where the environment names it: ``FORETIDE_FORECAST__MODELS``, ``FORETIDE_EXTENSIONS_PATH``.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.frames import QUANTILES, quantile_column
from features.panel import Panel
from models.band import Band
from models.base import Baselines
from models.bundle import load
from models.bundle_index import read_index
from models.champion import Champions
from pipelines.adapters.tracking import Example
from pipelines.learning import forecasters
from pipelines.settings import Settings, load_settings
from pipelines.settings_names import FORECASTERS

__all__ = ["Served", "configured", "example_of"]

_KEY = ["workload", "metric"]
_TRIED = 50
_SERIES = {"workload": "a/b/c/d", "metric": "m"}
_MOMENT = pd.Timestamp("2026-01-01", tz="UTC").as_unit("ms")
_FORECAST = pd.DataFrame([_SERIES | {"ts": _MOMENT} | {quantile_column(q): 0.0 for q in QUANTILES}])
_SCORES = pd.DataFrame(
    [_SERIES | {"ts": _MOMENT} | dict.fromkeys(("score", "lower", "upper"), 0.0)]
)


_SETTINGS: ContextVar[Settings | None] = ContextVar("settings", default=None)


@contextmanager
def configured(settings: Settings) -> Generator[None]:
    """Versions are asked with these settings, not with those of the environment."""
    token = _SETTINGS.set(settings)
    try:
        yield
    finally:
        _SETTINGS.reset(token)


class Served:
    """What MLflow calls; ``root`` is the folder of a version's bundles."""

    def __init__(self, root: Path) -> None:
        """Read nothing yet."""
        self._root = root

    def predict(
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer a frame as the module says.

        Raises
        ------
        ValueError
            The version does not load, or knows none of the workloads.
        """
        del params
        told = model_input["workload"].dropna() if "workload" in model_input else ()
        wanted = sorted({str(name) for name in told}) or None
        settings = _every_model(_SETTINGS.get() or load_settings())
        frames = [
            _forecast(bundle, model_input, settings)
            if "champion" in bundle
            else _score(bundle, model_input, settings, step_s)
            for bundle, step_s in _bundles(self._root, wanted)
        ]
        frames = [frame for frame in frames if len(frame)]
        if not frames:
            raise ValueError(f"nothing is known of {', '.join(wanted or ('any workload',))}")
        return pd.concat(frames, ignore_index=True)


def example_of(root: Path, settings: Settings) -> Example | None:
    """A question that the version has an answer to; nothing where none of the first of each bundle
    has one."""
    index = read_index(root)
    if index is None:
        return None
    table = index.table
    for folder in _folders(root, None):
        first = table.loc[table["bundle"] == folder.name, "workload"].head(_TRIED)
        bundle, meta = load(folder, [str(name) for name in first])
        if "champion" in bundle:
            found = _asked_of_champions(bundle, settings)
        else:
            found = _asked_of_band(bundle, str(meta["as_of"]))
        if found is not None:
            return found
    return None


def _asked_of_champions(bundle: Mapping[str, Baselines], settings: Settings) -> Example | None:
    champions = Champions.from_baselines(bundle)
    values, _ = champions.predict(champions.end, 1, (0.5,), forecasters(settings))
    answered = champions.keys[np.isfinite(values[0, :, 0])]
    if answered.empty:
        return None
    ask = pd.DataFrame({"workload": [str(answered["workload"].iloc[0])], "n_steps": [1]})
    return Example(ask, _FORECAST, frozenset({"workload"}))


def _asked_of_band(bundle: Mapping[str, Baselines], at: str) -> Example | None:
    if "band" not in bundle:
        return None
    band = bundle["band"]
    usable = np.flatnonzero(np.isfinite(band.arrays["threshold"]))
    if not len(usable):
        return None
    level = float(band.arrays["level"][usable[0]])
    row = band.keys.iloc[usable[0]][_KEY].to_dict() | {"ts": at}
    return Example(pd.DataFrame([row | {"value": level, "expected": level}]), _SCORES)


def _forecast(
    bundle: Mapping[str, Baselines], asked: pd.DataFrame, settings: Settings
) -> pd.DataFrame:
    champions = Champions.from_baselines(bundle)
    if not len(champions.chosen):
        return _FORECAST[:0]
    n_steps = int(asked["n_steps"].iloc[0])
    values, _ = champions.predict(champions.end, n_steps, QUANTILES, forecasters(settings))
    keys, step = champions.chosen[_KEY], champions.step
    told = [Panel(keys, champions.end, step, v).to_frame() for v in values]
    columns = {quantile_column(q): p["value"] for q, p in zip(QUANTILES, told, strict=True)}
    return told[0][[*_KEY, "ts"]].assign(**columns)


def _score(
    bundle: Mapping[str, Baselines], asked: pd.DataFrame, settings: Settings, step_s: float | None
) -> pd.DataFrame:
    if "band" not in bundle:
        return _SCORES[:0]
    band = bundle["band"]
    known = pd.MultiIndex.from_frame(band.keys[_KEY])
    mine = asked[pd.MultiIndex.from_frame(asked[_KEY].astype("str")).isin(known)]
    if mine.empty:
        return _SCORES[:0]
    ts = pd.to_datetime(mine["ts"], utc=True, format="ISO8601").dt.as_unit("ms")
    rows = mine[[*_KEY, "value"]].assign(ts=ts)
    step = None if step_s is None else pd.Timedelta(step_s, "s")
    panel = Panel.from_frame(rows, step=step)
    expected = rows.assign(value=mine["expected"].to_numpy(dtype=np.float64))
    told = np.full(panel.values.shape, np.nan)
    if np.isfinite(expected["value"]).any():
        other = Panel.from_frame(expected, step=panel.step, start=panel.start, end=panel.end)
        row = pd.MultiIndex.from_frame(panel.keys).get_indexer(pd.MultiIndex.from_frame(other.keys))
        told[row] = other.values
    scored = Band(settings.detect.band).score(band, panel, told)
    every = panel.keys.loc[np.repeat(np.arange(panel.n_series), panel.n_steps)]
    out = every.assign(
        cell=panel.times[np.tile(np.arange(panel.n_steps), panel.n_series)],
        score=scored.score.ravel(),
        lower=scored.lower.ravel(),
        upper=scored.upper.ravel(),
    )
    told_of = (
        rows[[*_KEY, "ts"]].drop_duplicates().assign(cell=lambda r: r["ts"].dt.floor(panel.step))
    )
    return told_of.merge(out, on=[*_KEY, "cell"]).drop(columns="cell")


def _bundles(
    root: Path, workloads: Collection[str] | None
) -> Iterator[tuple[Mapping[str, Baselines], float | None]]:
    for folder in _folders(root, workloads):
        bundle, meta = load(folder, None if workloads is None else sorted(workloads))
        yield bundle, meta.get("step_s")


def _folders(root: Path, workloads: Collection[str] | None) -> list[Path]:
    index = read_index(root)
    if index is None:  # of an earlier release
        return sorted(p for p in root.glob("*") if p.is_dir())
    return [root / name for name in index.holding(workloads)]


def _every_model(settings: Settings) -> Settings:
    """A version may need a model that this machine's configuration does not name; of the user's
    own only those that it names, since what a version says of code is nothing to us."""
    every = tuple(dict.fromkeys((*FORECASTERS, *settings.forecast.models)))
    forecast = settings.forecast.model_copy(update={"models": every})
    return settings.model_copy(update={"forecast": forecast})
