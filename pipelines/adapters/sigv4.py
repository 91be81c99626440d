"""Requests to Amazon Managed Service for Prometheus, signed with AWS Signature Version 4.

botocore signs; here is what it takes to let httpx send the very bytes that were signed.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from pipelines.adapters.aws import AwsParams, aws_session, frozen_credentials, principal
from pipelines.errors import ConfigError

if TYPE_CHECKING:
    from botocore.credentials import Credentials

__all__ = ["SigV4Auth", "amp_auth", "is_amp", "region_of"]

# aps-workspaces.REGION.amazonaws.com, FIPS and dual-stack names, VPC endpoints, and the partitions'
# domains one by one: a looser pattern would sign for amazonaws.com.example.org.
_AMP_HOST = re.compile(
    r"(?:vpce-[0-9a-z-]+\.)?aps-workspaces(?:-fips)?\.(?P<region>[a-z]+(?:-[a-z]+)+-\d+)\."
    r"(?:(?:vpce\.)?amazonaws\.(?:com|com\.cn|eu)|api\.aws|api\.amazonwebservices\.(?:com\.cn|eu))"
)
_SIGNATURE = ("Authorization", "X-Amz-Date", "X-Amz-Security-Token")


def region_of(url: str) -> str:
    """The region in the address of an AMP workspace; empty where the address is another one."""
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL:
        return ""
    match = _AMP_HOST.fullmatch(host)
    return match["region"] if match else ""


def is_amp(url: str) -> bool:
    """Whether the address is one of AMP, which answers signed requests only."""
    return bool(region_of(url))


def amp_auth(url: str, params: AwsParams) -> SigV4Auth:
    """Signatures for the workspace at ``url``.

    The region is the address's own (with another one no signature is valid), else
    ``params.region``, else ``AWS_REGION`` or the profile's.

    Raises
    ------
    ConfigError
        No region is known, or as ``aws_session``.
    AccessDenied, SourceUnreachable
        As ``aws_session``.
    """
    params = replace(params, region=region_of(url) or params.region)
    session = aws_session(params)
    region = params.region or session.get_config_variable("region")
    if not region:
        raise ConfigError("AWS region: neither the address nor region nor AWS_REGION names one")
    credentials = session.get_credentials()
    return SigV4Auth(credentials, str(region), principal=principal(params, credentials))


class SigV4Auth(httpx.Auth):
    """Signs every attempt anew, with the credentials as they are then.

    Attributes
    ----------
    principal : who is asking, for messages; holds no secret
    """

    requires_request_body = True

    def __init__(
        self, credentials: Credentials, region: str, *, principal: str, service: str = "aps"
    ) -> None:
        """``credentials`` of botocore; renewed by themselves where they are temporary."""
        self.principal = principal
        self._credentials = credentials
        self._region = region
        self._service = service

    def __repr__(self) -> str:
        """Who signs, and nothing of what with."""
        return f"SigV4Auth({self.principal}, {self._region}, {self._service})"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Put the signature into the request's headers.

        Raises
        ------
        AccessDenied, ConfigError, SourceUnreachable
            There are no credentials to sign with (any more).
        """
        from botocore.auth import SigV4Auth as Signer
        from botocore.awsrequest import AWSRequest

        for name in _SIGNATURE:
            request.headers.pop(name, None)
        _spell_query(request)
        to_sign = AWSRequest(
            method=request.method,
            url=str(request.url),
            data=request.content,
            headers={name: value for name, value in request.headers.items() if _is_signed(name)},
        )
        frozen = frozen_credentials(self._credentials, self.principal)
        Signer(frozen, self._service, self._region).add_auth(to_sign)
        for name in _SIGNATURE:
            if name in to_sign.headers:
                request.headers[name] = to_sign.headers[name]
        yield request


def _is_signed(name: str) -> bool:
    """Other headers may be changed on the way by a proxy, which would break the signature."""
    return name in {"host", "content-type"} or name.startswith("x-amz-")


def _spell_query(request: httpx.Request) -> None:
    """Write the query as the signature spells it: sent and signed are then the same text.

    httpx writes a blank as ``+``, which AWS does not read as one.
    """
    if request.url.query:
        pairs = [
            f"{quote(key, safe='-_.~')}={quote(value, safe='-_.~')}"
            for key, value in request.url.params.multi_items()
        ]
        request.url = request.url.copy_with(query="&".join(pairs).encode())
