"""Who we are to AWS: one botocore session for every AWS adapter, and words that name it.

The chain is botocore's own: environment, profile, web identity (IRSA), container endpoint (Pod
Identity, ECS), instance role. A role of another account is assumed on top of it. Temporary
credentials are renewed by botocore when they are asked for shortly before they end, so whoever
signs asks each time anew.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.adapters.source import shorten
from pipelines.errors import AccessDenied, ConfigError, ForetideError, SourceUnreachable

if TYPE_CHECKING:  # botocore costs 0.2 s, and who reads files or Prometheus never needs it
    from botocore.credentials import Credentials, ReadOnlyCredentials
    from botocore.session import Session

__all__ = [
    "AwsParams",
    "Caller",
    "aws_credentials",
    "aws_session",
    "frozen_credentials",
    "new_session",
    "principal",
    "who_am_i",
]

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_NO_CREDENTIALS = (
    "no AWS credentials found; set a profile, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give "
    "the pod a role (IRSA, Pod Identity)"
)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class AwsParams:
    """Which AWS credentials to use; every key may stay empty, and botocore then looks for itself.

    Attributes
    ----------
    region : of the service and of STS; empty: ``AWS_REGION``, or the profile's
    profile : of the AWS config files; goes before credentials in the environment
    role_arn : a role to assume with the credentials that were found, also in another account
    external_id : what the role's trust policy asks for
    session_name : by which the assumed role shows in the account's audit trail
    sts_endpoint_url : another STS, e.g. a VPC endpoint
    """

    region: str = ""
    profile: str = ""
    role_arn: str = ""
    external_id: str = ""
    session_name: str = "foretide"
    sts_endpoint_url: str = ""

    def __post_init__(self) -> None:
        """Refuse what AWS would refuse, and an external id that would go nowhere."""
        if self.role_arn and not _ROLE.fullmatch(self.role_arn):
            raise ValueError(
                "role_arn must look like arn:aws:iam::123456789012:role/NAME, "
                f"got {self.role_arn!r}"
            )
        if not _SESSION_NAME.fullmatch(self.session_name):
            raise ValueError(
                "session_name must be 2 to 64 letters, digits or any of _+=,.@-, "
                f"got {self.session_name!r}"
            )
        if self.external_id and not _EXTERNAL_ID.fullmatch(self.external_id):
            raise ValueError(
                "external_id must be 2 to 1224 letters, digits or any of _+=,.@:/-, "
                f"got {len(self.external_id)} characters with others among them"
            )
        if self.external_id and not self.role_arn:
            raise ValueError("external_id is for assuming a role: set role_arn too")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who STS says we are, or why it does not say."""

    arn: str = ""
    account: str = ""
    reason: str = ""


def aws_session(params: AwsParams) -> Session:
    """A botocore session with these credentials; its clients renew them by themselves.

    A role is assumed at the first request that needs it, not here.

    Raises
    ------
    ConfigError
        The profile does not exist, there are no credentials, or they are half there.
    AccessDenied, SourceUnreachable
        Whoever hands out the credentials refuses, or does not answer.
    """
    session = new_session(params)
    who = _source(params) or "the AWS credentials"
    found = _explained(session.get_credentials, who)
    if found is None:
        raise ConfigError(_NO_CREDENTIALS)
    if params.role_arn:
        assumed = new_session(params)
        credentials = _assumed(params, session, found)
        assumed.register_component("credential_provider", _Given(credentials))
        return assumed
    return session


def new_session(params: AwsParams | None = None) -> Session:
    """A botocore session that has not looked for credentials yet; no role is assumed in it."""
    from botocore.session import Session

    _quiet()
    params = params or AwsParams()
    session = Session(profile=params.profile or None)
    # Pods get AWS_REGION, which botocore alone among the SDKs does not read.
    region = params.region or os.environ.get("AWS_REGION")
    if region:
        session.set_config_variable("region", region)
    return session


def aws_credentials(params: AwsParams) -> Credentials:
    """The credentials of ``aws_session``, which raises what this raises."""
    return aws_session(params).get_credentials()


def frozen_credentials(credentials: Credentials, who: str) -> ReadOnlyCredentials:
    """Key, secret and token that belong together, renewed where they are about to end.

    Parameters
    ----------
    credentials : of ``aws_credentials``
    who : the principal, for the message

    Raises
    ------
    AccessDenied, ConfigError, SourceUnreachable
        As ``aws_session``: e.g. STS does not let us assume the role.
    """
    return _explained(credentials.get_frozen_credentials, who)


