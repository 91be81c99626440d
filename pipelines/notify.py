"""notify: incidents, leaks and what a plan cannot hold are told to the channels, each once.

What is due is decided and written down in one step, then sent; a channel that fails does not keep
the others from being told, and is tried again by the next run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from pipelines.adapters.notify import Channel, Message
from pipelines.adapters.notify.message import in_words
from pipelines.artifacts import publish
from pipelines.clock import present
from pipelines.errors import ConfigError, DeliveryError, ForetideError
from pipelines.flow_runs import as_run
from pipelines.notices import Decision, decide
from pipelines.notices_channels import open_channel
from pipelines.notices_evidence import pictured
from pipelines.notices_log import NoticeLog
from pipelines.notices_terms import Past
from pipelines.notices_troubles import missed, standing
from pipelines.outcome import Outcome
from pipelines.parameters import Moment
from pipelines.plain import plain
from pipelines.run import Run, RunRef
from pipelines.tasks import call
from pipelines.telemetry import traced
from pipelines.watching import watched

__all__ = ["notify", "send_test", "tell_due"]

_LOOK_BACK = pd.Timedelta(24, "h")
_IN_A_ROW = 2
"""A channel that fails so often in a row is left alone until the next run."""


@flow(name="notify", timeout_seconds=900)
@as_run()
@watched("notify")
def notify(
    config: str | None = None,
    out: str | None = None,
    as_of: Moment | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Tell every channel what it has not been told yet.

    With ``dry_run`` nothing is sent or written down. A run whose clock is further than
    ``notify.stale_h`` from the present tells nothing.

    Raises
    ------
    DeliveryError
        There was something to tell, and every channel that it was for failed.
    """
    # the present, not the time that a late run was meant for: what is newest is told
    ref = RunRef.resolve(config, None, out, as_of, present())
    return publish(call(tell, ref, dry_run))


@task(cache_policy=NO_CACHE)
@traced
def tell(ref: RunRef, dry_run: bool = False) -> dict[str, Any]:
    """Decide, send, and account for it."""
    run = ref.open()
    return tell_due(run, present(), dry_run=dry_run).to_dict()


def tell_due(
    run: Run,
    moment: pd.Timestamp,
    *,
    dry_run: bool = False,
    channels: Mapping[str, Channel] | None = None,
) -> Outcome:
    """What ``notify`` does, at a present that is given; ``channels`` in the place of those
    configured, by the same names.

    Raises
    ------
    DeliveryError
        Every channel that there was something for failed.
    """
    settings = run.settings.notify
    why_not = _why_not(run, moment)
    if why_not:
        return Outcome("notify", run.run_id, run.ref.as_of, "messages", 0, notes=(why_not,))
    troubles, notes = standing(run, run.as_of - _LOOK_BACK)
    log = NoticeLog(run)
    known = {t.trouble_id for t in troubles}
    unseen = {i: at for i, at in _open(log.read()).items() if i not in known}
    troubles += missed(run, unseen, run.as_of - _LOOK_BACK)
    due = partial(
        decide, troubles, channels=list(settings.channels), routes=settings.routes,
        params=settings.params, as_of=run.as_of, now=moment,
    )  # fmt: skip
    if dry_run:
        decision = due(log.read())
        return _outcome(run, decision, _Sent(), [*notes, *_shown(decision.messages)], dry_run=True)

    decision = log.claim(due, moment)
    messages, more = _with_pictures(run, decision.messages)
    sent = _send(run, messages, log, channels or {})
    if sent.failed and not sent.done:
        raise DeliveryError("nobody was told: " + "; ".join(sent.failed.values()))
    return _outcome(run, decision, sent, [*notes, *more], dry_run=False)


def send_test(
    config: str | None, name: str, moment: pd.Timestamp, channel: Channel | None = None
) -> str:
    """Send a test message to one channel, and nothing else; says where it went.

    Raises
    ------
    ConfigError
        There is no channel of that name, or no credentials for it.
    DeliveryError
        It was not taken.
    """
    known = RunRef.resolve(config, None, None, None, moment).open().settings.notify.channels
    if name not in known:
        raise ConfigError(f"notify.channels has {', '.join(known) or 'none'}, got {plain(name)!r}")
    there = channel or open_channel(name, known[name])
    there.send(Message(f"test-{moment:%Y%m%dT%H%M%S}", name, moment, (), is_test=True))
    return f"{name}: a test message was taken by {there.where}"


@dataclass(frozen=True, slots=True)
class _Sent:
    """Messages that were taken, by channel; why channels failed, one line each; how many wait."""

    done: Counter[str] = field(default_factory=Counter[str])
    failed: dict[str, str] = field(default_factory=dict[str, str])
    again: Counter[str] = field(default_factory=Counter[str])


