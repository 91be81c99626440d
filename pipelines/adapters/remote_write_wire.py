"""Prometheus remote write 1.0 on the wire: three small protobuf messages.

::

    WriteRequest   { repeated TimeSeries timeseries = 1; repeated MetricMetadata metadata = 3; }
    TimeSeries     { repeated Label labels = 1; repeated Sample samples = 2; }
    Label          { string name = 1; string value = 2; }
    Sample         { double value = 1; int64 timestamp = 2; }
    MetricMetadata { MetricType type = 1; string metric_family_name = 2; string help = 4; }

Written by hand because a series' labels, once encoded, are also its name: they are kept to know
what is new and what has ended, and joined as bytes, each distinct label encoded once. The tests
read them with the protobuf library.

Source: Prometheus documentation, "Prometheus Remote-Write 1.0 specification"; Protocol Buffers
documentation, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.adapters.label_text import fitted

__all__ = ["STALE", "Family", "batches", "labels_of", "metadata_of", "one_series", "varint"]

STALE = np.array([0x7FF0000000000002], dtype=np.uint64).view(np.float64)
"""Prometheus' stale marker, (1,): the NaN that ends a series at once."""

_GAUGE = b"\x08\x02"


class Family(Protocol):
    """All series of one name."""

    @property
    def name(self) -> str:
        """``foretide_…``."""
        ...

    @property
    def help(self) -> str:
        """One sentence."""
        ...

    @property
    def labels(self) -> pd.DataFrame:
        """Text, one column a label, (n,)."""
        ...

    @property
    def values(self) -> NDArray[np.float64]:
        """One a series, (n,)."""
        ...


def labels_of(family: Family, longest: int) -> list[bytes]:
    """The encoded labels of each series, sorted by name as the protocol asks for, (n,).

    An empty value is no label. Values longer than ``longest`` bytes are cut and stay different.
    """
    n = len(family.values)
    columns: list[list[bytes]] = [[_label("__name__", family.name)] * n]
    for name in sorted(map(str, family.labels.columns)):
        codes, values = pd.factorize(family.labels[name])
        known = [_label(name, fitted(str(v), longest)) for v in values]
        columns.append([known[c] if c >= 0 else b"" for c in codes.tolist()])
    return [b"".join(pieces) for pieces in zip(*columns, strict=True)]


def one_series(labels: bytes, value: bytes, stamp_ms: int) -> bytes:
    """One ``timeseries`` field: its labels, and one sample of eight little-endian bytes."""
    sample = b"\x09" + value + b"\x10" + varint(stamp_ms)
    return _field(1, labels + _field(2, sample))


def metadata_of(families: Sequence[Family]) -> bytes:
    """The ``metadata`` fields that say that all are gauges, and what they are."""
    return b"".join(
        _field(3, _GAUGE + _field(2, f.name.encode()) + _field(4, f.help.encode()))
        for f in families
    )


def batches(pieces: Sequence[bytes], most: int, most_bytes: int) -> Iterator[tuple[int, int]]:
    """Cuts of the pieces, each of at most so many and so many bytes, at least one; begin and
    end."""
    begin, size = 0, 0
    for i, piece in enumerate(pieces):
        if i > begin and (i - begin >= most or size + len(piece) > most_bytes):
            yield begin, i
            begin, size = i, 0
        size += len(piece)
    if begin < len(pieces):
        yield begin, len(pieces)


def varint(number: int) -> bytes:
    """A number from 0 on, seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _label(name: str, value: str) -> bytes:
    pair = _field(1, name.encode()) + _field(2, value.encode())
    return _field(1, pair) if value else b""


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(content)) + content
