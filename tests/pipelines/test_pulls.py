import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipelines.adapters.source import Estimate, FetchReport
from pipelines.bill import Allowance, Budget, Prices, Spending, usd
from pipelines.pulls import Pull, Wanted, allot, but_silence, share, slices

DAY = 86_400_000
STEP = 300_000
PRICES = Prices()


def wanted(spans: tuple[tuple[int, int], ...], samples: int = 1000, metric: str = "m") -> Wanted:
    return Wanted(metric, "", spans, Estimate(series=1, samples=samples, queries=1))


SPANS = st.lists(st.integers(0, 400), min_size=2, max_size=8, unique=True).map(
    lambda hours: tuple(
        (a * 3_600_000, b * 3_600_000)
        for a, b in zip(sorted(hours)[::2], sorted(hours)[1::2], strict=False)
    )
)


@given(st.lists(SPANS, min_size=1, max_size=4), st.integers(1, 10_000))
def test_slices_hold_every_span_once_cut_at_midnights_the_newest_first(spans, samples_per_commit):
    asked = [wanted(s, metric=f"m{i}") for i, s in enumerate(spans)]
    cut = slices(asked, samples_per_commit)
    for one in asked:
        mine = sorted(
            (p.start_ms, p.end_ms) for pulls in cut for p in pulls if p.metric == one.metric
        )
        assert sum(b - a for a, b in mine) == one.length_ms
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(mine))
        edges = {t for span in one.spans for t in span}
        assert all(t % DAY == 0 or t in edges for span in mine for t in span)
    for newer, older in itertools.pairwise(cut):
        assert max(p.end_ms for p in older) <= min(p.start_ms // DAY * DAY for p in newer)
    days = [{t // DAY for p in pulls for t in (p.start_ms, p.end_ms - 1)} for pulls in cut]
    assert all(one.isdisjoint(other) for one, other in itertools.pairwise(days))


def test_a_slice_holds_about_so_many_samples_and_at_least_a_day():
    month = [wanted(((0, 28 * DAY),), samples=28_000, metric=m) for m in ("a", "b")]
    assert [len(slices(month, n)) for n in (1, 2_000, 14_000, 10**9)] == [28, 28, 4, 1]
    assert slices([], 10) == []


def test_the_parts_of_an_estimate_are_never_less_than_the_whole():
    whole = Estimate(series=3, samples=100, queries=1, samples_processed=7)
    parts = [share(whole, 1 / 3)] * 3
    for key in ("samples", "queries", "samples_processed"):
        assert sum(getattr(p, key) for p in parts) >= getattr(whole, key)
    assert parts[0].series == 3


def pulls(*samples: int) -> list[Pull]:
    return [Pull(f"m{i}", "", 0, DAY, Estimate(samples=n)) for i, n in enumerate(samples)]


def test_without_a_budget_everybody_may_pull_whatever_it_takes():
    allowed, left_out = allot(
        pulls(5, 5), Allowance.left(Budget(), Spending()), PRICES, "free", STEP
    )
    assert not left_out
    assert all(p.allowance == Allowance() for p in allowed)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=6), st.integers(1, 300))
def test_a_budget_is_given_out_in_order_and_never_twice(samples, budget):
    left = Allowance.left(Budget(samples=budget), Spending())
    allowed, left_out = allot(pulls(*samples), left, PRICES, "free", STEP)
    length = sum(p.end_ms - p.start_ms for p in (*allowed, *left_out))
    assert length == len(samples) * DAY
    if sum(samples) <= budget:
        assert not left_out
        assert sum(p.allowance.samples for p in allowed) <= budget * (1 + 1e-9)
        assert all(p.allowance.samples >= n for p, n in zip(allowed, samples, strict=True))
    else:
        given_out = [p.allowance.samples for p in allowed]
        assert sum(given_out) == budget
        assert given_out[:-1] == samples[: len(given_out) - 1]


def test_what_the_budget_is_not_enough_for_is_not_asked_for():
    """A source answers days at once and is paid for them: what is asked for has to fit before."""
    left = Allowance.left(Budget(samples=150), Spending())
    (whole, part), left_out = allot(pulls(100, 200, 100), left, PRICES, "free", STEP)
    assert (whole.start_ms, whole.end_ms) == (0, DAY)
    assert (part.start_ms, part.end_ms) == (DAY * 3 // 4, DAY)  # the newest of it
    rest = [("m1", 0, part.start_ms), ("m2", 0, DAY)]
    assert [(p.metric, p.start_ms, p.end_ms) for p in left_out] == rest
    ((least,), _) = allot(pulls(10**9), left, PRICES, "free", STEP)
    assert least.start_ms == DAY - STEP


def test_what_was_silent_is_not_asked_for_again_but_for_its_newest_part():
    silent = ((0, 2 * DAY), (3 * DAY, 5 * DAY))
    one = but_silence(wanted(((0, 6 * DAY),)), silent, 3_600_000, STEP)
    assert one.spans == ((2 * DAY, 3 * DAY), (5 * DAY - 3_600_000, 6 * DAY))
    assert but_silence(wanted(((0, DAY),)), (), 0, STEP) == wanted(((0, DAY),))
    all_of_it = but_silence(wanted(((0, DAY),)), ((0, DAY),), 0, STEP)
    assert all_of_it.spans == ((DAY - STEP, DAY),)


def test_only_what_the_budget_bounds_ends_a_pull():
    left = Allowance.left(Budget(samples=150), Spending())
    allowed, _ = allot(pulls(100, 200), left, PRICES, "free", STEP)
    some = Spending(samples=40, samples_processed=10**9, metrics_requested=10, usd=1)
    assert not any(p.allowance.less(some).is_spent for p in allowed)


def test_what_is_spent_is_not_given_again():
    left = Allowance.left(Budget(usd=1.0), Spending(usd=1.5))
    assert left.is_spent
    assert allot(pulls(1), left, PRICES, "free", STEP) == ([], pulls(1))


def test_prices_are_those_of_the_unit_that_is_billed():
    counted = FetchReport(samples_processed=3 * 10**9, metrics_requested=5000, list_requests=1000)
    assert usd(counted, PRICES, "amp") == 3 * 0.10
    assert usd(counted, PRICES, "cloudwatch") == 5 * 0.01 + 0.01
    assert usd(counted, PRICES, "free") == 0
