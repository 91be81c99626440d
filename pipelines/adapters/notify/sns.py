"""SNS: the payload for machines, its text for e-mail, attributes to filter subscriptions by.

https://docs.aws.amazon.com/sns/latest/api/API_Publish.html: at most 256 KB, attributes included; a
subject is ASCII, one line, at most 100 characters.
"""

from __future__ import annotations

import json
from typing import Any

from pipelines.adapters.notify.aws_errors import explained
from pipelines.adapters.notify.message import Message, clean, in_words
from pipelines.adapters.notify.payload import encoded

__all__ = ["SnsChannel"]

_BYTES_MAX = 256 * 1024
_ROOM = 4096
"""Left for the attributes, the subject and the envelope."""
_TEXT_MAX = 8000


class SnsChannel:
    """One topic."""

    def __init__(self, client: Any, topic_arn: str, who: str = "the AWS credentials") -> None:
        """``client``: botocore's, of the topic's region."""
        self._client = client
        self.where = topic_arn
        self._who = who

    def send(self, message: Message) -> None:
        """Publish one message.

        Raises
        ------
        DeliveryError
            SNS refused it, or did not answer.
        """
        wanted: dict[str, Any] = {}
        if self.where.endswith(".fifo"):
            wanted = {"MessageGroupId": "foretide", "MessageDeduplicationId": message.message_id}
        with explained(self.where, self._who):
            self._client.publish(
                TopicArn=self.where,
                Subject=_subject(message),
                MessageStructure="json",
                Message=_structure(message),
                MessageAttributes=_attributes(message),
                **wanted,
            )

    def probe(self) -> str:
        """Whether the topic is there."""
        with explained(self.where, self._who):
            self._client.get_topic_attributes(TopicArn=self.where)
        return f"{self.where} is there"


def _structure(message: Message) -> str:
    """The default is the payload; who reads with eyes gets the text. Its size is that of both."""
    text = "\n".join(in_words(message))[:_TEXT_MAX]
    most = _BYTES_MAX - _ROOM
    while True:
        data = encoded(message, most).decode()
        whole = json.dumps({"default": data, "email": text, "sms": text[:140]}, ensure_ascii=False)
        over = len(whole.encode()) - (_BYTES_MAX - _ROOM)
        if over <= 0:
            return whole
        most = len(data.encode()) - over  # quoting has made it longer


def _subject(message: Message) -> str:
    first = message.news[0][1].title if message.news else ""
    text = clean(f"{message.headline}: {first}" if first else message.headline, 100)
    return "".join(c if " " <= c <= "~" else "?" for c in text.replace("·", "-"))


def _attributes(message: Message) -> dict[str, dict[str, str]]:
    """kind and severity; cluster and namespace where all workloads share them."""
    values = {"kind": message.kind, "severity": message.severity}
    workloads = [w for _, trouble in message.news for w in trouble.workloads]
    for place, name in enumerate(("cluster", "namespace")):
        found = {w.split("/")[place] for w in workloads if w.count("/") == 3}
        if len(found) == 1 and (only := clean(found.pop(), 200)):
            values[name] = only
    return {k: {"DataType": "String", "StringValue": v} for k, v in values.items()}
