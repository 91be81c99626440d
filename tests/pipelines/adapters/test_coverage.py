from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.frames import FrameError
from pipelines.adapters.store.coverage import (
    Coverage,
    CoverageKey,
    clip,
    decode,
    encode,
    forget,
    merge,
    missing,
    normal,
    subtract,
    union,
)

DAY = 86_400_000
KEY = CoverageKey("http://amp/ws-1", "cpu_usage_cores", "namespace=shop", "ab12", 300)

raw = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8)
spans = raw.map(normal)
texts = st.text(max_size=20)
dates = st.lists(st.dates().map(lambda d: d.isoformat()), max_size=4, unique=True)


def points(of) -> set[int]:
    return {p for a, b in of for p in range(a, b)}


@given(raw)
def test_normal_spans_are_sorted_apart_and_the_same_points(some):
    out = normal(some)
    assert points(out) == points(some)
    assert all(a < b for a, b in out)
    assert all(one[1] < other[0] for one, other in pairwise(out))


@given(spans, spans)
def test_union_subtract_and_clip_are_those_of_sets(one, other):
    assert points(union(one, other)) == points(one) | points(other)
    assert points(subtract(one, other)) == points(one) - points(other)
    assert points(clip(one, 5, 20)) == points(one) & set(range(5, 20))
    for result in (union(one, other), subtract(one, other), clip(one, 5, 20)):
        assert normal(result) == result


@given(spans, spans, spans, dates, dates)
def test_merging_needs_no_order_and_no_first_time(a, b, c, days, more):
    one, two, three = (
        Coverage(a, tuple(sorted(days))),
        Coverage(b, tuple(sorted(more))),
        Coverage(c),
    )
    assert merge(one, two) == merge(two, one)
    assert merge(merge(one, two), three) == merge(one, merge(two, three))
    assert merge(one, one) == one
    assert merge(Coverage(), one) == one


@given(spans, st.integers(0, 30), st.integers(0, 30), st.integers(0, 10))
def test_missing_is_what_was_not_pulled_and_the_last_bit(covered, start, end, reread):
    out = points(missing(Coverage(covered), start, end, reread, ()))
    window = set(range(start, end))
    late = set(range(covered[-1][1] - reread, covered[-1][1])) if covered else set()
    assert out == window & ((window - points(covered)) | late)


@given(spans, st.integers(0, 30), st.integers(0, 30))
def test_what_was_pulled_is_not_missing_any_more(covered, start, end):
    first = Coverage(covered)
    pulled = missing(first, start, end, 0, ())
    assert missing(merge(first, Coverage(pulled)), start, end, 0, ()) == ()


def test_a_day_whose_file_is_gone_is_pulled_again():
    covered = Coverage(((0, 3 * DAY),), ("1970-01-01", "1970-01-02"))
    assert missing(covered, 0, 3 * DAY, 0, {"1970-01-01"}) == ((DAY, 2 * DAY),)
    assert missing(covered, DAY + 5, 3 * DAY, 0, {"1970-01-01"}) == ((DAY + 5, 2 * DAY),)
    # the third day was empty: it never had a file
    assert missing(covered, 0, 3 * DAY, 0, {"1970-01-01", "1970-01-02"}) == ()


def test_a_day_that_is_forgotten_is_pulled_again_by_who_had_samples_in_it():
    covered = Coverage(((0, 3 * DAY),), ("1970-01-01", "1970-01-02"), 7)
    less = forget(covered, {"1970-01-02", "1970-01-03"})
    # the third day was empty for this one
    assert less == Coverage(((0, DAY), (2 * DAY, 3 * DAY)), ("1970-01-01",), 7)
    assert missing(less, 0, 3 * DAY, 0, {"1970-01-01", "1970-01-02"}) == ((DAY, 2 * DAY),)


@given(spans, dates, st.builds(CoverageKey, texts, texts, texts, texts, st.floats(1, 1e5)))
def test_a_document_comes_back_and_its_bytes_are_those_of_its_content(some, days, key):
    coverage = Coverage(some, tuple(sorted(days)))
    text = encode(key, coverage)
    assert decode(text) == (key, coverage)
    assert encode(*decode(text)) == text


@given(texts, texts)
def test_every_query_has_a_file_of_its_own_and_no_text_becomes_a_path(one, other):
    a, b = (CoverageKey("s", t, "", "", 1) for t in (one, other))
    assert (a.file == b.file) == (one == other)
    assert set(a.file) <= set("0123456789abcdef.json")
    # what moves from one part to the next is another query
    assert CoverageKey("s", "a", "b", "", 1).file != CoverageKey("s", "ab", "", "", 1).file


@given(spans, st.integers(0, 30))
def test_forgetting_the_past_keeps_the_rest(some, at):
    assert points(Coverage(some).since(at).spans) == points(some) - set(range(at))
    days = ("1970-01-01", "1970-01-02")
    assert Coverage((), days).since(DAY).days == ("1970-01-02",)


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[1]", encode(KEY, Coverage()).replace(b'"version": 1', b'"version": 9'),
             encode(KEY, Coverage((), ("2026-06-01",))).replace(b"2026-06-01", b"2026-99-01")]
)  # fmt: skip
def test_what_is_no_coverage_is_refused(text):
    with pytest.raises(FrameError, match="coverage: "):
        decode(text)