def _why_not(run: Run, moment: pd.Timestamp) -> str:
    """Why this run tells nobody anything; empty where it may."""
    settings = run.settings.notify
    if not settings.channels:
        return "  nobody to tell: notify.channels is empty"
    away = abs(moment - run.as_of)
    if away > pd.Timedelta(settings.stale_h, "h"):
        return (
            f"  nothing is told: the run's clock, {run.as_of:%Y-%m-%d %H:%M} UTC, is "
            f"{away / pd.Timedelta(1, 'h'):.0f} h from the present, and notify.stale_h is "
            f"{settings.stale_h:g}"
        )
    return ""


def _open(past: Sequence[Past]) -> dict[str, pd.Timestamp]:
    """What some channel takes for open: id → the clock by which it was told of last."""
    taken = sorted((p for p in past if p.status in ("sent", "intended")), key=lambda p: p.told_at)
    last = {(p.incident_id, p.channel): p for p in taken if p.what != "shortfall"}
    return {p.incident_id: p.as_of for p in last.values() if p.kind != "closed"}


def _with_pictures(run: Run, messages: Sequence[Message]) -> tuple[list[Message], list[str]]:
    """Pictures of what opens or gets worse and is told by itself; each is drawn once."""
    alone = [m for m in messages if m.kind in ("opened", "worse")]
    troubles = {m.news[0][1].trouble_id: m.news[0][1] for m in alone}
    if not run.settings.notify.pictures or not troubles:
        return list(messages), []
    found, notes = pictured(run, list(troubles.values()))
    drawn = {m.message_id: found.get(m.news[0][1].trouble_id) for m in alone}
    return [replace(m, picture=drawn.get(m.message_id)) for m in messages], notes


def _send(
    run: Run, messages: Sequence[Message], log: NoticeLog, given: Mapping[str, Channel]
) -> _Sent:
    """Every message of every channel, the urgent ones first as they come."""
    sent = _Sent()
    for name, settings in run.settings.notify.channels.items():
        mine = [m for m in messages if m.channel == name]
        if not mine:
            continue
        try:
            channel = given.get(name) or open_channel(name, settings)
        except ForetideError as error:
            _left(mine, log, sent, str(error))
            continue
        _send_all(channel, mine, log, sent)
    return sent


def _send_all(channel: Channel, messages: Sequence[Message], log: NoticeLog, sent: _Sent) -> None:
    in_a_row = 0
    for at, message in enumerate(messages):
        try:
            channel.send(message)
        except ForetideError as error:
            in_a_row += 1
            sent.failed[message.channel] = plain(f"{message.channel}: {error}")
            is_lasting = isinstance(error, DeliveryError) and error.is_lasting
            log.settle(message, "refused" if is_lasting else "failed", str(error))
            sent.again[message.channel] += not is_lasting
            if in_a_row >= _IN_A_ROW:
                _left(messages[at + 1 :], log, sent, str(error))
                return
        else:
            in_a_row = 0
            sent.done[message.channel] += 1
            log.settle(message, "sent")


def _left(messages: Sequence[Message], log: NoticeLog, sent: _Sent, why: str) -> None:
    """Messages that were not tried: the channel had failed before them."""
    for message in messages:
        log.settle(message, "failed", f"not tried: {why}")
        sent.failed[message.channel] = plain(f"{message.channel}: {why}")
        sent.again[message.channel] += 1


def _outcome(
    run: Run, decision: Decision, sent: _Sent, notes: Sequence[str], *, dry_run: bool
) -> Outcome:
    skipped = dict(decision.untold)
    if again := sum(sent.again.values()):
        skipped["not taken by its channel; the next run tries again"] = again
    done = {"told": float(sum(sent.done.values()))}
    per = {f"told_{name}": float(n) for name, n in sorted(sent.done.items())}
    if dry_run:
        notes = (f"  {len(decision.messages)} messages would be sent", *notes)
    return Outcome(
        verb="notify",
        run_id=run.run_id,
        as_of=run.ref.as_of,
        unit="messages",
        done=sum(sent.done.values()),
        skipped=skipped,
        failed=tuple(sent.failed.values()),
        outputs={} if dry_run else {"notices": NoticeLog(run).where},
        figures=done | per,
        notes=tuple(notes),
    )


def _shown(messages: Sequence[Message]) -> list[str]:
    """What would be sent, for a person."""
    lines: list[str] = []
    for message in messages:
        first, *rest = in_words(message)
        lines += [f"  to {message.channel}: {first}", *(f"    {line}" for line in rest)]
    return lines
