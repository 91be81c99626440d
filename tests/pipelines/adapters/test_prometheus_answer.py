"""Answers are read to the last bit, whatever numbers are in them and however they are laid out."""

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.adapters.prometheus.answer import Series, decode, points_of, strict_points_of
from pipelines.errors import QueryFailed

doubles = st.floats().flatmap(
    lambda x: st.sampled_from([repr(x), f"{x:.17g}", f"{x:e}", f"{x:.3f}", go(x)])
)
texts = doubles | st.integers(-(10**25), 10**25).map(str) | st.sampled_from(
    ["NaN", "+Inf", "-Inf", "1e400", "-1e400", "1e-400", "5e-324", "1e+25", "-0", "0.1e-7"]
)  # fmt: skip
stamps = st.integers(0, 4_102_444_800_000)
matrices = st.lists(st.lists(st.tuples(stamps, texts), max_size=6), max_size=5)


def go(x: float) -> str:
    """As Go writes it: a plus before infinity and in exponents."""
    return "+Inf" if x == math.inf else "NaN" if x != x else f"{x!r}"


def seconds(ms: int) -> str:
    return str(ms // 1000) if ms % 1000 == 0 else f"{ms // 1000}.{ms % 1000:03d}"


def series(*values: str) -> list[Series]:
    return [Series({"name": str(i)}, msgspec.Raw(v.encode())) for i, v in enumerate(values)]


@given(matrices)
def test_every_number_is_what_python_reads(matrix):
    rows = [",".join(f'[{seconds(ms)},"{v}"]' for ms, v in points) for points in matrix]
    lengths, ts_ms, value = points_of(series(*(f"[{row}]" for row in rows)), "m")
    flat = [point for points in matrix for point in points]
    assert lengths.tolist() == [len(points) for points in matrix]
    assert ts_ms.tolist() == [ms for ms, _ in flat]
    want = np.array([float(v) for _, v in flat], dtype=np.float64)
    both_nan = np.isnan(value) & np.isnan(want)
    assert (both_nan | (value.view(np.int64) == want.view(np.int64))).all()


@given(matrices, st.sampled_from([None, 1]), st.booleans())
def test_the_layout_of_the_json_does_not_matter(matrix, indent, escaped):
    def layout(points):
        text = json.dumps([[ms / 1000, v] for ms, v in points], indent=indent)
        return text.replace('"-', '"\\u002d') if escaped else text

    values = [layout(points) for points in matrix]
    some = points_of(series(*values), "m")
    for got, want in zip(some, strict_points_of(series(*values), "m"), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "values",
    [
        '[[1,"many"]]', '[[1,""]]', '[[1,"1+5"]]', '[[1,"1_000"]]', '[[1,"0x10"]]', '[[1,"1,2"]]',
        '[[1,"1\\n2"]]', '[["1","2"]]', '[[1,2]]', '[[1,"2",3,"4"]]', '[[1,"2"],[3]]', '[[]]',
        '[[1,"2"],[]]', '[[1,["2"]]]', '[1,"2"]', "{}", "null", '"x"', '[[1e300,"2"]]',
        '[[null,"2"]]', '[["NaN",2],[1,"2"]]', '[[1,"2"],null]',
    ],
)  # fmt: skip
def test_what_is_no_point_is_refused_whatever_is_beside_it(values):
    with pytest.raises(QueryFailed, match=r"metric 'm': the server sent a (point|stamp) that"):
        points_of(series('[[1,"2"]]', values, "[]"), "m")


def test_many_runs_are_one_answer():
    rng = np.random.default_rng(3)
    value = rng.lognormal(0, 20, (40, 5000))
    rows = (",".join(f'[{t},"{v}"]' for t, v in enumerate(row.tolist())) for row in value)
    lengths, ts_ms, got = points_of(series(*(f"[{row}]" for row in rows)), "m")
    assert lengths.tolist() == [5000] * 40
    assert (ts_ms == np.tile(np.arange(5000) * 1000, 40)).all()
    assert (got == value.ravel()).all()


def test_no_series_have_no_points():
    assert [column.tolist() for column in points_of([], "m")] == [[], [], []]


@pytest.mark.parametrize(
    ("more", "incomplete"),
    [
        ({}, False),
        ({"isPartial": True}, True),
        ({"warnings": ["fetch series from store: no answer"]}, True),
        ({"warnings": ["PromQL warning: quantile value should be between 0 and 1"]}, False),
        ({"infos": ["PromQL info: metric might not be a counter"]}, False),
    ],
)
def test_a_warning_of_a_store_means_that_samples_are_missing(more, incomplete):
    answer = decode(json.dumps({"status": "success", "data": {"result": []}} | more).encode())
    assert answer.incomplete is incomplete
    assert len(answer.remarks) == len(more)


@pytest.mark.parametrize(
    "text",
    ['{"result": null}', '{"result": [], "stats": null}', "null"],
)
def test_null_is_as_good_as_nothing(text):
    body = f'{{"status": "success", "data": {text}, "warnings": null, "infos": null}}'
    answer = decode(body.encode())
    assert (answer.series, answer.histograms, answer.remarks) == ([], [], [])
    assert not answer.incomplete


@pytest.mark.parametrize("bins", ["null", "[]"])
def test_no_histogram_is_none(bins):
    one = f'{{"metric": {{}}, "values": [[1,"2"]], "histograms": {bins}}}'
    answer = decode(f'{{"status": "success", "data": {{"result": [{one}]}}}}'.encode())
    assert (len(answer.series), len(answer.histograms)) == (1, 0)


def test_a_label_that_is_no_unicode_loses_no_sample():
    one = b'{"metric": {"name": "caf\xe9"}, "values": [[1,"2"]]}'
    answer = decode(b'{"status": "success", "data": {"result": [' + one + b"]}}")
    assert [s.metric for s in answer.series] == [{"name": "caf\ufffd"}]
    assert [column.tolist() for column in points_of(answer.series, "m")] == [[1], [1000], [2.0]]


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_junk_is_no_answer_and_nothing_worse(body):
    try:
        answer = decode(body)
    except msgspec.MsgspecError:
        return
    assert answer.series is not None
