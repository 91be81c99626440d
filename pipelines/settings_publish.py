"""Settings of publishing: which series, how many at most, and where they are sent."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from features.frames import QUANTILES
from pipelines.adapters.aws import AwsParams
from pipelines.adapters.cloudwatch_metrics import PutParams
from pipelines.adapters.http import HttpParams
from pipelines.adapters.remote_write import RemoteWriteParams
from pipelines.errors import ConfigError
from pipelines.moments import parse_duration
from pipelines.series.names import NAMES
from pipelines.settings_outside import Section, SourceSettings

__all__ = ["CloudWatchMetricsSettings", "PublishSettings", "RemoteWriteSettings"]


class RemoteWriteSettings(Section):
    """A server that takes Prometheus remote write; who we are to it is said as in ``source``."""

    url: str = ""
    """The whole write address; empty: nothing is sent."""
    headers: dict[str, SecretStr] = Field(default_factory=dict[str, SecretStr])
    tenant: str = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    http: HttpParams = HttpParams()
    sign: bool | None = None
    aws: AwsParams = AwsParams()
    send: RemoteWriteParams = RemoteWriteParams()

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        _ = self.as_source
        return self

    @property
    def as_source(self) -> SourceSettings:
        """The same server as a source is written: one client, one set of rules."""
        same = ("url", "headers", "tenant", "username", "password", "http", "sign", "aws")
        try:
            return SourceSettings(**{key: getattr(self, key) for key in same})
        except ValidationError as error:  # its own text would show what was given
            text = str(error.errors(include_url=False, include_input=False)[0]["msg"])
        raise ValueError(text.removeprefix("Value error, "))


class CloudWatchMetricsSettings(Section):
    """CloudWatch's own metrics: each costs money by the month, so few are sent, summed up."""

    enabled: bool = False
    namespace: str = Field(default="Foretide", pattern=r"[A-Za-z0-9._/#-]{1,255}")
    names: tuple[str, ...] = (
        "foretide_incidents",
        "foretide_run_failed",
        "foretide_run_last_success_timestamp_seconds",
        "foretide_valid_until_timestamp_seconds",
    )
    dimensions: tuple[str, ...] = ("cluster", "severity", "flow", "table")
    """Labels that are kept; over all others one number is made, as docs/publishing.md says."""
    usd_per_metric_month: float = Field(default=0.30, ge=0)
    """What one metric costs in a month."""
    aws: AwsParams = AwsParams()
    send: PutParams = PutParams()

    @field_validator("names")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            _published(name)
        return names


class PublishSettings(Section):
    """What is published as metrics and files."""

    names: dict[str, bool] = Field(default_factory=dict[str, bool])
    """Families that are not sent: ``{foretide_forecast: false}``; ``*`` stands for any text. Of
    several that match the last counts."""
    metrics: tuple[str, ...] = ()
    """Scores, leaks and forecasts of these metrics only; empty: of all."""
    forecast_horizons: tuple[str, ...] = ("1h", "24h")
    quantiles: tuple[float, ...] = (0.5, 0.9)
    incidents_max: int = Field(default=100, ge=0)
    """Open incidents that get a series of their own, the worst first."""
    series_max: int = Field(default=50_000, gt=0)
    """Nothing at all is sent where it would be more."""
    late_max_min: float = Field(default=60, gt=0)
    """A run whose clock is further from the present is back-filled, and sends nothing unless
    asked: every sample is stamped with the moment of sending."""
    remote_write: RemoteWriteSettings = RemoteWriteSettings()
    cloudwatch: CloudWatchMetricsSettings = CloudWatchMetricsSettings()
    parquet: str = ""
    """A folder or s3://BUCKET/PREFIX for ``forecasts/latest.parquet`` and the like; empty: none."""

    @field_validator("names")
    @classmethod
    def _check_names(cls, names: dict[str, bool]) -> dict[str, bool]:
        for name in names:
            _published(name)
        return names

    @field_validator("forecast_horizons")
    @classmethod
    def _check_horizons(cls, horizons: tuple[str, ...]) -> tuple[str, ...]:
        try:
            lengths = [parse_duration(h, "forecast_horizons") for h in horizons]
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if len(set(lengths)) < len(lengths):
            raise ValueError(f"forecast_horizons must differ, got {', '.join(horizons)}")
        return horizons

    @field_validator("quantiles")
    @classmethod
    def _check_quantiles(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if not set(quantiles) <= set(QUANTILES) or len(set(quantiles)) < len(quantiles):
            known = ", ".join(map(str, QUANTILES))
            raise ValueError(f"quantiles must be some of {known}, each once, got {quantiles}")
        return quantiles

    def sends(self, name: str) -> bool:
        """Whether a family is sent."""
        said = [on for pattern, on in self.names.items() if fnmatchcase(name, pattern)]
        return said[-1] if said else True


def _published(pattern: str) -> None:
    """Refuse a name that nothing has."""
    if not any(fnmatchcase(n, pattern) for n in NAMES):
        raise ValueError(f"{pattern!r} matches no published name; they are in docs/publishing.md")
