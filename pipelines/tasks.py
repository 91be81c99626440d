"""How a flow's body runs its tasks: as Prefect tasks inside a flow run, plainly outside one.

One code path serves the command line, notebooks and deployments. What a task does is the same
either way; only who watches it differs. Failures are collected and counted, never lost: a flow
whose task failed may not be green by accident.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from prefect import Task
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from pipelines.artifacts import progress, publish
from pipelines.batches import Batch, Outcomes, cut, outcomes_of
from pipelines.crews import Crew, crew
from pipelines.dask_clusters import is_killed
from pipelines.errors import ForetideError
from pipelines.spreading import HERE, Where

__all__ = ["Shards", "call", "publish", "run_shards", "threads"]

R = TypeVar("R")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shards(Generic[R]):
    """What came back: the results of the shards that worked, the errors of those that did not."""

    results: tuple[R, ...]
    errors: tuple[BaseException, ...] = ()

    @property
    def failed(self) -> tuple[str, ...]:
        """One line for each shard that did not work."""
        return tuple(f"{type(e).__name__}: {e}" for e in self.errors)


def threads(max_workers: int = 4) -> TaskRunner[PrefectFuture[Any]]:
    """A bounded thread pool for a flow's tasks; Prefect's default has no bound."""
    return cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=max_workers))


def call(task: Task[Any, R], *args: Any) -> R:
    """Run one task and give its result; its error is the flow's error."""
    return task(*args) if FlowRunContext.get() else task.fn(*args)


def run_shards(
    task: Task[Any, R],
    shards: Sequence[Any],
    *,
    workers: int,
    max_failed_share: float,
    where: Where = HERE,
) -> Shards[R]:
    """Run one task a shard, some at once, and account for every one of them.

    Results are in the order of the shards, whatever runs them. Those not yet begun are given up
    once too many have failed.

    ``where`` is this process, or what the configuration names: ``spreading.where(run, verb)``. In a
    flow run one task run takes several shards where there are more than its ``tasks_max``.

    Raises
    ------
    ForetideError
        A larger share than ``max_failed_share`` failed. If they all failed alike because of
        something the user can mend, that error itself is raised.
    """
    found: dict[int, R | BaseException] = {}
    failed = 0
    shown = progress(task.name, len(shards))
    watched = FlowRunContext.get() is not None
    at_most = where.tasks_max if watched else max(len(shards), 1)
    parts = cut(shards, at_most, int(max_failed_share * len(shards)))
    with crew(task, workers, where) as those:
        for number, outcome in _outcomes(those, parts):
            for one, told in outcomes_of(number, parts[number], outcome).items():
                found[one] = told
                shown.ended(told if isinstance(told, BaseException) else None)
                failed += isinstance(told, BaseException)
            if failed > max_failed_share * len(shards):
                break
    outcomes = [found[number] for number in sorted(found)]
    errors = [o for o in outcomes if isinstance(o, BaseException)]
    for error in errors:
        _log.debug("%s: a shard failed", task.name, exc_info=error)
    if errors and len(errors) > max_failed_share * len(shards):
        if isinstance(errors[0], ForetideError):
            raise errors[0]
        raise ForetideError(
            f"{task.name}: {len(errors)} of {len(shards)} shards failed, "
            f"first: {type(errors[0]).__name__}: {errors[0]}"
        ) from errors[0]
    results = tuple(o for o in outcomes if not isinstance(o, BaseException))
    return Shards(results, tuple(errors))


def _outcomes(those: Crew, shards: Mapping[int, Any]) -> Iterator[tuple[int, Any]]:
    """Each shard's number and result or error, as they are done.

    A shard whose workers were killed may only have been with the one that kills them: it runs
    again alone.
    """
    killed: list[int] = []
    for number, outcome in _round(those, shards):
        if is_killed(outcome):
            killed.append(number)
        else:
            yield number, outcome
    for number in sorted(killed):
        part = shards[number]
        if isinstance(part, Batch):
            yield number, Outcomes(tuple(_alone(those, part)))
        else:
            yield from _round(those, {number: part})


def _alone(those: Crew, batch: Batch) -> Iterator[Any]:
    """The outcome of each shard of a batch, until too many have failed."""
    failed = 0
    for shard in batch.shards:
        for _, outcome in _round(those, {0: shard}):
            yield outcome
            failed += isinstance(outcome, BaseException)
        if failed > batch.failures:
            return


def _round(those: Crew, shards: Mapping[int, Any]) -> Iterator[tuple[int, Any]]:
    numbers = {those.begin(shard): number for number, shard in shards.items()}
    for future in those.finished(list(numbers)):
        number = numbers.pop(future)  # nobody holds what came back longer than it takes to keep it
        try:
            outcome = those.opened(future.result())
        except Exception as error:  # noqa: BLE001  counted by whoever asked
            outcome = error
        yield number, outcome
