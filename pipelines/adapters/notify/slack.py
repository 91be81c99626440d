"""Slack by an incoming webhook: Block Kit, every name escaped, nobody mentioned.

https://docs.slack.dev/messaging/formatting-message-text: ``&``, ``<`` and ``>`` are Slack's control
characters; ``verbatim`` turns off what it would make of bare names and links. An incoming webhook
takes no file: a picture is shown where it has a URL that Slack can read, else its place is named.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pipelines.adapters.notify.message import Message, clean, in_words
from pipelines.adapters.notify.wire import Post
from pipelines.errors import DeliveryError

__all__ = ["SlackChannel", "escaped"]

_SECTION = 2900
_TEXT_MAX = 3000
_URL_MAX = 3000
_MENTION = re.compile(r"@(?=here|channel|everyone|\w)", re.IGNORECASE)
_SIGNS = {"critical": "\N{LARGE RED CIRCLE}", "warning": "\N{LARGE ORANGE DIAMOND}"}
_STAR = "\u2217"  # looks the same, and ends nothing bold
_CLOSED = "\N{WHITE HEAVY CHECK MARK}"


class SlackChannel:
    """One incoming webhook, which is one Slack channel."""

    def __init__(self, post: Post) -> None:
        """``post``: to the webhook's address, which is a secret."""
        self._post = post
        self.where = post.host

    def send(self, message: Message) -> None:
        """Post the blocks.

        Raises
        ------
        DeliveryError
            Slack did not take them.
        """
        has_image = message.picture is not None and 0 < len(message.picture.url) <= _URL_MAX
        try:
            self._send(_body(message, with_image=has_image))
        except DeliveryError as error:
            if not (has_image and error.is_lasting):
                raise
            # Slack refuses a whole message whose picture it cannot fetch
            self._send(_body(message, with_image=False))

    def _send(self, body: dict[str, Any]) -> None:
        data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        self._post.post(data, {"Content-Type": "application/json; charset=utf-8"})

    def probe(self) -> str:
        """Whether Slack's host answers; that the webhook is alive only a message can tell."""
        return self._post.probe()


def escaped(text: str) -> str:
    """Text that Slack shows as it is: no link, no mention, no code."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # a zero-width space: should a client look for mentions itself, it finds none
    return _MENTION.sub("@\u200b", text).replace("`", "\u02cb")


def _body(message: Message, *, with_image: bool) -> dict[str, Any]:
    picture = message.picture
    shown = in_words(message, headline=False)
    if with_image:
        shown = shown[:-1]  # the address of what is shown below
    blocks: list[dict[str, Any]] = [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": _headline(message), "emoji": True},
        },
        *({"type": "section", "text": _text(part)} for part in _parts(shown)),
    ]
    if picture is not None and with_image:
        alt = clean(f"Evidence: {message.news[0][1].title}", 200)
        blocks.append({"type": "image", "image_url": picture.url, "alt_text": escaped(alt)})
    first = clean(message.news[0][1].title, 150) if message.news else ""
    return {
        "text": escaped(f"{message.headline}: {first}" if first else message.headline),
        "blocks": blocks,
        "link_names": False,
        "parse": "none",
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _headline(message: Message) -> str:
    sign = _CLOSED if message.kind == "closed" else _SIGNS[message.severity]
    return f"{sign} {message.headline}"


def _text(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _parts(lines: list[str]) -> list[str]:
    """Escaped lines, joined into as few sections as their size allows; the first line is bold."""
    parts: list[str] = []
    for at, line in enumerate(lines):
        text = escaped(line)[:_TEXT_MAX]
        if at == 0:
            bare = text.replace("*", _STAR)
            text = f"*{bare}*"
        if parts and len(parts[-1]) + len(text) < _SECTION:
            parts[-1] += f"\n{text}"
        else:
            parts.append(text)
    return parts
