"""Any server that takes a JSON POST: ``foretide.notice/1``, signed.

The signature is the HMAC-SHA256 of ``TIMESTAMP.BODY`` under the shared secret, in the header
``X-Foretide-Signature: t=TIMESTAMP,v1=HEX``; the timestamp lets a receiver refuse what is old, and
``X-Foretide-Delivery`` is the same for a message that comes twice.
"""

from __future__ import annotations

import hashlib
import hmac

from pipelines.adapters.notify.message import Message
from pipelines.adapters.notify.payload import encoded
from pipelines.adapters.notify.wire import Post

__all__ = ["WebhookChannel", "signature"]

_BYTES_MAX = 1 << 20


class WebhookChannel:
    """One address that takes signed JSON."""

    def __init__(self, post: Post, secret: str, picture_bytes_max: int = 0) -> None:
        """``picture_bytes_max``: pictures up to so many bytes go along as base64; 0: none does.

        Without a secret nothing is signed.
        """
        self._post = post
        self._secret = secret.encode()
        self._picture_bytes_max = picture_bytes_max
        self.where = post.host

    def send(self, message: Message) -> None:
        """Post the payload.

        Raises
        ------
        DeliveryError
            It was not taken.
        """
        body = encoded(message, _BYTES_MAX, self._picture_bytes_max)
        headers = {
            "Content-Type": "application/json",
            "X-Foretide-Event": message.kind,
            "X-Foretide-Delivery": message.message_id,
        }
        if self._secret:
            at_s = int(message.sent_at.timestamp())
            headers["X-Foretide-Signature"] = signature(self._secret, at_s, body)
        self._post.post(body, headers)

    def probe(self) -> str:
        """Whether the host answers."""
        return self._post.probe()


def signature(secret: bytes, at_s: int, body: bytes) -> str:
    """``t=1780300800,v1=…``: the header of a body sent at a Unix time."""
    digest = hmac.new(secret, b"%d." % at_s + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"
