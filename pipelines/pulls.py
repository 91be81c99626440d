"""What an ingest has to pull: which metric, which part of it, from when to when, in which order.

A run pulls what its window holds and the store does not. The newest days come first: when a budget
ends the run, what is missing is the oldest, and the next run goes on there.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pipelines.adapters.source import Estimate
from pipelines.adapters.store.coverage import Spans, clip, subtract
from pipelines.bill import Allowance, Meter, Prices, Spending

__all__ = ["Pull", "Wanted", "allot", "but_silence", "share", "slices"]

_DAY_MS = 86_400_000
Span = tuple[int, int]
"""``[start, end)``, Unix milliseconds."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One metric, or one shard of it: the spans that the store lacks, and what they will cost.

    ``shard`` is the value of the label that the source is split by, empty where it is not split.
    """

    metric: str
    shard: str
    spans: tuple[Span, ...]
    estimate: Estimate = field(default_factory=Estimate)

    @property
    def length_ms(self) -> int:
        """Of all spans together."""
        return sum(end - start for start, end in self.spans)


@dataclass(frozen=True, slots=True)
class Pull:
    """One span of one metric, within one slice of the window."""

    metric: str
    shard: str
    start_ms: int
    end_ms: int
    estimate: Estimate = field(default_factory=Estimate)
    allowance: Allowance = field(default_factory=Allowance)


def slices(wanted: Sequence[Wanted], samples_per_commit: int) -> list[list[Pull]]:
    """The pulls, cut into slices of whole UTC days, the newest slice first.

    A slice holds about ``samples_per_commit`` samples, but never less than a day of all metrics: it
    is what one commit writes, and what is lost when the machine goes away before.
    """
    spans = [span for one in wanted for span in one.spans]
    if not spans:
        return []
    first = min(start for start, _ in spans) // _DAY_MS * _DAY_MS
    last = -(-max(end for _, end in spans) // _DAY_MS) * _DAY_MS
    a_day = sum(one.estimate.samples / max(one.length_ms, 1) for one in wanted) * _DAY_MS
    days = int(max(1, samples_per_commit // max(a_day, 1)))
    cuts = [*range(last, first, -days * _DAY_MS), first]
    cut = ([*_within(wanted, lo, hi)] for hi, lo in itertools.pairwise(cuts))
    return [pulls for pulls in cut if pulls]


def allot(
    pulls: Sequence[Pull], left: Allowance, prices: Prices, meter: Meter, step_ms: int
) -> tuple[list[Pull], list[Pull]]:
    """Who may pull of one slice, and how far; and who may not, since the budget is spent.

    Where all fit, each gets what it is estimated to need and an equal part of what is left over:
    estimates err. Where they do not, they are served in the order given, and the first for whom
    too little is left gets the rest, and pulls the newest part of its span that this is enough
    for: a source answers days at once, and what was asked for is billed.
    """
    needs = [Spending.of(pull.estimate, prices, meter) for pull in pulls]
    total = sum(needs, Spending())
    spare = left.less(total).parted(len(pulls)) if left.holds(total) else left.spent()
    allowed: list[Pull] = []
    left_out: list[Pull] = []
    for pull, need in zip(pulls, needs, strict=True):
        if left.is_spent:
            left_out.append(pull)
            continue
        # CloudWatch bills metrics, however short the time: half of it would not cost half
        part = 1.0 if meter == "cloudwatch" else left.part_of(need)
        fitting = _newest(pull, part, step_ms)
        if fitting.start_ms > pull.start_ms:
            left_out.append(replace(pull, end_ms=fitting.start_ms))
        allowed.append(replace(fitting, allowance=spare.plus(need).at_most(left)))
        left = left.less(need)
    return allowed, left_out


def but_silence(one: Wanted, silent: Spans, reread_ms: int, step_ms: int) -> Wanted:
    """Without what was answered before and held nothing; for what still shows no sign of a sample.

    Queries that give nothing are billed as well: most clusters lack some metrics of the catalog,
    and to ask in each run for weeks of them reads more than all the samples that are new.
    """
    newest_ms = min(max((end for _, end in silent), default=0), one.spans[-1][1])
    known_ms = (newest_ms - max(reread_ms, step_ms)) // step_ms * step_ms
    return replace(one, spans=subtract(one.spans, clip(silent, 0, known_ms)))


def share(estimate: Estimate, part: float) -> Estimate:
    """The part of an estimate, at least one of what is there at all; series stay as they are."""
    scaled = {
        key: -(-int(getattr(estimate, key) * part * 1000) // 1000)
        for key in ("samples", "queries", "samples_processed", "metrics_requested")
    }
    return replace(estimate, **scaled)


def _newest(pull: Pull, part: float, step_ms: int) -> Pull:
    """The newest steps of a pull, at least one."""
    steps = -(-(pull.end_ms - pull.start_ms) // step_ms)
    start_ms = pull.start_ms + (steps - max(1, int(steps * part))) * step_ms
    return replace(pull, start_ms=start_ms)


def _within(wanted: Sequence[Wanted], lo: int, hi: int) -> list[Pull]:
    pulls: list[Pull] = []
    for one in wanted:
        for start, end in one.spans:
            begin, stop = max(start, lo), min(end, hi)
            if begin < stop:
                part = share(one.estimate, (stop - begin) / one.length_ms)
                pulls.append(Pull(one.metric, one.shard, begin, stop, part))
    return pulls
