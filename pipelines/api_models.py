"""A caller's models and knobs laid over the settings: names as the configuration has them, or
instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from models.base import Detector, Forecaster
from pipelines.api_data import Config
from pipelines.errors import ConfigError
from pipelines.plugins import Made, load
from pipelines.settings import Settings, load_settings

__all__ = ["Detectors", "Forecasters", "with_backtest", "with_models"]

Forecasters = Sequence[str | Forecaster]
Detectors = Sequence[str | Detector]


def with_models(
    config: Config | Settings,
    forecasters: Forecasters | None = None,
    detectors: Detectors | None = None,
) -> Settings:
    """The settings with these models instead of the configured ones.

    Raises
    ------
    ConfigError
        The configuration is wrong, or a model: one that is not known, not made so, or twice there.
    """
    settings = config if isinstance(config, Settings) else load_settings(config)
    settings = _with(settings, "forecast", "models", forecasters, Forecaster)
    return _with(settings, "detect", "detectors", detectors, Detector)


def with_backtest(settings: Settings, origins: int | None, horizon_h: float | None) -> Settings:
    """The settings with another backtest.

    Raises
    ------
    ConfigError
        There can be no such backtest.
    """
    asked = {"origins": origins, "horizon_h": horizon_h}
    asked = {name: value for name, value in asked.items() if value is not None}
    champion = settings.forecast.champion
    try:
        changed = replace(champion, backtest=replace(champion.backtest, **asked))
    except ValueError as error:
        raise ConfigError(f"backtest: {error}") from None
    forecast = settings.forecast.model_copy(update={"champion": changed})
    return settings.model_copy(update={"forecast": forecast})


def _with(
    settings: Settings, section: str, key: str, given: Sequence[Any] | None, what: type
) -> Settings:
    if given is None:
        return settings
    where = f"{section}.{key}"
    if isinstance(given, str) or not len(given):
        raise ConfigError(f"{where}: expected a list of names or instances, got {given!r}")
    for model in given:
        if isinstance(model, type):
            raise ConfigError(f"{where}: expected an instance, got the class {model.__name__}")
    names = [m if isinstance(m, str) else Made.of(m) for m in given]
    load_settings({section: {key: names}})  # refuses what the configuration would
    for spec in names:
        if isinstance(spec, Made):
            load(spec, what)
    own: Any = getattr(settings, section)
    return settings.model_copy(update={section: own.model_copy(update={key: tuple(names)})})
