"""The laws that hold for every source of metrics.

A test module passes them by a subclass::

    class TestMySource(SourceContract, ByQuery, WithCredentials, OverTheNetwork):
        @pytest.fixture(scope="class")
        @classmethod
        def harness(cls) -> Iterator[Harness]: ...

The harness brings the outside system (real, or the most faithful double there is) and says how to
fill it and how to ask it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from features.frames import SAMPLES, conform
from features.metrics import Metric
from pipelines.adapters.source import Chunk, FetchReport, Source, Spec, Window
from pipelines.errors import AccessDenied, ConfigError, SourceUnreachable

__all__ = [
    "HOSTILE",
    "ByQuery",
    "Denied",
    "Harness",
    "OverTheNetwork",
    "SourceContract",
    "WithCredentials",
    "truth",
]

START = pd.Timestamp("2026-06-01", tz="UTC")
STEP = pd.Timedelta("5min")
STEPS = 700
"""A little more than two days, so that day ends fall inside."""
END = START + STEPS * STEP
METRICS = ("cpu_usage_cores", "requests_per_second")
HOSTILE = "we\"ird'\\ {na}me=~.*+|,$__interval\n<script>é"
"""A label value that is safe only where it is never pasted into a query."""


@dataclass(frozen=True)
class Denied:
    """A source whose credentials are refused.

    ``principal`` is what the message must name, ``secrets`` what no message may show.
    """

    source: Source
    principal: str
    secrets: tuple[str, ...]


class Harness(Protocol):
    hostile: str = HOSTILE
    """The worst label value that the system can hold."""

    def load(self, samples: pa.Table) -> None:
        """Fill the system; each metric is later asked for by ``spec``."""

    def spec(self, metric: str, select: Mapping[str, tuple[str, ...]] | None = None) -> Spec:
        """How to ask for a metric, also for one that was never loaded."""

    def source(self) -> Source:
        """The source; series without a cluster label belong to the cluster ``prod``."""

    def denied(self) -> Denied | None:
        """The same system with bad credentials; nothing where it has no notion of them."""

    def unreachable(self) -> Source | None:
        """The same source where nobody answers; nothing where that cannot be."""


def truth(hostile: str = HOSTILE) -> pa.Table:
    """Two metrics of three workloads; gaps, a late start, and numbers that are easily mangled."""
    rng = np.random.default_rng(5)
    ts = pd.date_range(START, periods=STEPS, freq=STEP)
    frames = []
    for number, (namespace, name) in enumerate(
        [("shop", "checkout"), ("pay", "cart"), ("shop", hostile)]
    ):
        for metric in METRICS:
            value = rng.lognormal(size=STEPS) * 10.0 ** rng.integers(-9, 12, STEPS)
            value[:8] = [0.0, 1.0, -2.5, 1e15, 1 / 3, 123456789.12345679, 1e-9, 2.0**53]
            there = np.ones(STEPS, dtype=bool)
            there[100:130] = number != 0  # a gap
            there[:300] &= number != 1  # a late start
            frames.append(
                pd.DataFrame(
                    {
                        "cluster": "prod",
                        "namespace": namespace,
                        "kind": "Deployment",
                        "name": name,
                        "metric": metric,
                        "ts": ts[there],
                        "value": value[there],
                    }
                )
            )
    return conform(pd.concat(frames, ignore_index=True), SAMPLES)


class SourceContract:
    """Every source passes these; ``filled`` is the harness, loaded with ``truth`` once."""

    @pytest.fixture(scope="class")
    @classmethod
    def filled(cls, harness: Harness) -> Harness:
        harness.load(truth(harness.hostile))
        return harness

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, filled: Harness) -> Source:
        return filled.source()

    def test_every_sample_comes_back_once_and_as_it_was(self, filled: Harness, source: Source):
        for metric in METRICS:
            got = pulled(source, filled.spec(metric), window())
            pd.testing.assert_series_equal(got, expected(filled, metric), rtol=1e-12)

    def test_the_window_has_its_start_and_not_its_end(self, filled: Harness, source: Source):
        lo, hi = START + 20 * STEP, START + 320 * STEP
        got = pulled(source, filled.spec(METRICS[0]), window(lo, hi))
        want = expected(filled, METRICS[0])
        at = want.index.get_level_values("ts")
        pd.testing.assert_series_equal(got, want[(at >= lo) & (at < hi)], rtol=1e-12)

    def test_two_windows_are_the_whole(self, filled: Harness, source: Source):
        cut = START + 123 * STEP
        spec = filled.spec(METRICS[1])
        parts = [pulled(source, spec, w) for w in (window(end=cut), window(start=cut))]
        pd.testing.assert_series_equal(
            pd.concat(parts).sort_index(), pulled(source, spec, window()), rtol=0
        )

    def test_pieces_follow_each_other_and_cover_the_window(self, filled: Harness, source: Source):
        for metric in (METRICS[0], "no_such_metric"):
            asked = window()
            chunks = list(source.fetch(filled.spec(metric), asked))
            assert chunks[0].window.first_ms == asked.first_ms
            assert chunks[-1].window.end_ms == asked.end_ms
            for one, other in pairwise(chunks):
                assert one.window.end_ms == other.window.first_ms
            for chunk in chunks:
                ts = stamps(chunk)
                assert chunk.complete
                assert chunk.window.step_ms == asked.step_ms
                assert (ts % asked.step_ms == 0).all()
                assert ((ts >= chunk.window.first_ms) & (ts < chunk.window.end_ms)).all()
                assert chunk.samples.schema.equals(SAMPLES.schema, check_metadata=False)

    def test_what_is_not_there_is_nothing_and_no_error(self, filled: Harness, source: Source):
        assert pulled(source, filled.spec("no_such_metric"), window()).empty
        before = window(START - pd.Timedelta(days=2), START - pd.Timedelta(days=1))
        assert pulled(source, filled.spec(METRICS[0]), before).empty

    def test_asking_again_gives_the_same(self, filled: Harness, source: Source):
        spec = filled.spec(METRICS[0])
        one, other = (pulled(source, spec, window()) for _ in range(2))
        pd.testing.assert_series_equal(one, other, rtol=0)

    def test_the_counts_are_those_of_the_samples(self, filled: Harness, source: Source):
        chunks = list(source.fetch(filled.spec(METRICS[0]), window()))
        total = sum((c.report for c in chunks), FetchReport())
        assert total.samples == sum(len(c.samples) for c in chunks) == len(want_all(filled))
        assert total.series == 3
        assert (total.duplicates, total.dropped_not_finite, total.unlabelled) == (0, 0, 0)

    def test_a_selection_gets_only_its_own(self, filled: Harness, source: Source):
        every = expected(filled, METRICS[0])
        names = every.index.get_level_values("namespace")
        spec = filled.spec(METRICS[0], {"namespace": ("pay", filled.hostile)})
        pd.testing.assert_series_equal(
            pulled(source, spec, window()), every[names == "pay"], rtol=1e-12
        )
        nobody = filled.spec(METRICS[0], {"namespace": (filled.hostile,)})
        assert pulled(source, nobody, window()).empty

    def test_the_estimate_says_what_will_come(self, filled: Harness, source: Source):
        # as of the end all three workloads are there; asking is a small part of pulling
        estimate = source.estimate(filled.spec(METRICS[0]), window())
        assert estimate.series == 3
        assert len(want_all(filled)) <= estimate.samples <= 3 * STEPS
        assert estimate.report.samples <= 0.1 * estimate.samples
        nothing = source.estimate(filled.spec("no_such_metric"), window())
        assert (nothing.series, nothing.samples) == (0, 0)


class ByQuery:
    """Further laws of a source that finds a metric by the catalog's query, not by its name."""

    def test_without_a_query_nothing_is_asked(self, filled: Harness, source: Source):
        bare = replace(filled.spec(METRICS[0]), metric=Metric("bare"))
        with pytest.raises(ConfigError, match="'bare' has no query"):
            list(source.fetch(bare, window()))