def principal(params: AwsParams, credentials: Credentials) -> str:
    """Who is asking, in words that hold no secret; asks nobody.

    A role by its ARN, a long-lived access key by its last four characters. Temporary keys are not
    named: they change while a run goes on.
    """
    from botocore.credentials import RefreshableCredentials

    source = _source(params)
    if params.role_arn:
        return f"AWS role {params.role_arn}" + (f" (assumed by {source})" if source else "")
    method = str(credentials.method)
    if method == "assume-role-with-web-identity" and not params.profile:
        return f"AWS role {os.environ.get('AWS_ROLE_ARN', '')} (web identity)"
    if not isinstance(credentials, RefreshableCredentials):
        method = f"{method}, access key …{str(credentials.access_key)[-4:]}"
    return f"{source or 'AWS credentials'} ({method})"


def who_am_i(params: AwsParams, timeout_s: float = 3.0) -> Caller:
    """Ask STS for the ARN behind the credentials; every failure is a value with a reason."""
    try:
        session = aws_session(params)
        who = principal(params, session.get_credentials())
        client = _explained(partial(_sts, session, params, timeout_s, 1), who)
        answer = _explained(client.get_caller_identity, who)
    except ForetideError as error:
        return Caller(reason=str(error))
    return Caller(str(answer["Arn"]), str(answer["Account"]))


class _Given:
    """What a botocore session asks for its credentials, when they are already there."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def load_credentials(self) -> Credentials:
        return self._credentials


def _quiet() -> None:
    """Set botocore's loggers, unless somebody has already asked for a level of theirs.

    At DEBUG they get signed headers and answers of STS, secrets included, and whoever turns
    everything to DEBUG must not. A refresh that fails is a warning with a traceback, and we raise
    it in one line.
    """
    for name, level in (("botocore", logging.INFO), ("botocore.credentials", logging.ERROR)):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(level)


def _assumed(params: AwsParams, session: Session, source: Credentials) -> Credentials:
    from botocore.credentials import (
        AssumeRoleCredentialFetcher,
        DeferredRefreshableCredentials,
    )

    extra = {"RoleSessionName": params.session_name}
    if params.external_id:
        extra["ExternalId"] = params.external_id

    def client(_service: str, **keys: Any) -> Any:
        return _sts(session, params, **keys)

    fetcher = AssumeRoleCredentialFetcher(client, source, params.role_arn, extra_args=extra)
    return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")


def _sts(
    session: Session, params: AwsParams, timeout_s: float = 10.0, attempts: int = 3, **keys: Any
) -> Any:
    from botocore.config import Config

    config = Config(
        connect_timeout=timeout_s, read_timeout=timeout_s, retries={"total_max_attempts": attempts}
    )
    url = params.sts_endpoint_url or None
    return session.create_client("sts", endpoint_url=url, config=config, **keys)


def _source(params: AwsParams) -> str:
    return f"AWS profile {params.profile!r}" if params.profile else ""


def _explained(ask: Callable[[], _T], who: str) -> _T:
    """The answer, or our error in the place of whatever botocore and its providers raise."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return ask()
    # Providers read files, parse dates and index answers: those errors come out as they are.
    except (BotoCoreError, ClientError, RuntimeError, OSError, ValueError, KeyError) as error:
        failure = _failure(error, who)
    # Outside of the handler: what the provider said must not travel along as the context.
    raise failure


def _failure(error: Exception, who: str) -> ForetideError:
    from botocore import exceptions as known

    text = shorten(str(error))
    match error:
        case known.ClientError():
            said: dict[str, str] = error.response.get("Error", {})
            text = shorten(f"{said.get('Code', '')}: {said.get('Message', '')}")
            return AccessDenied(f"AWS STS refused {who}: {text}")
        case known.ProfileNotFound():
            return ConfigError(f"{text}; correct profile or AWS_PROFILE")
        case known.NoRegionError():
            return ConfigError(f"{who}: STS needs a region; set region or AWS_REGION")
        case known.HTTPClientError() | known.ConnectionError():
            return SourceUnreachable(f"AWS gave no credentials for {who}: no answer: {text}")
        case known.CredentialRetrievalError() | known.MetadataRetrievalError() | RuntimeError():
            return AccessDenied(f"AWS gave no credentials for {who}: {text}")
        case OSError():
            return ConfigError(
                f"credentials of {who}: {error.filename} cannot be read: {error.strerror}"
            )
        case KeyError():
            return AccessDenied(f"AWS gave no credentials for {who}: the answer has no {text}")
        case ValueError() if not isinstance(error, known.BotoCoreError):
            # e.g. an expiry that is no date: the text may quote what was read
            return ConfigError(f"credentials of {who} cannot be read; check their files and URLs")
        case _:
            return ConfigError(f"credentials of {who} cannot be used: {text}")
