"""What is reached over the network: the source, its metrics, Prefect, MLflow.

Every function gets its client, answers with a ``Check`` and never raises for what the other side
does.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import msgspec
import pandas as pd

from features.metrics import Metric, Role
from features.workloads import with_workload
from pipelines.adapters.aws import (
    AwsParams,
    aws_credentials,
    frozen_credentials,
    principal,
    who_am_i,
)
from pipelines.adapters.http import principal_of
from pipelines.adapters.http_secrets import without_secrets
from pipelines.adapters.source import Source, Spec, Window, shorten
from pipelines.doctor.check import Check
from pipelines.doctor.remedies import AMP_DENIED, HTTP_DENIED, remedy_of_aws
from pipelines.errors import (
    AccessDenied,
    ConfigError,
    ForetideError,
    SourceError,
    SourceUnreachable,
)

__all__ = [
    "Seen",
    "address",
    "ask_metrics",
    "check_aws",
    "check_http",
    "check_source",
    "judge_metrics",
]

_AT_ONCE = 4
_SKEW_S = 60.0
_CONTEXT = (
    "plans and causes know less of the workloads: scrape what should be there; what the cluster "
    "does not have is no harm"
)
_LOST: dict[Role, str] = {
    "demand": "it is not forecast, and no floor follows from it",
    "resource": "its leaks are not found",
    "limit": "how much is left is not known",
    "signal": "its anomalies are not found",
    "state": "plans and causes know less of the workload",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What one metric's query gave: its workloads (or only how many series), or what went wrong.

    ``broken`` is set where it is the source that went wrong, and no query would do better.
    """

    metric: Metric
    workloads: frozenset[str] = frozenset()
    series: int = 0
    unlabelled: int = 0
    error: str = ""
    broken: ForetideError | None = None

    @property
    def is_silent(self) -> bool:
        """Whether it answered, and had nothing at all."""
        return not (self.error or self.series or self.unlabelled)


class _Refusal(msgspec.Struct):
    error: str = ""
    message: str = ""
    """AWS' word for it."""


class _Sample(msgspec.Struct):
    value: tuple[float, str]


class _Vector(msgspec.Struct):
    result: tuple[_Sample]


class _Clock(msgspec.Struct):
    """The answer to the instant query ``vector(time())``."""

    data: _Vector


def check_source(client: httpx.Client, now: pd.Timestamp, *, is_signed: bool = False) -> Check:
    """Whether the query API answers, lets us in, and has the right time."""
    where = address(str(client.base_url))
    try:
        response = client.get("api/v1/query", params={"query": "vector(time())"})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = str(error) or type(error).__name__
        return Check(
            "source", "fail", f"no answer from {where}: {why}", "start it, or correct source.url"
        )
    if response.status_code != 200:
        denied = AMP_DENIED if is_signed else HTTP_DENIED
        return _refused(response, where, principal_of(client) or "the request", denied)
    try:
        server_s = float(msgspec.json.decode(response.content, type=_Clock).data.result[0].value[1])
    except (msgspec.MsgspecError, ValueError):
        detail = f"{where} does not answer as a Prometheus query API does"
        text = without_secrets(response.text, response.request)
        begins = f"it began with {shorten(text, 60)!r}"
        return Check("source", "fail", f"{detail}; {begins}", "correct source.url")
    ahead_s = server_s - now.timestamp()
    if abs(ahead_s) > _SKEW_S:
        way = "ahead of" if ahead_s > 0 else "behind"
        detail = f"{where} answers; its clock is {abs(ahead_s):.0f} s {way} this machine's"
        return Check("source", "warn", detail, "set both clocks by NTP: stamps say what is recent")
    return Check("source", "ok", f"{where} answers")


def check_aws(params: AwsParams, timeout_s: float) -> Check:
    """Whether there are credentials, also of a role that is to be assumed; who AWS says we are."""
    try:
        found = aws_credentials(params)
        frozen_credentials(found, principal(params, found))
    except ForetideError as error:
        return Check("aws", "fail", str(error), remedy_of_aws(error, params))
    caller = who_am_i(params, timeout_s)
    if caller.arn:
        return Check("aws", "ok", f"signed in as {caller.arn}")
    remedy = "credentials may work all the same where STS cannot be reached: see the source below"
    return Check("aws", "warn", shorten(caller.reason), remedy)


