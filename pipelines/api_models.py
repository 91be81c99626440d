"""A caller's models and knobs laid over the settings: names as the configuration has them, or
instances.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from models.base import Forecaster
from pipelines.api_data import Config
from pipelines.errors import ConfigError
from pipelines.settings import Settings, load_settings

__all__ = ["Detectors", "Forecasters", "with_backtest", "with_models"]

Forecasters = Sequence[str | Forecaster]
Detectors = Sequence[Any]
"""Names, or instances of ``models.base.Detector``."""


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
    settings = _with(settings, "forecast", "models", forecasters, ("fit", "predict"))
    return _with(settings, "detect", "detectors", detectors, ("fit", "score"))


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
    settings: Settings, section: str, key: str, given: Sequence[Any] | None, verbs: Iterable[str]
) -> Settings:
    if given is None:
        return settings
    where = f"{section}.{key}"
    if isinstance(given, str) or not len(given):
        raise ConfigError(f"{where}: expected a list of names or instances, got {given!r}")
    for model in given:
        lacking = [m for m in ("name", *verbs) if not hasattr(model, m)]
        if not isinstance(model, str) and (lacking or isinstance(model, type)):
            got = "a class: make an instance of it" if isinstance(model, type) else repr(model)
            raise ConfigError(
                f"{where}: expected names or instances with name, {', '.join(verbs)}; got {got}"
            )
    names = [m if isinstance(m, str) else str(m.name) for m in given]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise ConfigError(f"{where}: {twice!r} comes {names.count(twice)} times; names are unique")
    own: Any = getattr(settings, section)
    if key not in type(own).model_fields:
        raise ConfigError(f"{where}: this release has no such choice; leave it out")
    # names are checked as the file's are; instances are no text and are not for a file
    checked = load_settings({section: {key: [m for m in given if isinstance(m, str)]}})
    del checked
    return settings.model_copy(update={section: own.model_copy(update={key: tuple(given)})})
