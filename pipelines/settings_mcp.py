"""Settings of the MCP server: who may ask, and whether anything may be written."""

from __future__ import annotations

import re

from pydantic import Field, SecretStr, field_validator

from pipelines.settings_notify import Secret
from pipelines.settings_outside import Section

__all__ = ["McpSettings"]

_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]+")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")


class McpSettings(Section):
    """What `foretide mcp` serves; its secrets come from the environment or from files."""

    token: Secret = SecretStr("")
    """Bearer token of the HTTP transport: ``FORETIDE_MCP__TOKEN``."""
    token_file: str = ""
    """A file that holds it, instead."""
    allow_writes: bool = False
    """Offer `apply` and `release`; every call needs the approval token."""
    approval_token: Secret = SecretStr("")
    """``FORETIDE_MCP__APPROVAL_TOKEN``; known to the people who approve, not to the client."""
    approval_token_file: str = ""
    allowed_hosts: tuple[str, ...] = ()
    """Further names that requests may be addressed to, e.g. an ingress'; loopback always is."""
    allowed_origins: tuple[str, ...] = ()
    """Web pages that may ask, ``https://HOST``; none but loopback's without it."""
    timeout_s: float = Field(default=60.0, gt=0, le=600)
    """After which a question is answered that it takes too long."""

    @field_validator("allowed_hosts", "allowed_origins")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not (_HOST.fullmatch(name) or _ORIGIN.fullmatch(name)):
                raise ValueError(f"expected a host, or an origin as https://HOST, got {name!r}")
        return names