def ask_metrics(
    source: Source,
    metrics: Sequence[Metric],
    as_of: pd.Timestamp,
    step: pd.Timedelta,
    *,
    is_billed: bool = False,
) -> list[Seen]:
    """Ask every metric for the last ten minutes (two steps where these are longer).

    Where samples are billed one by one, only how many series there are.
    """
    window = Window.of(as_of - max(pd.Timedelta(minutes=10), 2 * step), as_of, step)

    def ask(metric: Metric) -> Seen:
        try:
            if is_billed:
                return Seen(metric, series=source.estimate(Spec(metric), window).series)
            chunks = list(source.fetch(Spec(metric), window))
        except (SourceError, ConfigError) as error:
            broken = error if isinstance(error, AccessDenied | SourceUnreachable) else None
            return Seen(metric, error=shorten(str(error)), broken=broken)
        frames = [with_workload(c.samples) for c in chunks if len(c.samples)]
        there = frozenset(str(w) for f in frames for w in f["workload"].unique())
        unlabelled = sum(c.report.unlabelled for c in chunks)
        return Seen(metric, there, len(there), unlabelled)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(ask, metrics))


def judge_metrics(seen: Sequence[Seen], catalog: str, doubt: str) -> list[Check]:
    """A check a metric; a failed one in the end where none at all gave a series.

    ``doubt`` asks whether it is the right source.
    """
    every = frozenset[str]().union(*(s.workloads for s in seen))
    silent = [s.metric.name for s in seen if s.metric.role == "state" and s.is_silent]
    checks = [_judge(s, len(every), catalog) for s in seen if s.metric.name not in silent]
    if silent:
        checks.append(Check("context", "warn", f"no series of {', '.join(silent)}", _CONTEXT))
    if seen and not any(s.error or s.series for s in seen):
        checks.append(
            Check(
                "metrics",
                "fail",
                f"none of {len(seen)} metrics has a series with a workload",
                f"{doubt}, and are the queries of catalog {catalog!r} made for its names (see "
                f"config/metrics)?",
            )
        )
    return checks


def check_http(client: httpx.Client, name: str, url: str, key: str) -> Check:
    """Whether a server answers ``url/health``; ``key`` is where its address was set."""
    try:
        response = client.get(f"{url.rstrip('/')}/health")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = str(error) or type(error).__name__
        detail = f"no answer from {address(url)}: {why}"
        return Check(name, "fail", detail, f"start it, or correct {key}")
    if response.status_code >= 500:
        detail = f"{address(url)} answers HTTP {response.status_code}"
        return Check(name, "fail", detail, "its own log says why")
    if response.status_code >= 400:
        detail = f"{address(url)} answers HTTP {response.status_code}"
        return Check(name, "warn", detail, f"check the credentials, and the address in {key}")
    return Check(name, "ok", f"{address(url)} answers")


def address(url: str) -> str:
    """The address without user, password and query: whoever reads it need not know them."""
    try:
        return str(httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None))
    except httpx.InvalidURL:
        return "an address that is none"


def _refused(response: httpx.Response, where: str, who: str, denied: str) -> Check:
    code = response.status_code
    try:
        refusal = msgspec.json.decode(response.content, type=_Refusal)
        said = refusal.error or refusal.message
    except msgspec.MsgspecError:
        said = ""
    said = shorten(without_secrets(said or response.text, response.request), 120)
    said = said or response.reason_phrase
    if code in {401, 403}:
        return Check("source", "fail", f"{where} refused {who}: HTTP {code}: {said}", denied)
    remedy = "its own log says why"
    if 300 <= code < 500:
        remedy = "source.url must be the base address of a query API, without /api/v1"
    return Check("source", "fail", f"{where} answered HTTP {code}: {said}", remedy)


def _judge(seen: Seen, n_workloads: int, catalog: str) -> Check:
    name = f"metric {seen.metric.name}"
    query = f"its query in catalog {catalog!r}"
    if seen.error:
        return Check(name, "fail", seen.error, f"correct {query}, or leave it out: source.metrics")
    nameless = f"{seen.unlabelled} series without a `name` label" if seen.unlabelled else ""
    if not seen.series:
        remedy = f"{_LOST[seen.metric.role]}: scrape it, or change {query}"
        return Check(name, "warn", nameless or "no series", remedy)
    if not seen.workloads:
        return Check(name, "ok", f"{seen.series} series")
    of = f" of {n_workloads}" if len(seen.workloads) < n_workloads else ""
    detail = f"{len(seen.workloads)}{of} workloads"
    if nameless:
        remedy = f"nobody can say whose they are; let {query} give name, kind and namespace"
        return Check(name, "warn", f"{detail}; {nameless} left out", remedy)
    return Check(name, "ok", detail)
