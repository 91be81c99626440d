"""Metrics and their values as a person says them: ``p99 latency``, ``840 ms``, ``210–260 ms``.

The unit is the end of a metric's name (``_seconds``, ``_bytes``, ``_ratio``); a name without one is
a plain number. Names are data: what is in them is shown as it is, on one line, and cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats

__all__ = ["MetricWords", "amounts", "metric_words", "ranges"]

_LONGEST = 60
_PERCENTILE = re.compile(r"p\d{1,4}(?:\.\d)?")
_TENTHS = re.compile(r"(?<![A-Za-z0-9])(p\d\d)_(\d)(?![A-Za-z0-9])")
_ABOUT = 1.0005
"""Three digits are shown: what would be rounded up to the next unit is in it."""
_WORDS = {
    "cpu_usage_cores": "CPU",
    "network_receive_bytes_per_second": "network received",
    "network_transmit_bytes_per_second": "network sent",
    "memory_rss_bytes": "memory (RSS)",
    "memory_anon_bytes": "memory (anonymous)",
    "memory_working_set_bytes": "memory (working set)",
    "disk_used_bytes": "disk used",
    "disk_used_inodes": "inodes used",
    "process_file_descriptors": "file descriptors",
    "process_threads": "threads",
    "pool_used_connections": "connections",
    "error_ratio": "errors",
}
"""Where the name's own words would not do."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """From ``switch[i]`` on a value is said in ``sizes[i + 1]``."""

    factor: float
    switch: tuple[float, ...]
    sizes: tuple[float, ...]
    names: tuple[str, ...]
    is_positive: bool = True
    """Below zero there is nothing."""


_LARGE = (1e4, 1e6, 1e9, 1e12)
_SIZES = (1.0, 1e3, 1e6, 1e9, 1e12)


def _plain(after: str, factor: float = 1.0, *, is_positive: bool = True) -> _Unit:
    names = tuple(f"{letter}{after}" for letter in ("", "k", "M", "G", "T"))
    return _Unit(factor, _LARGE, _SIZES, names, is_positive)


def _binary(after: str) -> _Unit:
    names = tuple(f" {letter}{after}" for letter in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))
    switch = tuple(1000.0 * 1024.0**i for i in range(5))
    return _Unit(1.0, switch, tuple(1024.0**i for i in range(6)), names)


def _time(factor: float) -> _Unit:
    return _Unit(
        factor,
        (1e-3, 1.0, 120.0, 7200.0, 172_800.0),
        (1e-6, 1e-3, 1.0, 60.0, 3600.0, 86_400.0),
        (" µs", " ms", " s", " min", " h", " d"),
    )


_UNITS: dict[str, _Unit] = {  # the longest ending that fits
    "_bytes_per_second": _binary("/s"),
    "_per_second": _plain("/s"),
    "_microseconds": _time(1e-6),
    "_milliseconds": _time(1e-3),
    "_seconds": _time(1.0),
    "_percent": _plain(" %"),
    "_bytes": _binary(""),
    "_ratio": _plain(" %", 100.0),
    "_cores": _plain(" cores"),
    "_total": _plain(""),
    "_ms": _time(1e-3),
    "": _plain("", is_positive=False),
}
_KINDS = tuple(_UNITS.values())


@dataclass(frozen=True, slots=True)
class MetricWords:
    """The words of many series' metrics, (n_series,) each.

    Attributes
    ----------
    names : object array of text
    kind : intp
        Which unit; for ``amounts`` and ``ranges``.
    """

    names: NDArray[np.object_]
    kind: NDArray[np.intp]


def metric_words(metrics: Sequence[object]) -> MetricWords:
    """The words of each metric; every distinct name is looked at once."""
    code, distinct = pd.factorize(pd.Series([str(m) for m in metrics], dtype="str"))
    said = [_said(str(name)) for name in distinct]
    names = np.array([name for name, _ in said], dtype=object)
    kind = np.array([kind for _, kind in said], dtype=np.intp)
    return MetricWords(names[code], kind[code])


def amounts(values: Floats, kind: NDArray[np.intp]) -> list[str]:
    """Each value with its unit, three digits of it, (n,); NaN is ``nothing``."""
    scaled, unit = _scaled(values, values, kind)
    return [
        f"{_number(x)}{name}" if x == x else "nothing"
        for x, name in zip(scaled.tolist(), unit, strict=True)
    ]


def ranges(low: Floats, high: Floats, kind: NDArray[np.intp]) -> list[str]:
    """``210–260 ms`` for each pair of finite bounds, (n,); one amount where both look the same.

    What cannot be negative is shown from 0 on.
    """
    never = np.array([u.is_positive for u in _KINDS])[kind]
    low = np.where(never & (high >= 0), np.maximum(low, 0.0), low)
    largest = np.maximum(np.abs(low), np.abs(high))
    low = np.where(np.abs(low) < 5e-4 * largest, 0.0, low)
    ends, unit = _scaled(np.stack([low, high]), largest, kind)
    texts = [[_number(x) for x in row] for row in ends.tolist()]
    return [
        f"{a}{name}" if a == b else f"{a}{' to ' if a[0] == '-' else '–'}{b}{name}"
        for a, b, name in zip(*texts, unit, strict=True)
    ]


def _scaled(values: Floats, by: Floats, kind: NDArray[np.intp]) -> tuple[Floats, Iterable[str]]:
    """Values (…, n) in the unit that fits ``by`` (n,), and that unit's name."""
    size, name = np.ones(len(by)), np.full(len(by), "", dtype=object)
    for k in np.unique(kind):
        rows, unit = kind == k, _KINDS[k]
        with np.errstate(over="ignore"):
            step = np.searchsorted(unit.switch, np.abs(by[rows]) * (unit.factor * _ABOUT), "right")
        step[by[rows] == 0] = unit.sizes.index(1.0)
        step[np.isnan(by[rows])] = 0
        size[rows] = unit.factor / np.array(unit.sizes)[step]
        name[rows] = np.array(unit.names, dtype=object)[step]
    with np.errstate(over="ignore"):
        return values * size, name.tolist()


def _number(x: float) -> str:
    return f"{x:.3g}" if -999.5 < x < 999.5 else f"{x:.4g}"


def _said(metric: str) -> tuple[str, int]:
    """One metric's words and the place of its unit."""
    ending, kind = next((e, i) for i, e in enumerate(_UNITS) if metric.endswith(e))
    if metric in _WORDS:
        return _WORDS[metric], kind
    body = metric.removesuffix(ending)
    if not body.strip("_ "):
        body = metric
    words = _TENTHS.sub(r"\1.\2", body).replace("_", " ").split()
    first = [w for w in words if _PERCENTILE.fullmatch(w)]
    text = " ".join([*first, *(w for w in words if w not in first)]) or metric
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "a metric"
    return (text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"), kind
