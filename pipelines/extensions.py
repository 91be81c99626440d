"""Forecasters, detectors and sources of a user's own, held to what the product expects of them.

What they answer is checked at the door, so that an array of the wrong shape is an error that names
the class, and not a number in a table. What they raise is told with their name.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from features.frames import SAMPLES, FrameError, conform
from features.panel import Floats, Panel
from models.base import Baselines, Detector, Forecaster
from models.budgeted import LINE, NORMAL, Budgeted
from models.bundle import is_name
from models.combination import COMBINATION
from pipelines.adapters.source import Chunk, Estimate, Source, Spec, Window
from pipelines.errors import ConfigError, ForetideError, ModelError, QueryFailed
from pipelines.plugins import is_spec, load
from pipelines.settings import Settings
from pipelines.settings_names import DETECTORS, FORECASTERS

__all__ = [
    "CheckedDetector",
    "CheckedForecaster",
    "CheckedSource",
    "own_detectors",
    "own_forecasters",
    "own_source",
]

_TAKEN = (*FORECASTERS, COMBINATION, "champion", "calibration")


def own_forecasters(settings: Settings) -> list[Forecaster]:
    """Those that ``forecast.models`` names as ``package.module:Class``, in its order.

    Raises
    ------
    ConfigError
        One cannot be loaded, or its name is taken.
    """
    specs = [spec for spec in settings.forecast.models if is_spec(spec)]
    made = [
        CheckedForecaster(load(spec, Forecaster, settings.extensions_path), spec) for spec in specs
    ]
    _check_names(made, _TAKEN)
    return [*made]


def own_detectors(settings: Settings) -> list[Budgeted]:
    """Those that ``detect.detectors`` names as ``package.module:Class``, in its order.

    Raises
    ------
    ConfigError
        One cannot be loaded, or its name is taken.
    """
    specs = [spec for spec in settings.detect.detectors if is_spec(spec)]
    made = [CheckedDetector(load(spec, Detector, settings.extensions_path), spec) for spec in specs]
    _check_names(made, DETECTORS)
    return [Budgeted(detector, settings.detect.own) for detector in made]


def own_source(settings: Settings) -> Source:
    """The one that ``source.kind`` names, made with ``source.options``.

    Raises
    ------
    ConfigError
        It cannot be loaded.
    """
    source = settings.source
    made = load(source.kind, Source, settings.extensions_path, **source.options)
    return CheckedSource(made, source.kind)


@dataclass(frozen=True, slots=True)
class CheckedForecaster:
    """A ``Forecaster`` whose answers are what they have to be; ``spec`` names it in errors."""

    forecaster: Forecaster
    spec: str

    @property
    def name(self) -> str:
        """Its own."""
        return self.forecaster.name

    def fit(self, panel: Panel) -> Baselines:
        """See ``Forecaster``; raises ``ModelError`` where it fails or gives no baselines."""
        with _named(self.spec, "fit"):
            learned = self.forecaster.fit(panel)
        return _checked(learned, panel, self.name, self.spec)

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        """See ``Forecaster``; raises ``ModelError`` where it fails or gives no such quantiles."""
        with _named(self.spec, "predict"):
            told = self.forecaster.predict(baselines, start, n_steps, quantiles)
            told = np.asarray(told, dtype=np.float64)
        _check_shape(told, (len(quantiles), len(baselines.keys), n_steps), self.spec, "predict")
        if (np.diff(told[np.argsort(quantiles)], axis=0) < 0).any():
            raise ModelError(f"{self.spec}: predict: expected quantiles that never cross; they do")
        return told


@dataclass(frozen=True, slots=True)
class CheckedDetector:
    """A ``Detector`` whose answers are what they have to be; ``spec`` names it in errors."""

    detector: Detector
    spec: str

    @property
    def name(self) -> str:
        """Its own."""
        return self.detector.name

    def fit(self, panel: Panel, expected: Floats) -> Baselines:
        """See ``Detector``; raises ``ModelError`` where it fails or gives no baselines."""
        with _named(self.spec, "fit"):
            learned = self.detector.fit(panel, expected)
        return _checked(learned, panel, self.name, self.spec)

    def score(self, baselines: Baselines, panel: Panel, expected: Floats) -> Floats:
        """See ``Detector``; raises ``ModelError`` where it fails or gives no such scores."""
        with _named(self.spec, "score"):
            raw = np.asarray(self.detector.score(baselines, panel, expected), dtype=np.float64)
        _check_shape(raw, panel.values.shape, self.spec, "score")
        if np.isinf(raw).any():
            raise ModelError(f"{self.spec}: score: expected finite numbers or NaN; got infinity")
        return raw


@dataclass(frozen=True, slots=True)
class CheckedSource:
    """A ``Source`` whose chunks are samples tables; ``spec`` names it in errors."""

    source: Source
    spec: str

    def estimate(self, spec: Spec, window: Window) -> Estimate:
        """See ``Source``; raises ``QueryFailed`` where it fails."""
        with _named(self.spec, "estimate", QueryFailed):
            told = self.source.estimate(spec, window)
        if not isinstance(told, Estimate):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise QueryFailed(f"{self.spec}: estimate: expected an Estimate; got {_kind(told)}")
        return told

    def fetch(self, spec: Spec, window: Window) -> Iterator[Chunk]:
        """See ``Source``; raises ``QueryFailed`` where it fails, or gives what is no samples."""
        with _named(self.spec, "fetch", QueryFailed):
            for chunk in self.source.fetch(spec, window):
                yield self._checked(chunk)

    def _checked(self, chunk: Chunk) -> Chunk:
        if not isinstance(chunk, Chunk):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise QueryFailed(f"{self.spec}: fetch: expected a Chunk; got {_kind(chunk)}")
        try:
            return replace(chunk, samples=conform(chunk.samples, SAMPLES))
        except FrameError as error:
            raise QueryFailed(f"{self.spec}: fetch: {error}") from error


@contextmanager
def _named(spec: str, method: str, kind: type[ForetideError] = ModelError) -> Generator[None]:
    """Whatever a user's class raises is told with its name; what we raise on purpose stays."""
    try:
        yield
    except ForetideError:
        raise
    except Exception as error:
        raise kind(f"{spec}: {method} failed: {type(error).__name__}: {error}") from error


