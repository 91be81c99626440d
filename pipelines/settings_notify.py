"""Settings of notifications: which channels there are, who is told what, how often."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from pipelines.adapters.aws import AwsParams
from pipelines.notices_terms import NoticeParams, Route
from pipelines.settings_outside import Section

__all__ = [
    "ChannelSettings",
    "EventBridgeSettings",
    "NotifySettings",
    "SlackSettings",
    "SnsSettings",
    "WebhookSettings",
]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")
_BUS = re.compile(
    r"[A-Za-z0-9._/-]{1,256}|arn:aws[a-z-]*:events:[a-z0-9-]+:\d{12}:event-bus/[A-Za-z0-9._/-]+"
)
_ADDRESS = re.compile(r"https?://[^/\s?#]+.*")


def _text(value: Any) -> Any:
    """Text, or a secret already: another type's error would quote what came."""
    if not isinstance(value, str | SecretStr):
        raise ValueError("expected text, got something else (a secret, not shown)")  # noqa: TRY004
    return value


Secret = Annotated[SecretStr, BeforeValidator(_text)]


class _ByUrl(Section):
    url: Secret = SecretStr("")
    """Whoever knows it can write there: give it by the environment."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        if not _ADDRESS.fullmatch(url.get_secret_value()):
            # "got" keeps the error's text from showing what came
            raise ValueError("url: expected http(s)://…, got something else (a secret, not shown)")
        return url

    @model_validator(mode="after")
    def _check_given(self) -> Self:
        if not self.url.get_secret_value():
            raise ValueError("url is missing; set FORETIDE_NOTIFY__CHANNELS__NAME__URL")
        return self


class SlackSettings(_ByUrl):
    """An incoming webhook of Slack."""

    kind: Literal["slack"]


class WebhookSettings(_ByUrl):
    """Any server that takes a JSON POST."""

    kind: Literal["webhook"]
    secret: Secret = SecretStr("")
    """Signs every body; empty: nothing is signed."""
    picture_bytes_max: int = Field(default=0, ge=0, le=500_000)
    """Pictures up to so many bytes go along as base64; 0: none does."""


class SnsSettings(Section):
    """An SNS topic."""

    kind: Literal["sns"]
    topic_arn: str
    endpoint_url: str = ""
    aws: AwsParams = AwsParams()
    """Its region may stay empty: it is the topic's."""

    @field_validator("topic_arn")
    @classmethod
    def _check_topic(cls, arn: str) -> str:
        if not _TOPIC.fullmatch(arn):
            raise ValueError(f"topic_arn: expected arn:aws:sns:REGION:ACCOUNT:NAME, got {arn!r}")
        return arn


class EventBridgeSettings(Section):
    """An EventBridge event bus."""

    kind: Literal["eventbridge"]
    bus: str = "default"
    """Its name, or its ARN where it is another account's."""
    endpoint_url: str = ""
    aws: AwsParams = AwsParams()

    @field_validator("bus")
    @classmethod
    def _check_bus(cls, bus: str) -> str:
        if not _BUS.fullmatch(bus):
            raise ValueError(f"bus: expected the name or ARN of an event bus, got {bus!r}")
        return bus


ChannelSettings = Annotated[
    SlackSettings | WebhookSettings | SnsSettings | EventBridgeSettings,
    Field(discriminator="kind"),
]


class NotifySettings(Section):
    """Who is told of incidents, leaks and shortfalls."""

    channels: dict[str, ChannelSettings] = Field(default_factory=dict[str, ChannelSettings])
    routes: tuple[Route, ...] = ()
    """None: every channel is told everything."""
    per_hour_max: int = 10
    """Messages a channel gets in an hour; what is over comes together in the last of them."""
    stale_h: float = Field(default=6, gt=0)
    """A run whose clock is further from the present, as a back-fill's is, tells nothing."""
    retry_h: float = 24
    settle_min: float = 30
    leak_hours: tuple[float, ...] = (24, 6, 1)
    pictures: bool = True
    picture_url_base: str = ""
    """Where the store's ``pictures/`` are served; empty: channels get the path."""
    picture_presign_h: float = Field(default=0, ge=0, le=168)
    """With a store on S3: URLs that whoever has them can read for so long; 0: none."""

    @field_validator("channels")
    @classmethod
    def _check_names(cls, channels: dict[str, ChannelSettings]) -> dict[str, ChannelSettings]:
        for name in channels:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"a channel's name is 1 to 40 of a-z, 0-9, _ and -, got {name[:60]!r}"
                )
        return channels

    @field_validator("picture_url_base")
    @classmethod
    def _check_base(cls, url: str) -> str:
        if url and not _ADDRESS.fullmatch(url):
            raise ValueError("picture_url_base must be http(s)://…, got something else")
        return url

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        unknown = sorted({c for r in self.routes for c in r.channels} - set(self.channels))
        if unknown:
            raise ValueError(
                f"routes name the channel {unknown[0]!r}, got "
                f"{', '.join(self.channels) or 'none'} in channels"
            )
        _ = self.params  # refuses what cannot be
        return self

    @property
    def params(self) -> NoticeParams:
        """When something is news."""
        return NoticeParams(self.per_hour_max, self.retry_h, self.settle_min, self.leak_hours)
