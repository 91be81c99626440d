"""Shards in batches: the same results in the same order, of few task runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.batches import Batch, Outcomes, cut, each, outcomes_of


def _double(x: int) -> int:
    if x == 13:
        raise RuntimeError("unlucky")
    return 2 * x


def _all(shards: list[int], at_most: int, failures: int = 10**6) -> dict[int, object]:
    found: dict[int, object] = {}
    for number, argument in cut(shards, at_most, failures).items():
        found.update(outcomes_of(number, argument, each(_double, argument)))
    return found


@given(st.lists(st.integers(14, 99), max_size=200), st.integers(1, 60))
def test_batches_give_what_shards_give_in_their_order(shards: list[int], at_most: int) -> None:
    parts = cut(shards, at_most, 0)
    assert len(parts) <= at_most
    sizes = [len(p.shards) if isinstance(p, Batch) else 1 for p in parts.values()]
    assert not sizes or max(sizes) - min(sizes) <= 1
    assert _all(shards, at_most) == {i: 2 * x for i, x in enumerate(shards)}


@given(st.integers(1, 8))
def test_an_error_is_that_of_its_shard_alone(at_most: int) -> None:
    found = _all([1, 2, 13, 4, 5, 13, 7, 8, 9], at_most)
    errors = {i for i, told in found.items() if isinstance(told, RuntimeError)}
    assert errors == {2, 5}
    assert [found[i] for i in sorted(found) if i not in errors] == [2, 4, 8, 10, 14, 16, 18]


def test_a_batch_gives_up_when_more_have_failed_than_may() -> None:
    batch = Batch((1, 13, 3, 13, 5), failures=1)
    told = each(_double, batch)
    assert isinstance(told, Outcomes)
    assert [type(one) for one in told.each] == [int, RuntimeError, int, RuntimeError]


def test_a_batch_whose_worker_is_gone_has_failed_as_a_whole() -> None:
    gone = ConnectionError("gone")
    assert outcomes_of(4, Batch((1, 2, 3)), gone) == {4: gone, 5: gone, 6: gone}


def test_no_task_run_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at_most: expected 1 or more"):
        cut([1], 0, 0)
