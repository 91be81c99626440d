"""What CloudWatch still has of a window: the older, the coarser.

CloudWatch keeps samples of less than a minute for 3 hours, of one minute for 15 days, of five
minutes for 63 days and of one hour for 455 days; asked for more detail than it has, it answers with
nothing. So an old part of a window is asked at a period that is a multiple of both the step and of
what is kept: every sample is then the start of a step of the window, and most steps have none.

``StartTime`` is rounded down to what is kept (a minute, five minutes, an hour). All our starts are
multiples of their period, so that rounding moves none.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

import pandas as pd

from pipelines.adapters.source import Window
from pipelines.errors import ConfigError

__all__ = ["Part", "check_step", "notes_on", "parts_of"]

_HIGH_RESOLUTION_S = (1, 5, 10, 20, 30)
_HOUR_MS = 3_600_000
_KEPT = ((1_000, 3), (60_000, 15 * 24), (300_000, 63 * 24), (_HOUR_MS, 455 * 24))
"""Period in milliseconds, hours for which samples of it are kept."""
_LISTED_DAYS = 14


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a window that is asked at one period; with period 0 it is not asked at all."""

    first_ms: int
    end_ms: int
    period_ms: int

    @property
    def ask_first_ms(self) -> int:
        """The first stamp in it; a period that began before belongs to whoever asks for that."""
        return -(-self.first_ms // self.period_ms) * self.period_ms

    @property
    def steps(self) -> int:
        """How many periods begin in it."""
        if not self.period_ms:
            return 0
        return max(0, -(-(self.end_ms - self.ask_first_ms) // self.period_ms))

    @property
    def ask_end_ms(self) -> int:
        """Where its last period ends."""
        return self.ask_first_ms + self.steps * self.period_ms


def check_step(step_ms: int) -> None:
    """Raise ConfigError for a step that is no period of CloudWatch's."""
    if step_ms % 60_000 and step_ms not in {s * 1000 for s in _HIGH_RESOLUTION_S}:
        raise ConfigError(
            f"CloudWatch has periods of {', '.join(map(str, _HIGH_RESOLUTION_S))} s and of whole "
            f"minutes, got a step of {step_ms / 1000:g} s; set history.step_s to one of them"
        )


def parts_of(window: Window, now_ms: int, margin_ms: int) -> list[Part]:
    """The window as stretches of one period each, oldest first, that follow each other.

    ``margin_ms`` is how long before CloudWatch drops samples we no longer count on them: a pull
    takes its time.
    """
    periods = [lcm(window.step_ms, kept_ms) for kept_ms, _ in _KEPT]
    found: list[Part] = []
    end_ms = window.end_ms
    for (_, hours), period_ms, coarser_ms in zip(
        _KEPT, periods, [*periods[1:], periods[-1]], strict=True
    ):
        oldest_ms = now_ms - hours * _HOUR_MS + margin_ms
        # whole periods of what comes before, so that the two neither overlap nor leave a hole
        cut_ms = max(window.first_ms, -(-oldest_ms // coarser_ms) * coarser_ms)
        if cut_ms < end_ms:
            found.append(Part(cut_ms, end_ms, period_ms))
            end_ms = cut_ms
    if window.first_ms < end_ms:
        found.append(Part(window.first_ms, end_ms, 0))
    return _merged(found[::-1])


def _merged(parts: list[Part]) -> list[Part]:
    out: list[Part] = []
    for part in parts:
        same = bool(out) and out[-1].period_ms == part.period_ms
        out.append(Part(out.pop().first_ms, part.end_ms, part.period_ms) if same else part)
    return out


def notes_on(metric: str, window: Window, parts: list[Part], now_ms: int) -> tuple[str, ...]:
    """What the user should know before: which part comes back coarser, or not at all."""
    notes: list[str] = []
    for part in parts:
        between = f"{_day(part.first_ms)} to {_day(part.end_ms)}"
        if not part.period_ms:
            notes.append(f"{metric}: {between} is not asked: CloudWatch keeps nothing for so long")
        elif part.period_ms > window.step_ms:
            notes.append(
                f"{metric}: {between} comes back coarser, one sample in {part.period_ms // 1000} s "
                f"instead of {window.step_ms / 1000:g} s: CloudWatch keeps no more"
            )
    listed_ms = now_ms - _LISTED_DAYS * 24 * _HOUR_MS
    if window.first_ms < listed_ms:
        notes.append(
            f"{metric}: CloudWatch lists only what had samples in the last two weeks; a workload "
            f"that ended before {_day(listed_ms)} is not seen"
        )
    return tuple(notes)


def _day(ms: int) -> str:
    return pd.Timestamp(ms, unit="ms", tz="UTC").strftime("%Y-%m-%d %H:%M")
