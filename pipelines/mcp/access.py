"""Who may ask: where the server listens, and secrets that are compared and never shown."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

from fastmcp.server.auth import AccessToken, TokenVerifier
from pydantic import SecretStr

from pipelines.errors import ConfigError

__all__ = ["Bearer", "Place", "Secret", "parse_place", "read_secret"]

_LEAST = 16
_LONGEST = 1024
_PLACE = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]*):)?(?P<port>\d{1,5})")
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Place:
    """Where HTTP is served; port 0 is any that is free."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_place(text: str) -> Place:
    """``HOST:PORT``, ``[::1]:PORT``, or a port alone: of loopback.

    Raises
    ------
    ConfigError
        It is none of these.
    """
    match = _PLACE.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65535:
        raise ConfigError(f"--http: expected HOST:PORT, or a port of 127.0.0.1, got {text[:80]!r}")
    return Place((match["host"] or _LOOPBACK).strip("[]"), int(match["port"]))


@dataclass(frozen=True, slots=True)
class Secret:
    """What a secret is compared by; the secret itself is not kept."""

    digest: bytes = field(repr=False)

    def is_same(self, given: str) -> bool:
        """In a time that tells nothing of it, nor of its length."""
        return hmac.compare_digest(_digest(given), self.digest)


def read_secret(value: SecretStr, file: str, key: str, why: str) -> Secret:
    """The secret ``mcp.KEY``: of the environment (or the configuration), or of a file.

    Raises
    ------
    ConfigError
        There is none, or both, it cannot be read, or it is too short to be one.
    """
    variable = f"FORETIDE_MCP__{key.upper()}"
    text = value.get_secret_value().strip()
    if text and file:
        raise ConfigError(f"mcp: {variable} and mcp.{key}_file say the same; keep one")
    if file:
        try:
            text = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"mcp.{key}_file: {file} cannot be read: {type(error).__name__}"
            ) from None
    if not text:
        raise ConfigError(f"{why}: set {variable}, or name a file in mcp.{key}_file")
    if not _LEAST <= len(text) <= _LONGEST or not text.isascii() or not text.isprintable():
        raise ConfigError(
            f"mcp.{key}: expected {_LEAST} to {_LONGEST} printable ASCII characters, got "
            f"{len(text)}; make one with `openssl rand -hex 32`"
        )
    return Secret(_digest(text))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class Bearer(TokenVerifier):
    """One token for all who may read."""

    def __init__(self, secret: Secret) -> None:
        """``secret`` is compared with what comes."""
        super().__init__()
        self._secret = secret

    async def verify_token(self, token: str) -> AccessToken | None:
        """Nothing where it is another."""
        if not self._secret.is_same(token):
            return None
        return AccessToken(token="(not kept)", client_id="foretide-reader", scopes=[])  # noqa: S106
