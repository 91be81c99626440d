"""Who runs shards: threads, processes or Dask, as Prefect tasks inside a flow run.

================  ====================  ============================================
shards.backend    outside a flow run    inside a flow run
================  ====================  ============================================
threads           ThreadPoolExecutor    Prefect's ThreadPoolTaskRunner
processes         ProcessPoolExecutor   prefect-dask's runner on a local cluster
dask, no address  a local cluster       prefect-dask's runner on a local cluster
dask, an address  a client              prefect-dask's runner
================  ====================  ============================================

A runner is opened for the shards of one step, whatever the flow was decorated with: only then is
the configuration known.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import (
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any, cast
from uuid import UUID

import httpx
from prefect import Task
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.futures import as_completed as prefect_as_completed
from prefect.states import Crashed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.utilities.callables import get_call_parameters

from pipelines.batches import batched, in_place_of
from pipelines.dask_clusters import check_workers, cluster_at, is_killed
from pipelines.spreading import Back, Baggage, Parcel, Where, run_elsewhere

__all__ = ["Crew", "crew"]

_log = logging.getLogger(__name__)
_CAPS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Crew:
    """What takes shards.

    Attributes
    ----------
    begin : takes a shard, gives its future
    finished : of futures, each as it is done
    opened : what a future's result is worth to the flow
    """

    begin: Callable[[Any], Any]
    finished: Callable[[Iterable[Any]], Iterable[Any]]
    opened: Callable[[Any], Any]


@contextmanager
def crew(task: Task[Any, Any], workers: int, where: Where) -> Generator[Crew]:
    """Who runs the task's shards; what has not begun when it is left is given up.

    Raises
    ------
    ConfigError
        The Dask cluster is not reached, or its workers are, or see, something else than this
        process.
    """
    in_flow = FlowRunContext.get() is not None
    with ExitStack() as stack:
        if where.backend == "threads" and in_flow:
            runner = stack.enter_context(ThreadPoolTaskRunner(max_workers=workers))
            begin = partial(_submit, runner, batched(task))
            yield Crew(begin, _prefect_finished, _as_it_is)
        elif where.backend == "threads":
            threads = stack.enter_context(_pool(ThreadPoolExecutor(workers)))
            yield Crew(partial(threads.submit, task.fn), as_completed, _as_it_is)
        elif where.backend == "processes" and not in_flow:
            submit = stack.enter_context(_processes(workers))
            pack = partial(Parcel.of, task, baggage=None)
            yield Crew(lambda s: submit(run_elsewhere, pack(s)), as_completed, _result)
        else:
            yield _on_dask(stack, task, workers, where, in_flow=in_flow)


def _on_dask(
    stack: ExitStack, task: Task[Any, Any], workers: int, where: Where, *, in_flow: bool
) -> Crew:
    given = where.address if where.backend == "dask" else ""
    address = stack.enter_context(cluster_at(given, workers))
    if where.is_far:
        check_workers(address, where)
    pack = partial(Parcel.of, task, baggage=Baggage.of(where))

    def unpacked(back: Back) -> Any:
        return back.unpack(where)

    if in_flow:
        from prefect_dask.task_runners import DaskTaskRunner

        runner = stack.enter_context(DaskTaskRunner(address=address))
        begin = partial(_submit, runner, in_place_of(task, run_elsewhere))
        return Crew(lambda s: begin(pack(s)), _dask_finished, unpacked)
    from distributed import Client
    from distributed import as_completed as dask_as_completed

    client = stack.enter_context(Client(address, set_as_default=False))

    def submitted(shard: Any) -> Any:
        return client.submit(run_elsewhere, pack(shard), pure=False)

    return Crew(submitted, partial(dask_as_completed, loop=client.loop), unpacked)


def _submit(runner: TaskRunner[Any], task: Task[Any, Any], argument: Any) -> Any:
    return runner.submit(task, get_call_parameters(task.fn, (argument,), {}))


def _prefect_finished(futures: Iterable[Any]) -> Iterable[Any]:
    return prefect_as_completed(list(futures))


def _dask_finished(futures: Iterable[Any]) -> Iterable[Any]:
    for future in cast("Iterable[Any]", prefect_as_completed(list(futures))):
        if is_killed(future.wrapped_future.exception()):
            _crashed(future.task_run_id)
        yield future


def _crashed(task_run_id: UUID) -> None:
    """Say so of a task run whose workers died: they were the ones to say it, so it would stay
    Running.
    """
    state = Crashed(message="every worker that ran it was killed")
    try:
        with get_client(sync_client=True) as client:
            client.set_task_run_state(task_run_id, state, force=True)
    except (ObjectNotFound, httpx.HTTPError) as error:  # killed before it had said that it ran
        _log.debug("task run %s: its state is not set: %r", task_run_id, error)


def _as_it_is(result: Any) -> Any:
    return result


def _result(back: Back) -> Any:
    return back.result


@contextmanager
def _pool(pool: Executor) -> Generator[Executor]:
    """Left with an error or without, what has not begun does not begin."""
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _processes(workers: int) -> Generator[Callable[..., Future[Any]]]:
    """Fresh processes whose numeric libraries use one thread each: shards are the parallelism.

    Gives what submits to them. A pool of which one process was killed takes no more work, and what
    it had is lost: the next work opens a new pool.
    """
    before = {name: os.environ.get(name) for name in _CAPS}
    os.environ.update(dict.fromkeys(_CAPS, "1"))  # read by the libraries when a child starts
    try:
        with ExitStack() as stack:

            def opened() -> Executor:
                pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
                return stack.enter_context(_pool(pool))

            pool = opened()

            def submit(function: Callable[..., Any], argument: Any) -> Future[Any]:
                nonlocal pool
                try:
                    return pool.submit(function, argument)
                except BrokenProcessPool:
                    pool = opened()
                    return pool.submit(function, argument)

            yield submit
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