class WithCredentials:
    """Further laws of a source that asks who we are."""

    def test_whoever_is_refused_is_named_and_no_secret_is(self, filled: Harness):
        denied = filled.denied()
        assert denied is not None
        with pytest.raises(AccessDenied) as caught:
            list(denied.source.fetch(filled.spec(METRICS[0]), window()))
        assert denied.principal in str(caught.value)
        for secret in denied.secrets:
            assert secret not in everything_said(caught.value)


class OverTheNetwork:
    """Further laws of a source that may not answer."""

    def test_silence_is_said(self, filled: Harness):
        source = filled.unreachable()
        assert source is not None
        with pytest.raises(SourceUnreachable):
            list(source.fetch(filled.spec(METRICS[0]), window()))


def window(start: pd.Timestamp = START, end: pd.Timestamp = END) -> Window:
    return Window.of(start, end, STEP)


def pulled(source: Source, spec: Spec, asked: Window) -> pd.Series:
    return keyed(pa.concat_tables([c.samples for c in source.fetch(spec, asked)]))


def want_all(harness: Harness) -> pd.Series:
    return expected(harness, METRICS[0])


def expected(harness: Harness, metric: str) -> pd.Series:
    table = truth(harness.hostile)
    return keyed(table.filter(pa.compute.equal(table["metric"].cast(pa.string()), metric)))


def keyed(samples: pa.Table) -> pd.Series:
    """Values by who and when; a key that comes twice is an error."""
    frame = samples.to_pandas().astype(
        dict.fromkeys(("cluster", "namespace", "kind", "name", "metric"), "str")
    )
    series = frame.set_index(list(SAMPLES.key))["value"].sort_index()
    assert not series.index.duplicated().any()
    return series


def stamps(chunk: Chunk) -> np.ndarray:
    return chunk.samples["ts"].cast(pa.int64()).to_numpy()


def everything_said(error: BaseException | None) -> str:
    """The message and every cause behind it, as a traceback or a log would show them."""
    texts = []
    while error is not None:
        texts.append(f"{error} {error!r} {vars(error)}")
        error = error.__cause__ or error.__context__
    return "\n".join(texts)
