import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.metric_words import amounts, metric_words, ranges


def said(metric: str, value: float) -> str:
    return amounts(np.array([value]), metric_words([metric]).kind)[0]


def between(metric: str, low: float, high: float) -> str:
    return ranges(np.array([low]), np.array([high]), metric_words([metric]).kind)[0]


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("latency_p99_seconds", "p99 latency"),
        ("latency_p99_9_seconds", "p99.9 latency"),
        ("requests_per_second", "requests"),
        ("error_ratio", "errors"),
        ("memory_rss_bytes", "memory (RSS)"),
        ("checkout_queue_depth", "checkout queue depth"),
        ("CPU Utilization (%)", "CPU Utilization (%)"),
        ("_seconds", "seconds"),
        ("", "a metric"),
        ("\n\x00", "a metric"),
        ("<b>disk</b>\n_bytes", "<b>disk</b>"),
    ],
)
def test_a_name_in_words(metric, words):
    assert metric_words([metric]).names[0] == words


@pytest.mark.parametrize(
    ("metric", "value", "words"),
    [
        ("latency_p99_seconds", 0.84, "840 ms"),
        ("latency_p99_seconds", 0.9996, "1 s"),
        ("latency_p99_seconds", 90, "90 s"),
        ("latency_p99_seconds", 600, "10 min"),
        ("call_ms", 840, "840 ms"),
        ("memory_rss_bytes", 2**30, "1 GiB"),
        ("memory_rss_bytes", 1010 * 2**20, "0.986 GiB"),
        ("network_receive_bytes_per_second", 2048, "2 KiB/s"),
        ("error_ratio", 0.032, "3.2 %"),
        ("cpu_usage_cores", 0.25, "0.25 cores"),
        ("requests_per_second", 1234, "1234/s"),
        ("queue_depth", 12_340, "12.3k"),
        ("queue_depth", -3, "-3"),
        ("latency_p99_seconds", 0, "0 s"),
        ("memory_rss_bytes", float("nan"), "nothing"),
    ],
)
def test_a_value_with_its_unit(metric, value, words):
    assert said(metric, value) == words


@pytest.mark.parametrize(
    ("metric", "low", "high", "words"),
    [
        ("latency_p99_seconds", 0.21, 0.26, "210–260 ms"),
        ("latency_p99_seconds", -0.1, 0.26, "0–260 ms"),
        ("latency_p99_seconds", 0.9, 1.2, "0.9–1.2 s"),
        ("memory_rss_bytes", 2**30, 2**30 + 1, "1 GiB"),
        ("profit", -5, 20, "-5 to 20"),
        ("profit", -20, -5, "-20 to -5"),
        ("profit", 0, 0, "0"),
        ("profit", 1e-12, 3, "0–3"),
    ],
)
def test_a_range_shares_one_unit(metric, low, high, words):
    assert between(metric, low, high) == words


METRICS = ["a_seconds", "a_bytes", "a_ratio", "a_per_second", "a_total", "a", "a_ms", "a_cores"]


@given(st.sampled_from(METRICS), st.floats(allow_nan=True, allow_infinity=True))
def test_every_value_has_short_words(metric, value):
    words = said(metric, value)
    assert words.isprintable()
    assert len(words) <= 24


@given(st.sampled_from(METRICS), st.floats(1e-5, 1e14), st.floats(1, 1000))
def test_a_larger_value_is_never_said_to_be_less_than_it_is_by_its_digits(metric, value, factor):
    """Words are the value to three digits: read back with their unit they are that close."""
    sizes = {
        "a_seconds": {"µs": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400},
        "a_ms": {"µs": 1e-3, "ms": 1, "s": 1e3, "min": 6e4, "h": 3.6e6, "d": 8.64e7},
        "a_bytes": {u: 1024**i for i, u in enumerate(["B", "KiB", "MiB", "GiB", "TiB", "PiB"])},
        "a_ratio": {"%": 0.01},
        "a_cores": {"cores": 1},
    }.get(metric)
    words = said(metric, value * factor)
    number, _, unit = words.partition(" ")
    letters = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    size = sizes[unit] if sizes else 1.0
    number = number.removesuffix("/s")
    if number[-1] in letters:
        size, number = size * letters[number[-1]], number[:-1]
    assert float(number) * size == pytest.approx(value * factor, rel=6e-3)


@given(st.lists(st.text(max_size=400), max_size=6))
def test_any_name_is_one_short_printable_line_and_does_not_depend_on_the_others(names):
    words = metric_words(names)
    assert [metric_words([n]).names[0] for n in names] == words.names.tolist()
    for text in words.names:
        assert text.isprintable()
        assert 0 < len(text) <= 60
