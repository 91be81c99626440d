"""EventBridge: one event a message, source ``foretide``, the kind as its detail type.

https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html: an entry is at most
256 KB, and an answer of 200 may still say that an entry failed.
"""

from __future__ import annotations

from typing import Any

from pipelines.adapters.notify.aws_errors import explained
from pipelines.adapters.notify.message import Message, clean
from pipelines.adapters.notify.payload import encoded
from pipelines.errors import DeliveryError

__all__ = ["DETAIL_TYPES", "EventBridgeChannel"]

_BYTES_MAX = 256 * 1024 - 4096
_LATER = frozenset({"ThrottlingException", "InternalFailure", "InternalException"})
DETAIL_TYPES = {
    "opened": "Foretide Trouble Opened",
    "worse": "Foretide Trouble Worse",
    "closed": "Foretide Trouble Closed",
    "digest": "Foretide Digest",
    "test": "Foretide Test",
}


class EventBridgeChannel:
    """One event bus."""

    def __init__(self, client: Any, bus: str, who: str = "the AWS credentials") -> None:
        """``client``: botocore's; ``bus``: a name or an ARN."""
        self._client = client
        self.where = bus
        self._who = who

    def send(self, message: Message) -> None:
        """Put one event.

        Raises
        ------
        DeliveryError
            EventBridge refused it, or did not answer.
        """
        entry = {
            "Source": "foretide",
            "DetailType": DETAIL_TYPES[message.kind],
            "Detail": encoded(message, _BYTES_MAX).decode(),
            "EventBusName": self.where,
            "Time": message.sent_at.to_pydatetime(),
        }
        with explained(f"event bus {self.where}", self._who):
            answer = self._client.put_events(Entries=[entry])
        if answer.get("FailedEntryCount"):
            failed = next((e for e in answer.get("Entries", ()) if e.get("ErrorCode")), {})
            code = str(failed.get("ErrorCode", "no reason"))
            said = clean(f"{code}: {failed.get('ErrorMessage', '')}", 200)
            raise DeliveryError(
                f"event bus {self.where} refused the event: {said}", is_lasting=code not in _LATER
            )

    def probe(self) -> str:
        """Whether the bus is there."""
        with explained(f"event bus {self.where}", self._who):
            found = self._client.describe_event_bus(Name=self.where)
        return f"event bus {found.get('Name', self.where)} is there"
