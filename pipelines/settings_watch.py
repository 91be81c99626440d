"""Settings of what Foretide says of itself: traces and logs."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from pipelines.settings_outside import Section

__all__ = ["WatchSettings"]

_ADDRESS = re.compile(r"https?://[^\s/]+\S*")


class WatchSettings(Section):
    """Where traces go, and how logs look."""

    otlp_endpoint: str = ""
    """Of a collector that takes OTLP over HTTP, e.g. ``http://collector:4318``; empty: what
    ``OTEL_EXPORTER_OTLP_ENDPOINT`` of the environment says, or no traces."""
    otlp_headers: dict[str, SecretStr] = Field(default_factory=dict[str, SecretStr])
    """Sent with every trace; never shown."""
    otlp_timeout_s: float = Field(default=3.0, gt=0, le=30)
    """A collector that does not answer costs a run no more than about this."""
    log_format: Literal["text", "json"] = "text"
    """``json``: one object a line on stderr."""

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, address: str) -> str:
        if address and not _ADDRESS.fullmatch(address):
            raise ValueError(f"expected http://HOST:PORT or https://HOST, got {address!r}")
        return address
