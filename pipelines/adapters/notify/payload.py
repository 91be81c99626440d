"""The machine's form of a message: one JSON object, ``foretide.notice/1``, within a size.

Keys may be added under the same name; a reader that does not know one passes it over. A change that
breaks a reader is another number.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from pipelines.adapters.notify.message import Cause, Kind, Message, Trouble, clean, in_words
from pipelines.errors import DeliveryError

__all__ = ["SCHEMA", "encoded"]

SCHEMA = "foretide.notice/1"
_SIZES = ((50, 20, 1000), (50, 5, 300), (20, 3, 150), (5, 1, 60))
"""Troubles, workloads and causes of each, characters of a text: the first that fits is sent."""


def encoded(message: Message, most_bytes: int, picture_bytes_max: int = 0) -> bytes:
    """The message as UTF-8 JSON of at most ``most_bytes``, the shorter for being too long.

    ``picture_bytes_max``: a picture up to so many bytes goes along as base64.

    Raises
    ------
    DeliveryError
        Not even the shortest form fits.
    """
    for body in _forms(message, picture_bytes_max):
        data = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        if len(data) <= most_bytes:
            return data
    raise DeliveryError(
        f"a message does not fit into {most_bytes} bytes, however short", is_lasting=True
    )


def _forms(message: Message, picture_bytes_max: int) -> Iterator[dict[str, Any]]:
    """From the longest form to the shortest; the picture's bytes are the first to go."""
    picture = message.picture
    if picture is not None and len(picture.png) <= picture_bytes_max:
        whole = _body(message, *_SIZES[0])
        whole["picture"]["png_base64"] = base64.b64encode(picture.png).decode()
        yield whole
    for size in _SIZES:
        yield _body(message, *size)


def _body(message: Message, troubles: int, members: int, chars: int) -> dict[str, Any]:
    shown = message.news[:troubles]
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "id": message.message_id,
        "kind": message.kind,
        "severity": message.severity,
        "channel": message.channel,
        "sent_at": _iso(message.sent_at),
        "headline": message.headline,
        "text": "\n".join(in_words(message))[: 20 * chars],
        "troubles": [_trouble(kind, t, members, chars) for kind, t in shown],
        "omitted": len(message.news) - len(shown),
    }
    if message.picture is not None:
        body["picture"] = {"path": message.picture.path, "url": message.picture.url or None}
    return body


def _trouble(kind: Kind, trouble: Trouble, members: int, chars: int) -> dict[str, Any]:
    return {
        "id": clean(trouble.trouble_id, 100),
        "kind": kind,
        "what": trouble.what,
        "severity": trouble.severity,
        "title": clean(trouble.title, chars),
        "note": clean(trouble.note, chars),
        "started_at": _iso(trouble.started_at),
        "detected_at": _iso(trouble.detected_at),
        "ended_at": _iso(trouble.ended_at),
        "score": _number(trouble.score),
        "time_to_limit_h": _number(trouble.left_h),
        "workloads": [clean(w, chars) for w in trouble.workloads[:members]],
        "workloads_total": len(trouble.workloads),
        "causes": [_cause(c, chars) for c in trouble.causes[:members]],
    }


def _cause(cause: Cause, chars: int) -> dict[str, Any]:
    return {
        "workload": clean(cause.workload, chars),
        "metric": clean(cause.metric, chars),
        "score": _number(cause.score),
        "confidence": _number(cause.confidence),
        "evidence": clean(cause.evidence, chars),
    }


def _iso(at: pd.Timestamp | None) -> str | None:
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
