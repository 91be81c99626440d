"""What AWS says no with, as our error: its code and words, never who signed with what."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from pipelines.adapters.notify.message import clean
from pipelines.errors import DeliveryError

__all__ = ["explained"]

_BAD_MESSAGE = frozenset({"InvalidParameter", "InvalidParameterValue", "ValidationException"})


@contextmanager
def explained(where: str, who: str) -> Generator[None]:
    """Raises ``DeliveryError`` in the place of what botocore raises."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        told = error.response.get("Error", {})
        code = str(told.get("Code", ""))
        said = clean(f"{code}: {told.get('Message', '')}", 200)
        text, is_lasting = f"{where} refused {who}: {said}", code in _BAD_MESSAGE
    except BotoCoreError as error:
        text, is_lasting = f"no answer from {where}: {clean(str(error), 200)}", False
    else:
        return
    # out here: the answer with its headers must not travel along as the context
    raise DeliveryError(text, is_lasting=is_lasting)
