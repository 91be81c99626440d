"""From settings to channels that can send; nothing is asked of anybody yet."""

from __future__ import annotations

from typing import Any

import httpx

from pipelines.adapters.aws import AwsParams, aws_session, principal
from pipelines.adapters.notify import Channel
from pipelines.adapters.notify.eventbridge import EventBridgeChannel
from pipelines.adapters.notify.slack import SlackChannel
from pipelines.adapters.notify.sns import SnsChannel
from pipelines.adapters.notify.webhook import WebhookChannel
from pipelines.adapters.notify.wire import Post, PostParams
from pipelines.errors import ConfigError
from pipelines.settings_notify import (
    ChannelSettings,
    EventBridgeSettings,
    SlackSettings,
    SnsSettings,
    WebhookSettings,
)

__all__ = ["open_channel"]

_TIMEOUT_S = 10


def open_channel(
    name: str,
    channel: ChannelSettings,
    *,
    transport: httpx.BaseTransport | None = None,
    post: PostParams | None = None,
) -> Channel:
    """The channel of that name.

    Raises
    ------
    ConfigError, AccessDenied, SourceUnreachable
        There are no credentials, or no region.
    """
    match channel:
        case SlackSettings(url=url):
            return SlackChannel(Post(url.get_secret_value(), post, transport=transport))
        case WebhookSettings(url=url, secret=secret):
            way = Post(url.get_secret_value(), post, transport=transport)
            return WebhookChannel(way, secret.get_secret_value(), channel.picture_bytes_max)
        case SnsSettings():
            region = channel.topic_arn.split(":")[3]
            client, who = _client(name, "sns", channel.aws, channel.endpoint_url, region)
            return SnsChannel(client, channel.topic_arn, who)
        case EventBridgeSettings():
            region = channel.bus.split(":")[3] if channel.bus.startswith("arn:") else ""
            client, who = _client(name, "events", channel.aws, channel.endpoint_url, region)
            return EventBridgeChannel(client, channel.bus, who)


def _client(name: str, service: str, aws: AwsParams, url: str, region: str) -> tuple[Any, str]:
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    retries: Any = {"mode": "standard", "total_max_attempts": 3}
    config = Config(connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries=retries)
    session = aws_session(aws)
    try:
        client = session.create_client(
            service, region_name=region or None, endpoint_url=url or None, config=config
        )
    except (BotoCoreError, ValueError) as error:
        text = " ".join(str(error).split())
    else:
        return client, principal(aws, session.get_credentials())
    raise ConfigError(f"notify.channels.{name}: {text}")
