"""Calls of CloudWatch's API: paged, retried, counted, and their errors put into our words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

import stamina

from pipelines.adapters.source import FetchReport, shorten
from pipelines.errors import AccessDenied, QueryFailed, SourceError, SourceUnreachable

__all__ = ["Caller", "CloudWatchClient", "CloudWatchParams", "client_config"]

_BUSY = frozenset(
    [
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "LimitExceeded",
        "LimitExceededException",
        "SlowDown",
        "PriorRequestNotComplete",
        "RequestTimeout",
        "RequestTimeoutException",
        "InternalFailure",
        "InternalServiceError",
        "InternalServiceFault",
        "ServiceUnavailable",
    ]
)
_UNKNOWN_WHO = frozenset(
    [
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "InvalidSignatureException",
        "ExpiredToken",
        "ExpiredTokenException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "AuthFailure",
    ]
)
_NOT_ALLOWED = frozenset(
    [
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "OptInRequired",
        "NotAuthorized",
    ]
)
_NO_CREDENTIALS = ("Credential", "Token", "SSO", "Login")
_NO_ANSWER = ("ConnectionError", "HTTPClientError")


class CloudWatchClient(Protocol):
    """What we use of boto3's ``client("cloudwatch")``."""

    def list_metrics(self, **request: Any) -> Mapping[str, Any]:
        """One page of metrics."""
        ...

    def get_metric_data(self, **request: Any) -> Mapping[str, Any]:
        """One page of samples."""
        ...


@dataclass(frozen=True, slots=True)
class CloudWatchParams:
    """What is asked of whom, in which pieces and how stubbornly.

    Attributes
    ----------
    account_ids
        Source accounts of a monitoring account (cross-account observability); empty: its own
        account, or with ``include_linked_accounts`` every account that is linked to it.
    max_points_per_chunk : bounds steps × queries of one chunk, and with it our memory
    list_reuse_s : how long a listing of metrics is used again within one process
    retention_margin_s : how long before samples are dropped we no longer count on them
    attempts, retry_wait_s, retry_wait_max_s, retry_total_s
        Of one request, after botocore's own retries.
    """

    account_ids: tuple[str, ...] = ()
    include_linked_accounts: bool = False
    max_points_per_chunk: int = 2_000_000
    list_reuse_s: float = 600.0
    retention_margin_s: float = 600.0
    attempts: int = 5
    retry_wait_s: float = 1.0
    retry_wait_max_s: float = 30.0
    retry_total_s: float = 180.0

    def __post_init__(self) -> None:
        """Refuse values that mean nothing or never end."""
        for key in ("max_points_per_chunk", "attempts"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)}")
        for key in ("list_reuse_s", "retention_margin_s", "retry_wait_s", "retry_wait_max_s"):
            if not 0 <= getattr(self, key) < inf:
                raise ValueError(f"{key} must be 0 or more seconds, got {getattr(self, key)}")
        if not 0 < self.retry_total_s < inf:
            raise ValueError(f"retry_total_s must be more than 0 seconds, got {self.retry_total_s}")
        for account in self.account_ids:
            if len(account) != 12 or not account.isdecimal():
                raise ValueError(f"account_ids must have twelve digits each, got {account!r}")


def client_config(connect_timeout_s: float = 10.0, read_timeout_s: float = 60.0) -> Any:
    """The botocore ``Config`` that a CloudWatch client should have.

    Retry mode ``adaptive``: botocore slows down when CloudWatch throttles; what still comes
    through is backed off and counted here.
    """
    from botocore.config import Config

    return Config(
        retries={"mode": "adaptive", "max_attempts": 5},
        connect_timeout=connect_timeout_s,
        read_timeout=read_timeout_s,
    )


