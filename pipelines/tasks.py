"""How a flow's body runs its tasks: as Prefect tasks inside a flow run, on plain threads outside
one.

One code path serves the command line, notebooks and deployments. What a task does is the same
either way; only who watches it differs. Failures are collected and counted, never lost: a flow
whose task failed may not be green by accident.
"""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from prefect import Task
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from pipelines.errors import ForetideError
from pipelines.outcome import Outcome

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
    task: Task[Any, R], shards: Sequence[Any], *, workers: int, max_failed_share: float
) -> Shards[R]:
    """Run one task a shard, some at once, and account for every one of them.

    Raises
    ------
    ForetideError
        A larger share than ``max_failed_share`` failed. If they all failed alike because of
        something the user can mend, that error itself is raised.
    """
    if FlowRunContext.get():
        futures: list[PrefectFuture[R]] = [task.submit(shard) for shard in shards]
        outcomes = [_settled(f) for f in futures]
    else:
        outcomes = _on_threads(task, shards, workers, max_failed_share)
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


def publish(result: dict[str, Any]) -> dict[str, Any]:
    """Show an outcome in the flow run as well, where there is one; gives it back as it came."""
    if FlowRunContext.get():
        outcome = Outcome(**result)
        figures = (f"  {name}: {value:g}" for name, value in outcome.figures.items())
        outputs = (f"  {name}: {place}" for name, place in outcome.outputs.items())
        text = "\n".join((outcome.line(), *outcome.notes, *figures, *outputs))
        # indented, so that names from the cluster are shown as they are and never as markup
        create_markdown_artifact(
            textwrap.indent(text, "    "), key=outcome.verb, description=outcome.line()
        )
    return result


def _on_threads(
    task: Task[Any, R], shards: Sequence[Any], workers: int, max_failed_share: float
) -> list[R | BaseException]:
    """What became of each shard; those not yet begun are given up once too many have failed."""
    with ThreadPoolExecutor(max_workers=workers) as pool:
        futures = [pool.submit(task.fn, shard) for shard in shards]
        failed = 0
        for future in as_completed(futures):
            failed += future.exception() is not None
            if failed > max_failed_share * len(shards):
                pool.shutdown(cancel_futures=True)
                break
    return [_outcome(f) for f in futures if not f.cancelled()]


def _settled(future: PrefectFuture[R]) -> R | BaseException:
    future.wait()
    return future.result(raise_on_failure=False)


def _outcome(future: Future[R]) -> R | BaseException:
    error = future.exception()
    return error if error is not None else future.result()
