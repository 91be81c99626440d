"""Every shard is accounted for, inside a flow run and outside of one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial

import pytest
from prefect import task
from prefect.cache_policies import NO_CACHE

from pipelines.batches import Batch, cut, each, outcomes_of
from pipelines.crews import Crew
from pipelines.errors import ForetideError, HistoryError
from pipelines.tasks import _outcomes, call, run_shards


@task(cache_policy=NO_CACHE)
def double(x: int) -> int:
    if x < 0:
        raise HistoryError(f"{x} is too little")
    if x == 13:
        raise RuntimeError("unlucky")
    return 2 * x


def test_in_equals_done_plus_failed() -> None:
    shards = run_shards(double, [1, 13, 3, -1], workers=2, max_failed_share=0.5)
    assert shards.results == (2, 6)
    assert len(shards.failed) == 2
    assert "unlucky" in shards.failed[0]


def test_too_many_failures_are_an_error_that_counts_them() -> None:
    with pytest.raises(ForetideError, match="1 of 3 shards failed, first: RuntimeError: unlucky"):
        run_shards(double, [1, 13, 3], workers=2, max_failed_share=0.1)


def test_what_the_user_can_mend_is_said_as_it_is() -> None:
    with pytest.raises(HistoryError, match="-1 is too little"):
        run_shards(double, [-1], workers=1, max_failed_share=0.0)


def test_one_task_gives_its_result() -> None:
    assert call(double, 4) == 8


def test_a_batch_whose_worker_was_killed_runs_again_shard_by_shard() -> None:
    """Only the shard that kills is lost, not its neighbours."""

    class KilledWorker(Exception):
        pass

    def worked(part: object) -> object:
        if part == 13 or (isinstance(part, Batch) and 13 in part.shards):
            raise KilledWorker("13")
        return each(lambda x: 2 * x, part)

    with ThreadPoolExecutor(2) as pool:
        those = Crew(partial(pool.submit, worked), as_completed, lambda result: result)
        parts = cut([1, 2, 13, 4, 5, 6], 2, 1)
        told = {
            one: what
            for number, outcome in _outcomes(those, parts)
            for one, what in outcomes_of(number, parts[number], outcome).items()
        }
    assert isinstance(told.pop(2), KilledWorker)
    assert told == {0: 2, 1: 4, 3: 8, 4: 10, 5: 12}
