"""Where Datadog is, how it is asked, and a client with the keys."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from pipelines.errors import ConfigError

__all__ = ["DatadogParams", "datadog_client", "principal_of"]

_POINT_LIMIT = 1_500
_SITE = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_ADDRESS = re.compile(r"https?://[^@?#\s]+")
_KEY = re.compile(r"[\w-]+", re.ASCII)
_TAGS = {"cluster": "kube_cluster_name", "namespace": "kube_namespace"}
_KINDS = {
    "kube_deployment": "Deployment",
    "kube_stateful_set": "StatefulSet",
    "kube_daemon_set": "DaemonSet",
    "kube_argo_rollout": "Rollout",
}


@dataclass(frozen=True, slots=True)
class DatadogParams:
    """Where Datadog is, how windows are cut, and how stubbornly it is asked.

    Attributes
    ----------
    site : ``datadoghq.com``, ``datadoghq.eu``, ``us5.datadoghq.com``, …: as in your browser
    server_url : replaces ``https://api.SITE``, e.g. for a proxy
    tag_of : label (``cluster``, ``namespace``) → the tag that has it
    kind_of : tag → the kind of workload whose name is its value; the first that a series has counts
    max_points_per_query : steps of one request; above 1,500 Datadog makes them coarser
    estimate_steps : how many of the last steps an estimate looks at
    rate_wait_max_s : longest wait for the rate limit; Datadog's own periods are up to an hour
    """

    site: str = "datadoghq.com"
    server_url: str = ""
    tag_of: dict[str, str] = field(default_factory=lambda: dict(_TAGS))
    kind_of: dict[str, str] = field(default_factory=lambda: dict(_KINDS))
    max_points_per_query: int = 1_440
    estimate_steps: int = 12
    timeout_s: float = 60.0
    attempts: int = 5
    retry_wait_s: float = 0.5
    retry_wait_max_s: float = 15.0
    rate_wait_max_s: float = 600.0

    def __post_init__(self) -> None:
        """Refuse what Datadog would not serve or what never ends."""
        if not 1 <= self.max_points_per_query <= _POINT_LIMIT:
            raise ValueError(
                f"max_points_per_query must be 1 to {_POINT_LIMIT}, got {self.max_points_per_query}"
            )
        for key in ("estimate_steps", "attempts"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)}")
        for key in ("retry_wait_s", "retry_wait_max_s", "rate_wait_max_s"):
            if not 0 <= getattr(self, key) < float("inf"):
                raise ValueError(f"{key} must be 0 or more seconds, got {getattr(self, key)}")
        if not 0 < self.timeout_s < float("inf"):
            raise ValueError(f"timeout_s must be more than 0 seconds, got {self.timeout_s}")
        if not _SITE.fullmatch(self.site):
            raise ValueError(f"site must be a host name such as datadoghq.eu, got {self.site!r}")
        if self.server_url and not _ADDRESS.fullmatch(self.server_url):
            raise ValueError("server_url must be http(s)://HOST without credentials or query")
        if unknown := sorted(self.tag_of.keys() - _TAGS.keys()):
            raise ValueError(f"tag_of has the keys {', '.join(_TAGS)}, got {unknown[0]!r}")

    @property
    def address(self) -> str:
        """Base address of the API."""
        return (self.server_url or f"https://api.{self.site}").rstrip("/")


def datadog_client(api_key: str, application_key: str, params: DatadogParams) -> Any:
    """A ``datadog_api_client.ApiClient`` that retries nothing and follows no redirect by itself.

    Raises
    ------
    ConfigError
        A key is empty or no key at all; the text does not repeat it.
    """
    keys = {"API key": api_key.strip(), "application key": application_key.strip()}
    for name, key in keys.items():
        if not _KEY.fullmatch(key):
            raise ConfigError(f"Datadog's {name} is {'no key' if key else 'empty'}; set it")
    import urllib3
    from datadog_api_client import ApiClient, Configuration

    configuration = Configuration(
        host=params.address,
        api_key=dict(zip(("apiKeyAuth", "appKeyAuth"), keys.values(), strict=True)),
        request_timeout=params.timeout_s,
        # keys are headers: they must not follow a redirect to another host
        retry_policy=urllib3.Retry(total=0, redirect=False, raise_on_redirect=False),
    )
    return ApiClient(configuration)


def principal_of(api_key: str, application_key: str) -> str:
    """Which keys, told by their ends as Datadog's own pages do."""
    ends = (
        f"…{k[-4:]}" if len(k) > 8 else "…" if k else "(empty)" for k in (api_key, application_key)
    )
    return "API key {} / application key {}".format(*ends)
