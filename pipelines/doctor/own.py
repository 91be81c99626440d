"""Classes of the user's own: whether what the configuration names is there and can be used."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.doctor.check import Check
from pipelines.errors import ForetideError
from pipelines.extensions import own_detectors, own_forecasters, own_source
from pipelines.plugins import is_spec
from pipelines.settings import Settings

__all__ = ["check_own"]


def check_own(settings: Settings) -> Iterator[Check]:
    """One check, where the configuration names any."""
    named = (settings.source.kind, *settings.forecast.models, *settings.detect.detectors)
    specs = [name for name in named if is_spec(name)]
    if not specs:
        return
    try:
        own_forecasters(settings)
        own_detectors(settings)
        if is_spec(settings.source.kind):
            own_source(settings)
    except ForetideError as error:
        yield Check("extensions", "fail", str(error), "correct the class, or extensions_path")
        return
    yield Check("extensions", "ok", ", ".join(specs))
