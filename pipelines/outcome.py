"""What a verb says when it is done: in = done + skipped with a reason, and where its tables are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from features.panel import PanelCounts

__all__ = [
    "Outcome",
    "counted",
    "merge_counts",
    "merge_reasons",
    "panel_counts",
    "reasons",
    "told",
]

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one run of one verb, JSON-able.

    Attributes
    ----------
    done : units finished (series, workloads or days: ``unit`` says which)
    skipped : reason → how many
    failed : one line for each shard that broke
    outputs : table or file → where it is
    figures : name → value, computed by the run
    notes : lines for a person
    rows : a small table that is the answer itself, where a verb has one
    """

    verb: str
    run_id: str
    as_of: str
    unit: str
    done: int
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])
    failed: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict[str, str])
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    notes: tuple[str, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()

    @property
    def total(self) -> int:
        """All that came in; failed shards are not counted in units."""
        return self.done + sum(self.skipped.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for ``--json`` and for Prefect."""
        return asdict(self)

    def line(self) -> str:
        """One line for the terminal."""
        text = f"{self.verb}: {self.done} of {self.total} {self.unit}"
        if self.skipped:
            why = ", ".join(f"{n} {reason}" for reason, n in self.skipped.items())
            text += f"; skipped {why}"
        if self.failed:
            text += f"; {len(self.failed)} failed: {self.failed[0]}"
        return text


def reasons(skips: pd.DataFrame) -> dict[str, int]:
    """Skips counted by their reason."""
    return {str(k): int(v) for k, v in skips["reason"].astype("str").value_counts().items()}


def merge_reasons(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Skips of all shards, the most frequent first; reasons that differ only in a number are one.

    ``history 1.2 d, needs 3.0 d`` and ``history 2.5 d, needs 3.0 d`` become
    ``history 1.2–2.5 d, needs 3.0 d``.
    """
    alike: dict[str, list[tuple[str, int]]] = {}
    for reason, n in merge_counts(counts).items():
        alike.setdefault(_NUMBER.sub("#", reason), []).append((reason, n))
    merged = {_span([r for r, _ in group]): sum(n for _, n in group) for group in alike.values()}
    return merge_counts([merged])


def told(skipped: Mapping[str, int]) -> str:
    """Skips in one line."""
    return ", ".join(f"{n} × {reason}" for reason, n in skipped.items())


def panel_counts(counts: PanelCounts) -> Counter[str]:
    """What was wrong with samples on their way into a panel."""
    return Counter(
        {
            "not finite": counts.not_finite,
            "duplicate": counts.duplicates,
            "outside what can be true (minimum, maximum of the metric)": counts.out_of_range,
        }
    )


def counted(counts: Mapping[str, int]) -> tuple[str, ...]:
    """One line for each thing that was wrong with samples and did not stop the run."""
    return tuple(f"  {n} samples left out: {what}" for what, n in counts.items() if n)


def merge_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by reason over all shards, the most frequent first."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total.most_common())


def _span(alike: list[str]) -> str:
    """Reasons that differ only in their numbers, as one: each number, or from where to where."""
    if len(alike) == 1:
        return alike[0]
    columns = zip(*(_NUMBER.findall(reason) for reason in alike), strict=True)
    ends = [(min(c, key=float), max(c, key=float)) for c in columns]
    spans = iter([low if low == high else f"{low}–{high}" for low, high in ends])
    return _NUMBER.sub(lambda _: next(spans), alike[0])
