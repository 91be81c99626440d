"""Who is told what now: from how things stand and what was told before, for each channel.

Pure: the same troubles, notices and moment give the same messages. On one channel a trouble is
opened, may get worse, is closed, and may open again after that; whatever is told is told once,
however often runs are repeated and however they overlap. A trouble that comes back under another id
(its window was scored again with samples that came late) is the one that was told of.

What was told is read from NOTICES: ``sent`` counts, ``intended`` counts while its run may still be
at work, and after that the message is sent once more; ``failed`` is tried again until
``retry_h``, ``refused`` never.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from pipelines.adapters.notify import Message, Trouble
from pipelines.adapters.notify.message import Kind
from pipelines.notices_terms import RANKS, NoticeParams, Past, Route

__all__ = ["Decision", "decide"]

_CLAIM = pd.Timedelta(15, "min")
"""An intended message whose run has not said what became of it for so long: the run is dead."""
_HOUR = pd.Timedelta(1, "h")
_CRITICAL_SHARE = 5
"""One in so many messages of an hour is kept for what is critical."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The messages, and what is not told: reason → how many troubles, over all channels."""

    messages: tuple[Message, ...] = ()
    rows: tuple[Past, ...] = ()
    """What the messages leave in NOTICES, ``intended``."""
    untold: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class _News:
    kind: Kind
    trouble: Trouble
    under_h: float
    key: str
    """The same when it is told again after a crash."""

    @property
    def order(self) -> tuple[bool, bool, bool, pd.Timestamp, str]:
        """What matters most comes first."""
        t = self.trouble
        return (
            not _urgent(self), self.kind == "closed", t.what == "shortfall", t.started_at,
            t.trouble_id,
        )  # fmt: skip


def decide(
    troubles: Sequence[Trouble],
    past: Sequence[Past],
    channels: Sequence[str],
    routes: Sequence[Route],
    params: NoticeParams,
    *,
    as_of: pd.Timestamp,
    now: pd.Timestamp,
) -> Decision:
    """The messages that are due on every channel.

    Parameters
    ----------
    troubles : how each stands at ``as_of``, by its own id
    past : all that was told, or meant to be; any order
    routes : none means that every channel is told everything
    as_of, now : the run's clock, and the present that rates and retries are counted in
    """
    messages: list[Message] = []
    rows: list[Past] = []
    untold: Counter[str] = Counter()
    for channel in channels:
        theirs = sorted((p for p in past if p.channel == channel), key=lambda p: p.told_at)
        led = [r for r in routes if channel in r.channels]
        news: list[_News] = []
        of: dict[str, list[Past]] = {}
        for p in theirs:
            of.setdefault(p.incident_id, []).append(p)
        for trouble in _continued(troubles, theirs, now):
            mine = of.get(trouble.trouble_id, [])
            is_led = not routes or any(r.leads(trouble) for r in led)
            found = _news(trouble, mine, is_led, params, as_of, now, channel)
            if isinstance(found, _News):
                news.append(found)
            elif found:
                untold[found] += 1
        sent, held = _rated(sorted(news, key=lambda n: n.order), theirs, params, now)
        if held:
            untold["waits: the hour's messages are spent (notify.per_hour_max)"] += held
        for bundle in sent:
            message = _message(bundle, channel, now)
            messages.append(message)
            rows.extend(_row(n, message, as_of) for n in bundle)
    return Decision(tuple(messages), tuple(rows), dict(untold))


def _continued(
    troubles: Sequence[Trouble], past: Sequence[Past], now: pd.Timestamp
) -> list[Trouble]:
    """The troubles, by the ids under which this channel knows them.

    One that was never told of takes the place of one that is open to its readers and is over, or is
    not there any more: of the same sort, sharing a workload, and begun before the other's end (or,
    where that is not known, before it was told).
    """
    told = {p.incident_id for p in past if _counts(p, now)}
    here = {t.trouble_id: t for t in troubles}
    last = {p.incident_id: p for p in past if _counts(p, now)}
    gone = [
        p for p in last.values()
        if p.kind != "closed" and p.what != "shortfall"
        and (p.incident_id not in here or here[p.incident_id].ended_at is not None)
    ]  # fmt: skip
    aliases: dict[str, Past] = {}
    for trouble in sorted(troubles, key=lambda t: (t.started_at, t.trouble_id)):
        if trouble.trouble_id in told:
            continue
        before = next((p for p in gone if _same(trouble, p, here.get(p.incident_id))), None)
        if before is not None:
            gone.remove(before)
            aliases[trouble.trouble_id] = before
    replaced = {p.incident_id for p in aliases.values()}
    return [
        _renamed(t, aliases.get(t.trouble_id)) for t in troubles if t.trouble_id not in replaced
    ]


def _renamed(trouble: Trouble, before: Past | None) -> Trouble:
    return trouble if before is None else replace(trouble, trouble_id=before.incident_id)


def _same(trouble: Trouble, told: Past, now_is: Trouble | None) -> bool:
    if trouble.what != told.what or set(trouble.workloads).isdisjoint(told.workloads):
        return False
    # where the told one is in no table any more, its run was repeated: they began side by side
    until = told.as_of if now_is is None else now_is.ended_at
    return until is None or trouble.started_at <= until


