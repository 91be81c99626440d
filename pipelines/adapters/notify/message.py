"""What a channel is given to tell, and how it reads as plain text.

Names and evidence come from clusters: they are data. ``clean`` takes out what could steer a
terminal or break a line and bounds the length; each channel escapes for its own language besides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import pandas as pd

from pipelines.plain import plain

__all__ = ["Cause", "Channel", "Kind", "Message", "Picture", "Trouble", "What", "clean", "in_words"]

Kind = Literal["opened", "worse", "closed"]
What = Literal["incident", "leak", "shortfall"]

_CHARS = 300
_WORKLOADS = 5
_CAUSES = 3
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Cause:
    """One ranked cause of an incident; score and confidence are NaN where they are not known."""

    workload: str
    metric: str
    evidence: str
    score: float = math.nan
    confidence: float = math.nan


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is told of, as it stands.

    Attributes
    ----------
    trouble_id : the incident's id under which it was told first; a shortfall's own
    what : an incident, a leak, or a shortfall: what a plan cannot hold before the peak
    severity : ``warning`` or ``critical``
    started_at, detected_at, ended_at
        UTC; nothing where it is not known, or not over. A shortfall starts when it will be short.
    left_h : hours to a leak's limit, the median; NaN for what has none
    note : why it is told of now, where the kind alone does not say
    """

    trouble_id: str
    what: What
    severity: str
    title: str
    workloads: tuple[str, ...]
    started_at: pd.Timestamp
    detected_at: pd.Timestamp | None = None
    ended_at: pd.Timestamp | None = None
    causes: tuple[Cause, ...] = ()
    score: float = math.nan
    left_h: float = math.nan
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG of the main evidence: its place in the store, and its URL where it has one."""

    path: str
    png: bytes
    url: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """What one channel tells at once: one trouble, or a digest of many.

    Attributes
    ----------
    message_id : the same when it is sent again, so that who gets it twice can tell
    news : kind and trouble, at least one unless it is a test
    """

    message_id: str
    channel: str
    sent_at: pd.Timestamp
    news: tuple[tuple[Kind, Trouble], ...]
    picture: Picture | None = None
    is_test: bool = False

    @property
    def kind(self) -> Literal["opened", "worse", "closed", "digest", "test"]:
        """What it is, in a word."""
        if self.is_test:
            return "test"
        return self.news[0][0] if len(self.news) == 1 else "digest"

    @property
    def severity(self) -> str:
        """The highest of those in it."""
        found = {trouble.severity for _, trouble in self.news}
        return "critical" if "critical" in found else "warning"

    @property
    def headline(self) -> str:
        """A few words of ours, without any from the cluster."""
        if self.is_test:
            return "Foretide: this is a test"
        if len(self.news) > 1:
            return f"Foretide: {len(self.news)} more, told together"
        kind, trouble = next(iter(self.news))
        word = trouble.what.capitalize()
        if trouble.what == "shortfall":
            return f"{word} ahead · {trouble.severity}"
        return f"{word} {kind}" + ("" if kind == "closed" else f" · {trouble.severity}")


class Channel(Protocol):
    """One place that messages go to.

    ``send`` and ``probe`` raise ``DeliveryError``, or ``ConfigError`` for credentials that are
    none; no text of theirs holds a secret.
    """

    where: str
    """For people: a host or an ARN, nothing secret."""

    def send(self, message: Message) -> None:
        """Send one message, whole or not at all."""
        ...

    def probe(self) -> str:
        """Whether it can be reached, without telling anybody anything; says what was found."""
        ...


def clean(text: str, most: int = _CHARS) -> str:
    """One printable line of at most ``most`` characters: of a long one both ends."""
    ends = text if len(text) <= 4 * most else f"{text[: 3 * most]}{text[-most:]}"
    line = " ".join(ends.split())
    if len(line) > most:
        tail = most // 3
        line = f"{line[: most - tail - 1]}…{line[-tail:]}"
    return line if line.isprintable() else plain(line)


def in_words(message: Message, *, headline: bool = True) -> list[str]:
    """The message as lines of text, names cleaned and nothing escaped yet."""
    head = [message.headline] if headline else []
    if message.is_test:
        return [*head, f"Channel {clean(message.channel)} is told of incidents from now on."]
    if len(message.news) > 1:
        shown = [f"{k}, {t.severity}: {clean(t.title, 160)}" for k, t in message.news[:_LISTED]]
        more = len(message.news) - len(shown)
        return [*head, *shown, *([f"and {more} more"] if more else [])]
    _, trouble = next(iter(message.news))
    lines = [*head, clean(trouble.title), *([clean(trouble.note)] if trouble.note else [])]
    lines += [_times(trouble), *_who(trouble.workloads)]
    lines += [_cause(n, c) for n, c in enumerate(trouble.causes[:_CAUSES], start=1)]
    if message.picture is not None:
        lines.append(f"picture: {clean(message.picture.url or message.picture.path, 2000)}")
    return lines


def _times(trouble: Trouble) -> str:
    since = f"since {_stamp(trouble.started_at)} UTC"
    if trouble.what == "shortfall":
        return f"from {_stamp(trouble.started_at)} UTC on"
    if trouble.ended_at is not None:
        return f"{since}, over since {_stamp(trouble.ended_at)} UTC"
    if trouble.detected_at is None:
        return since
    return f"{since}, detected {_stamp(trouble.detected_at)} UTC"


def _stamp(at: pd.Timestamp) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _who(workloads: tuple[str, ...]) -> list[str]:
    more = len(workloads) - _WORKLOADS
    tail = [f"and {more} more workload{'s' * (more > 1)}"] if more > 0 else []
    return [*(clean(w, 160) for w in workloads[:_WORKLOADS]), *tail]


def _cause(number: int, cause: Cause) -> str:
    sure = f" ({cause.confidence:.0%})" if math.isfinite(cause.confidence) else ""
    name = cause.workload.rsplit("/", 1)[-1]
    return f"{number}. {clean(name, 80)}: {clean(cause.evidence or cause.metric, 200)}{sure}"
