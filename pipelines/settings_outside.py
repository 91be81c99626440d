"""Settings of what lies outside: where metrics come from, where tables and models are kept."""

from __future__ import annotations

import re
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from models.promotion import PromotionParams
from pipelines.adapters.aws import AwsParams
from pipelines.adapters.cloudwatch import CloudWatchParams
from pipelines.adapters.datadog import DatadogParams
from pipelines.adapters.files import FilesParams
from pipelines.adapters.http import HttpParams
from pipelines.adapters.prometheus import PrometheusParams
from pipelines.bill import Budget, Prices
from pipelines.plugins import is_spec

__all__ = [
    "ClusterSettings",
    "IngestSettings",
    "Section",
    "SourceSettings",
    "StoreSettings",
    "TrackingSettings",
]

SourceKind = Literal["prometheus", "cloudwatch", "datadog", "files"]
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class Section(BaseModel):
    """A part of the configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSettings(Section):
    """Where metrics come from."""

    kind: str = "prometheus"
    """One of ``SourceKind``, or ``package.module:Class``, a source of the user's own."""
    options: dict[str, Any] = Field(default_factory=dict[str, Any], repr=False)
    """What a source of the user's own is made with."""
    url: str = "http://127.0.0.1:9090"
    cluster: str = "default"
    """Name of the cluster where the series carry no ``cluster`` label."""
    catalog: str = ""
    """A file of config/metrics by name, or a path to one of your own; empty: named as the kind."""
    metrics: tuple[str, ...] = ()
    """Only these metrics of the catalog; empty means all that have a query."""
    select: dict[Literal["cluster", "namespace"], tuple[str, ...]] = Field(
        default_factory=dict[Literal["cluster", "namespace"], tuple[str, ...]]
    )
    """Only series with one of these label values."""
    split_by: Literal["", "cluster", "namespace"] = ""
    """Ask for one value of ``select`` after the other: smaller queries, a watermark of each."""
    reread_s: float = Field(default=3600, ge=0)
    """How far back from the store's end a run reads again, for samples that came late."""
    headers: dict[str, SecretStr] = Field(default_factory=dict[str, SecretStr])
    """Sent with every request; never shown."""
    tenant: str = ""
    """Sent as ``X-Scope-OrgID``: Mimir, Cortex, Thanos."""
    username: str = ""
    password: SecretStr = SecretStr("")
    http: HttpParams = HttpParams()
    sign: bool | None = None
    """Sign requests with AWS credentials; nothing means: where the address is AMP's."""
    aws: AwsParams = AwsParams()
    prometheus: PrometheusParams = PrometheusParams()
    cloudwatch: CloudWatchParams = CloudWatchParams()
    datadog: DatadogParams = DatadogParams()
    datadog_api_key: SecretStr = SecretStr("")
    """Nothing means ``DD_API_KEY`` of the environment."""
    datadog_application_key: SecretStr = SecretStr("")
    """Nothing means ``DD_APP_KEY`` of the environment."""
    paths: tuple[str, ...] = ()
    """For kind ``files``: files of samples, folders or s3:// prefixes of them."""
    files: FilesParams = FilesParams()

    @field_validator("kind")
    @classmethod
    def _check_kind(cls, kind: str) -> str:
        if kind in get_args(SourceKind) or is_spec(kind):
            return kind
        words = ", ".join(get_args(SourceKind))
        raise ValueError(f"expected one of {words}, or package.module:Class, got {kind!r}")

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            text = value.get_secret_value()
            if not (_TOKEN.fullmatch(name) and text.isascii() and text.isprintable()):
                raise ValueError(f"{name!r} is no header that HTTP allows, or its value is none")
        return headers

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.options and not is_spec(self.kind):
            raise ValueError(f"options are for a kind of package.module:Class, got {self.kind!r}")
        if self.split_by and not self.select.get(self.split_by):
            raise ValueError(f"split_by {self.split_by!r} needs its values in select")
        if self.password.get_secret_value() and not self.username:
            raise ValueError("password needs username")
        if self.tenant and any(name.lower() == "x-scope-orgid" for name in self.headers):
            raise ValueError("tenant and the header X-Scope-OrgID say the same; keep one")
        return self

    @property
    def sent_headers(self) -> dict[str, str]:
        """The headers in the clear, for whoever sends them."""
        tenant = {"X-Scope-OrgID": self.tenant} if self.tenant else {}
        return tenant | {name: value.get_secret_value() for name, value in self.headers.items()}

    @property
    def catalog_name(self) -> str:
        """The catalog that is read."""
        if is_spec(self.kind):
            return self.catalog or "base"  # it says what metrics mean, and no query
        return self.catalog or ("prometheus" if self.kind == "files" else self.kind)

    @property
    def shown(self) -> str:
        """The address without its password."""
        return re.sub(r"//[^@/]*@", "//…@", self.url)


class IngestSettings(Section):
    """How much is pulled, in which pieces, and at what price."""

    samples_per_commit: int = Field(default=4_000_000, gt=0)
    """About so many samples are committed together, but never less than a day of all metrics."""
    budget: Budget = Budget()
    prices: Prices = Prices()


class StoreSettings(Section):
    """Where the tables are kept."""

    path: str = "foretide-data"
    """A folder, or ``s3://bucket/prefix``."""
    keep_days: float | None = Field(default=None, ge=1)
    """How long samples and tables are kept; nothing means for ever."""


class TrackingSettings(Section):
    """Where models are logged; empty means an SQLite file and a folder inside the store."""

    uri: str = ""
    experiment: str = "foretide"
    model_prefix: str = "foretide"
    promotion: PromotionParams = PromotionParams()
    """Which new version goes live by itself."""


class ClusterSettings(Section):
    """The Kubernetes API of the cluster that plans are for."""

    connect: Literal["no", "kubeconfig", "in_cluster"] = "no"
    """``kubeconfig``: as kubectl does; ``in_cluster``: as the pod's account; ``no``: never."""
    kubeconfig: str = ""
    """A file; empty: ``KUBECONFIG`` of the environment, else ~/.kube/config."""
    context: str = ""
    """Of the kubeconfig; empty: its current one."""
    name: str = ""
    """What this cluster is called in the samples; empty: ``source.cluster``."""
    timeout_s: float = Field(default=30, gt=0)