def _checked(learned: Baselines, panel: Panel, name: str, spec: str) -> Baselines:
    """The baselines under the model's own name, if they can be kept as plain data."""
    if not isinstance(learned, Baselines):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ModelError(f"{spec}: fit: expected Baselines; got {_kind(learned)}")
    arrays = {key: np.asarray(array) for key, array in learned.arrays.items()}
    for key, array in arrays.items():
        if not is_name(key) or key in {NORMAL, LINE}:
            raise ModelError(
                f"{spec}: fit: expected names of arrays of letters, digits, _ and -; got {key!r}"
            )
        if array.ndim == 0 or len(array) != panel.n_series or array.dtype.hasobject:
            raise ModelError(
                f"{spec}: fit: expected {panel.n_series} rows of numbers in {key!r}, one a series; "
                f"got {array.dtype} of shape {array.shape}"
            )
    return replace(
        learned, model=name, keys=panel.keys, arrays=arrays, meta=_plain(learned.meta, spec)
    )


def _plain(meta: Mapping[str, Any], spec: str) -> Mapping[str, Any]:
    try:
        return json.loads(json.dumps(dict(meta), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{spec}: fit: expected meta that is JSON; {error}") from error


def _check_shape(found: Floats, wanted: tuple[int, ...], spec: str, method: str) -> None:
    if found.shape != wanted:
        raise ModelError(
            f"{spec}: {method}: expected an array of shape {wanted}; got {found.shape}"
        )


def _check_names(made: Sequence[CheckedForecaster | CheckedDetector], taken: Sequence[str]) -> None:
    names = list(taken)
    for one in made:
        name = one.name
        if not is_name(str(name)):
            raise ConfigError(
                f"{one.spec}: expected a name of letters, digits, _ and -; got {name!r}"
            )
        if name in names:
            raise ConfigError(f"{one.spec}: its name {name!r} is taken; choose another")
        names.append(name)


def _kind(found: object) -> str:
    return type(found).__name__
