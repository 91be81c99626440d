"""Whatever a source gives, in whatever order: what is kept and what is counted is all there was."""

import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.adapters.series import to_chunk
from pipelines.adapters.source import FetchReport, Window

STEP = 1000
WINDOW = Window(5 * STEP, 15 * STEP, STEP)
SELECT = {"namespace": ("a", "default")}

labels = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "y", ""]),
        "namespace": st.sampled_from(["a", "b"]),
        "cluster": st.sampled_from(["prod", "edge"]),
        "instance": st.sampled_from(["1", "2"]),
    },
)
values = st.floats(-9, 9) | st.sampled_from([math.nan, math.inf, -math.inf])
points = st.lists(st.tuples(st.integers(0, 20 * STEP), values), max_size=8)


@given(
    answer=st.lists(st.tuples(labels, points), max_size=6, unique_by=lambda s: str(sorted(s[0]))),
    select=st.sampled_from([{}, SELECT]),
)
def test_the_youngest_sample_of_a_workload_and_stamp_is_kept_and_the_rest_counted(answer, select):
    want: dict[tuple, tuple[int, float]] = {}
    given_, unlabelled, unwanted, backwards = 0, 0, 0, 0
    for one, samples in answer:
        workload = (one.get("cluster", "prod"), one.get("namespace", "default"), one.get("name"))
        if not one.get("name"):
            unlabelled += 1
            continue
        if select and workload[1] not in select["namespace"]:
            unwanted += 1
            continue
        given_ += len(samples)
        backwards += sum(b < a for (a, _), (b, _) in pairwise(samples))
        for ts, value in samples:
            stamp = ts // STEP * STEP
            inside = WINDOW.first_ms <= stamp < WINDOW.end_ms and math.isfinite(value)
            if inside and ts >= want.get((*workload, stamp), (-1, 0))[0]:
                want[(*workload, stamp)] = (ts, value)

    chunk = to_chunk(
        "m",
        "prod",
        WINDOW,
        [one for one, _ in answer],
        np.array([len(s) for _, s in answer], dtype=np.int64),
        np.array([ts for _, s in answer for ts, _ in s], dtype=np.int64),
        np.array([v for _, s in answer for _, v in s], dtype=np.float64),
        seen=set(),
        report=FetchReport(queries=1),
        select=select,
    )
    columns = (chunk.samples[c].to_pylist() for c in ("cluster", "namespace", "name"))
    stamp = chunk.samples["ts"].cast("int64").to_pylist()
    got = dict(zip(zip(*columns, stamp, strict=True), chunk.samples["value"], strict=True))
    assert {k: v.as_py() for k, v in got.items()} == {k: v for k, (_, v) in want.items()}
    r = chunk.report
    assert r.samples == len(chunk.samples) == len(want)
    assert given_ == r.samples + r.dropped_not_finite + r.duplicates + r.outside_window
    assert (r.unlabelled, r.outside_selection, r.out_of_order) == (unlabelled, unwanted, backwards)
    assert (r.series, r.queries) == (len(answer), 1)
