"""Several shards a task run, one after the other: a flow has few, fat task runs however many
workloads there are, and a task run's memory stays that of one shard.

Every task run costs an orchestrator's server events and rows; what it costs grows with their number
and not with what they do. Outside a flow run shards are not batched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE

__all__ = ["Batch", "Outcomes", "batched", "cut", "each", "in_place_of", "outcomes_of"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Shards of one task run, and how many may fail before the others are given up."""

    shards: tuple[Any, ...]
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The result or the error of each shard of a batch, in order; fewer where it gave up."""

    each: tuple[Any, ...]


def cut(shards: Sequence[Any], at_most: int, failures: int) -> dict[int, Any]:
    """Number of the first shard → what one task run gets: a shard, or a batch of neighbours.

    There are ``at_most`` of them, as even as can be.

    Raises
    ------
    ValueError
        ``at_most`` is below 1.
    """
    if at_most < 1:
        raise ValueError(f"at_most: expected 1 or more task runs, got {at_most!r}")
    if len(shards) <= at_most:
        return dict(enumerate(shards))
    size, larger = divmod(len(shards), at_most)
    found: dict[int, Any] = {}
    first = 0
    for number in range(at_most):
        end = first + size + (number < larger)
        found[first] = Batch(tuple(shards[first:end]), failures)
        first = end
    return found


def each(function: Callable[[Any], Any], argument: Any) -> Any:
    """A function's result; of a batch the ``Outcomes`` of its shards."""
    if not isinstance(argument, Batch):
        return function(argument)
    found: list[Any] = []
    failed = 0
    for shard in argument.shards:
        try:
            found.append(function(shard))
        except Exception as error:  # noqa: BLE001  counted by whoever asked
            found.append(error)
            failed += 1
            if failed > argument.failures:
                break
    return Outcomes(tuple(found))


def batched(task: Task[Any, Any]) -> Task[Any, Any]:
    """The task, by the same name, for shards and for batches of them."""

    def one_by_one(shards: Any) -> Any:
        return each(task.fn, shards)

    return in_place_of(task, one_by_one)


def in_place_of(task: Task[Any, Any], function: Callable[..., Any]) -> Task[Any, Any]:
    """The task as Prefect shows, limits and retries it, doing something else."""
    return Task(
        function,
        name=task.name,
        description=task.description,
        tags=task.tags,
        retries=task.retries,
        retry_delay_seconds=task.retry_delay_seconds,
        timeout_seconds=task.timeout_seconds,
        cache_policy=NO_CACHE,
    )


def outcomes_of(number: int, argument: Any, outcome: Any) -> Mapping[int, Any]:
    """Shard's number → its result or error, of what one task run came to; ``number`` is its
    first."""
    if isinstance(outcome, Outcomes):
        return dict(enumerate(outcome.each, number))
    if isinstance(argument, Batch):  # all of it failed: its worker is gone
        return dict.fromkeys(range(number, number + len(argument.shards)), outcome)
    return {number: outcome}