def _counts(past: Past, now: pd.Timestamp) -> bool:
    """Whether its readers have been told, or are being told."""
    return past.status in ("sent", "refused") or (
        past.status == "intended" and now - past.told_at < _CLAIM
    )


def _news(
    trouble: Trouble,
    past: Sequence[Past],
    is_led: bool,
    params: NoticeParams,
    as_of: pd.Timestamp,
    now: pd.Timestamp,
    channel: str,
) -> _News | str:
    """What is new of a trouble on a channel, or why nothing is told; empty where it has been."""
    told = [p for p in past if _counts(p, now)]
    if told and told[-1].status == "intended":
        return ""  # another run is telling of it, and what follows must not overtake that
    cycle = sum(p.kind == "closed" for p in told)
    since = next((i for i in reversed(range(len(told))) if told[i].kind == "closed"), -1)
    current = told[since + 1 :]
    found = _changed(trouble, told, current, params, as_of)
    if not isinstance(found, tuple):
        return found
    kind, note = found
    if kind != "closed" and not is_led:
        return ""
    if kind != "closed" and any(p.as_of > as_of for p in told):
        return "a later run has told of it"
    under_h = params.under_h(trouble.left_h)
    grade = f"{trouble.severity}|{under_h}" if kind == "worse" else ""
    key = "|".join((channel, trouble.trouble_id, kind, grade, str(cycle)))
    tries = [
        p for p in past
        if p.kind == kind and not _counts(p, now) and (not told or p.told_at >= told[-1].told_at)
    ]  # fmt: skip
    if tries and now - min(p.told_at for p in tries) > pd.Timedelta(params.retry_h, "h"):
        return "given up: no attempt went through (notify.retry_h)"
    return _News(kind, replace(trouble, note=note), under_h, key)


def _changed(
    trouble: Trouble,
    told: Sequence[Past],
    current: Sequence[Past],
    params: NoticeParams,
    as_of: pd.Timestamp,
) -> tuple[Kind, str] | str:
    """Kind and note of what has changed since it was told; ``current``: since it opened last."""
    if trouble.ended_at is not None:
        if not current:
            is_fresh = not told and as_of - trouble.ended_at < _HOUR  # said once, not for a day
            return "over before it was told" if is_fresh else ""
        settled = as_of - trouble.ended_at >= pd.Timedelta(params.settle_min, "min")
        is_late = any(p.as_of > as_of for p in current)
        return ("closed", "") if settled and not is_late else ""
    if not current:
        if not told:
            return "opened", ""
        # as of the same clock it is the same state, and its windows were only scored again
        return ("opened", "It has begun again.") if as_of > told[-1].as_of else ""
    return _worse(trouble, current, params)


def _worse(
    trouble: Trouble, current: Sequence[Past], params: NoticeParams
) -> tuple[Kind, str] | str:
    notes: list[str] = []
    worst = max(RANKS.get(p.severity, 0) for p in current)
    if trouble.what != "shortfall" and RANKS.get(trouble.severity, 0) > worst:
        notes.append(f"It is {trouble.severity} now.")
    under_h = params.under_h(trouble.left_h)
    nearest = min((p.under_h for p in current if p.under_h == p.under_h), default=math.inf)
    if under_h < nearest:
        notes.append(f"Less than {under_h:g} h are left to its limit.")
    return ("worse", " ".join(notes)) if notes else ""


def _rated(
    news: list[_News], past: Iterable[Past], params: NoticeParams, now: pd.Timestamp
) -> tuple[list[list[_News]], int]:
    """Messages within the hour's rate, the urgent ones first, and how many news have to wait."""
    lately = {
        (p.message_id, p.told_at) for p in past
        if now - p.told_at < _HOUR and p.status in ("sent", "intended")
    }  # fmt: skip
    room = params.per_hour_max - len(lately)
    urgent = [n for n in news if _urgent(n)]
    rest = [n for n in news if not _urgent(n)]
    first = _fitted(urgent, room)
    spare = room - max(len(first), params.per_hour_max // _CRITICAL_SHARE)
    if spare < 1 and first and len(first[-1]) > 1:
        first[-1] = [*first[-1], *rest]  # there is a digest already
        return first, 0
    second = _fitted(rest, spare)
    sent = [*first, *second]
    return sent, len(news) - sum(len(bundle) for bundle in sent)


def _fitted(news: list[_News], room: int) -> list[list[_News]]:
    """Each by itself, or as many as there is room for and the rest together."""
    if not news or room < 1:
        return []
    if len(news) <= room:
        return [[n] for n in news]
    return [*([n] for n in news[: room - 1]), news[room - 1 :]]


def _urgent(news: _News) -> bool:
    return news.trouble.severity == "critical" and news.kind != "closed"


def _message(bundle: Sequence[_News], channel: str, now: pd.Timestamp) -> Message:
    text = "\n".join(sorted(n.key for n in bundle))
    name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return Message(name, channel, now, tuple((n.kind, n.trouble) for n in bundle))


def _row(news: _News, message: Message, as_of: pd.Timestamp) -> Past:
    t = news.trouble
    return Past(
        incident_id=t.trouble_id,
        channel=message.channel,
        kind=news.kind,
        told_at=message.sent_at,
        what=t.what,
        severity=t.severity,
        under_h=news.under_h,
        started_at=t.started_at,
        workloads=t.workloads,
        as_of=as_of,
        message_id=message.message_id,
        status="intended",
    )
