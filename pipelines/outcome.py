"""What a verb says when it is done: in = done + skipped with a reason, and where its tables are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

__all__ = ["Outcome", "merge_counts", "reasons"]


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
    """Skips counted by their reason, numbers in it taken out so that like goes with like."""
    if skips.empty:
        return {}
    general = skips["reason"].astype("str").str.replace(r"\d+(\.\d+)?", "N", regex=True)
    return {str(k): int(v) for k, v in general.value_counts().items()}


def merge_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by reason over all shards, the most frequent first."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total.most_common())
