"""Whether the channels that are told of incidents can be reached; nobody is told anything."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from pipelines.adapters.notify.wire import PostParams
from pipelines.adapters.source import shorten
from pipelines.doctor.check import Check
from pipelines.errors import ConfigError, DeliveryError, ForetideError
from pipelines.notices_channels import open_channel
from pipelines.settings_notify import NotifySettings

__all__ = ["check_channels"]

_QUICK = PostParams(attempts=1, timeout_s=5.0)


def check_channels(
    settings: NotifySettings, transport: httpx.BaseTransport | None = None
) -> Iterator[Check]:
    """A check a channel: a host is asked for the headers of its root, a topic and a bus for what
    they are."""
    for name, channel in settings.channels.items():
        title = f"channel {name}"
        try:
            found = open_channel(name, channel, transport=transport, post=_QUICK).probe()
        except DeliveryError as error:
            yield _failed(title, error)
        except ConfigError as error:
            yield Check(title, "fail", shorten(str(error)), f"correct notify.channels.{name}")
        except ForetideError as error:
            yield Check(title, "fail", shorten(str(error)), "correct the credentials or the role")
        else:
            yield Check(title, "ok", shorten(found))


def _failed(title: str, error: DeliveryError) -> Check:
    text = shorten(str(error))
    if any(word in text for word in ("AccessDenied", "AuthorizationError", "not authorized")):
        remedy = "publishing may be allowed all the same: `foretide notify --test` tells"
        return Check(title, "warn", text, remedy)
    return Check(title, "fail", text, "start it, let it through, or correct its address")
