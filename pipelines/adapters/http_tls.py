"""TLS for http.py: whom we trust, which certificate is ours, and why TLS came to no agreement."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx

from pipelines.errors import ConfigError

__all__ = ["TlsFiles", "tls_context", "tls_reason", "unreadable"]


class TlsFiles(NamedTuple):
    """Paths of PEM files, each may be empty; see ``HttpParams``."""

    ca: str
    cert: str
    key: str


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """Trust in ``ca`` or else in the public CAs, and our own certificate.

    Raises
    ------
    ConfigError
        A file cannot be read, or does not hold what its key says.
    """
    try:
        context = (
            ssl.create_default_context(cafile=files.ca) if files.ca else httpx.create_ssl_context()
        )
    except ssl.SSLError:
        raise ConfigError(f"ca_file {files.ca}: expected certificates in PEM") from None
    except OSError as error:
        raise unreadable("ca_file", files.ca, error) from None
    if files.cert:
        _load_pair(context, files)
    return context


def _load_pair(context: ssl.SSLContext, files: TlsFiles) -> None:
    for name, path in (("client_cert_file", files.cert), ("client_key_file", files.key)):
        try:
            if path:
                Path(path).read_bytes()
        except OSError as error:
            raise unreadable(name, path, error) from None
    try:
        # An empty password: OpenSSL would otherwise ask for one on the terminal.
        context.load_cert_chain(files.cert, files.key or None, password="")
    except ssl.SSLError as error:
        raise ConfigError(
            f"client_cert_file {files.cert} and client_key_file {files.key or files.cert}: "
            f"expected a certificate and its own key without a password, in PEM ({error.reason})"
        ) from None


def unreadable(key: str, path: str, error: OSError) -> ConfigError:
    """The error of a file that the configuration names."""
    return ConfigError(f"{key} {path}: cannot be read: {error.strerror}")


def tls_reason(error: BaseException, files: TlsFiles) -> str | None:
    """Why TLS failed, where it did and where trying again is of no use."""
    tls = next((e for e in _chain(error) if isinstance(e, ssl.SSLError)), None)
    if isinstance(tls, ssl.SSLCertVerificationError):
        trusted = f"ca_file {files.ca}" if files.ca else "the public CAs; set ca_file"
        return f"its certificate is not trusted ({tls.verify_message}), going by {trusted}"
    reason = (tls.reason or "") if tls else ""
    if "CERTIFICATE_REQUIRED" in reason:
        return "it asks for a client certificate; set client_cert_file and client_key_file"
    if "ALERT" in reason and files.cert:
        return f"it does not take client_cert_file {files.cert} ({reason})"
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
        return f"it does not speak TLS ({reason}); is it http:// instead of https://?"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