class _TransientError(Exception):
    def __init__(self, failure: SourceError) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Caller:
    """Pages of one client's answers."""

    def __init__(self, client: CloudWatchClient, params: CloudWatchParams, principal: str) -> None:
        """``principal`` is who we are, for errors."""
        self._client = client
        self._params = params
        self.principal = principal or "the AWS credentials in use"

    def list_metrics(
        self, request: Mapping[str, Any]
    ) -> Iterator[tuple[Mapping[str, Any], FetchReport]]:
        """Pages of ListMetrics."""
        yield from self._pages("ListMetrics", self._client.list_metrics, request)

    def get_metric_data(
        self, request: Mapping[str, Any]
    ) -> Iterator[tuple[Mapping[str, Any], FetchReport]]:
        """Pages of GetMetricData."""
        yield from self._pages("GetMetricData", self._client.get_metric_data, request)

    def denied(self, action: str, said: str) -> AccessDenied:
        """The error of who is known and may not."""
        return AccessDenied(
            f"{self.principal} may not do cloudwatch:{action}: {shorten(said)}; "
            f"allow that action in its IAM policy"
        )

    def _pages(
        self,
        action: str,
        call: Callable[..., Mapping[str, Any]],
        request: Mapping[str, Any],
    ) -> Iterator[tuple[Mapping[str, Any], FetchReport]]:
        token: str | None = None
        while True:
            more = {"NextToken": token} if token else {}
            page, retries = self._ask(action, call, {**request, **more})
            yield page, FetchReport(queries=1, retries=retries)
            last, token = token, page.get("NextToken")
            if not token:
                return
            if token == last:
                raise QueryFailed(f"CloudWatch answered {action} with the same NextToken twice")

    def _ask(
        self, action: str, call: Callable[..., Mapping[str, Any]], request: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], int]:
        params = self._params
        tries = 0
        try:
            for attempt in stamina.retry_context(
                on=_TransientError,
                attempts=params.attempts,
                timeout=params.retry_total_s,
                wait_initial=params.retry_wait_s,
                wait_max=params.retry_wait_max_s,
                wait_jitter=params.retry_wait_s,
            ):
                with attempt:
                    tries = attempt.num
                    page = self._once(action, call, request)
                    inner: int = page.get("ResponseMetadata", {}).get("RetryAttempts", 0)
                    return page, tries - 1 + inner
        except _TransientError as error:
            often = f" ({tries} attempts)" if tries > 1 else ""
            raise type(error.failure)(f"{error.failure}{often}") from error.__cause__
        raise AssertionError("stamina ends by an answer or an error")

    def _once(
        self, action: str, call: Callable[..., Mapping[str, Any]], request: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call(**request)
        except ClientError as error:
            raise self._refused(action, error.response) from error
        except BotoCoreError as error:
            raise self._unasked(action, error) from error

    def _refused(self, action: str, response: Mapping[str, Any]) -> Exception:
        code = str(response.get("Error", {}).get("Code", ""))
        said = str(response.get("Error", {}).get("Message", "")) or code
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        failure = QueryFailed(f"CloudWatch refused {action}: {code}: {shorten(said)}")
        if code in _BUSY or status == 429 or status >= 500:
            return _TransientError(failure)
        if code in _UNKNOWN_WHO:
            return AccessDenied(
                f"CloudWatch does not accept {self.principal} for {action}: {code}: "
                f"{shorten(said)}; check the credentials"
            )
        if code in _NOT_ALLOWED or status in (401, 403):
            return self.denied(action, said)
        return failure

    def _unasked(self, action: str, error: Exception) -> Exception:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        if any(name in _NO_ANSWER for name in kinds):
            return _TransientError(
                SourceUnreachable(f"no answer from CloudWatch to {action}: {shorten(str(error))}")
            )
        if any(word in kinds[0] for word in _NO_CREDENTIALS):
            return AccessDenied(
                f"{self.principal}: no AWS credentials for {action}: {shorten(str(error))}"
            )
        return QueryFailed(f"CloudWatch could not be asked for {action}: {shorten(str(error))}")
