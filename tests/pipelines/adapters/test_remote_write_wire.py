"""The wire format, read back by the protobuf library from the messages' own description."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from pipelines.adapters.label_text import fitted
from pipelines.adapters.remote_write_wire import (
    STALE,
    batches,
    labels_of,
    metadata_of,
    one_series,
    varint,
)

F = descriptor_pb2.FieldDescriptorProto
MESSAGES = {
    "Label": [("name", 1, F.TYPE_STRING, ""), ("value", 2, F.TYPE_STRING, "")],
    "Sample": [("value", 1, F.TYPE_DOUBLE, ""), ("timestamp", 2, F.TYPE_INT64, "")],
    "TimeSeries": [("labels", 1, None, "Label"), ("samples", 2, None, "Sample")],
    "MetricMetadata": [("type", 1, F.TYPE_INT32, ""), ("metric_family_name", 2, F.TYPE_STRING, ""),
                       ("help", 4, F.TYPE_STRING, "")],
    "WriteRequest": [("timeseries", 1, None, "TimeSeries"),
                     ("metadata", 3, None, "MetricMetadata")],
}  # fmt: skip


def write_request() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="r.proto", package="p", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, of in fields:
            message.field.add(
                name=field,
                number=number,
                type=F.TYPE_MESSAGE if of else kind,
                type_name=f".p.{of}" if of else None,
                label=F.LABEL_REPEATED if of else F.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("p.WriteRequest"))


Request = write_request()


@dataclass(frozen=True)
class One:
    """A family; ``Gauge`` is another."""

    name: str
    help: str
    labels: pd.DataFrame
    values: np.ndarray


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(
    st.lists(st.tuples(TEXT, TEXT, st.floats(allow_nan=False)), min_size=1, max_size=20),
    st.integers(0, 2**62),
)
def test_what_is_written_is_what_the_protobuf_library_reads(
    rows: list[tuple[str, str, float]], stamp: int
) -> None:
    labels = pd.DataFrame({"zone": [r[0] for r in rows], "app": [r[1] for r in rows]}, dtype=object)
    one = One("foretide_x", "help: ü", labels, np.array([r[2] for r in rows]))
    raw = one.values.astype("<f8").tobytes()
    own = labels_of(one, 1024)
    body = b"".join(
        one_series(k, raw[8 * i : 8 * i + 8], stamp) for i, k in enumerate(own)
    ) + metadata_of([one])
    read = Request.FromString(body)
    assert [(m.type, m.metric_family_name, m.help) for m in read.metadata] == [
        (2, "foretide_x", "help: ü")
    ]
    assert len(read.timeseries) == len(rows)
    for series, (zone, app, value) in zip(read.timeseries, rows, strict=True):
        pairs = [(pair.name, pair.value) for pair in series.labels]
        wanted = {"__name__": "foretide_x", "app": app, "zone": zone}
        assert pairs == sorted((k, v) for k, v in wanted.items() if v)
        ((sample),) = series.samples
        assert struct.pack("<d", sample.value) == struct.pack("<d", value)
        assert sample.timestamp == stamp
    # encoded labels are a series' name: the same exactly where the labels are
    assert [a == b for a in own for b in own] == [a[:2] == b[:2] for a in rows for b in rows]


def test_a_stale_marker_keeps_its_bits() -> None:
    raw = np.concatenate([np.ones(1), STALE]).astype("<f8").tobytes()
    assert raw[8:].hex() == "020000000000f07f"
    read = Request.FromString(one_series(b"", raw[8:], 1))
    assert read.timeseries[0].samples[0].value != read.timeseries[0].samples[0].value


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(1, 5), st.integers(1, 100))
def test_batches_are_a_partition_within_bounds(pieces: list[bytes], most: int, size: int) -> None:
    cuts = list(batches(pieces, most, size))
    assert [p for a, b in cuts for p in pieces[a:b]] == pieces
    for a, b in cuts:
        assert 1 <= b - a <= most
        assert b - a == 1 or sum(map(len, pieces[a:b])) <= size
    assert all(a[1] == b[0] for a, b in pairwise(cuts))


@given(st.lists(st.text(max_size=300), min_size=2, max_size=8, unique=True), st.integers(40, 80))
def test_values_that_are_cut_fit_and_stay_different(values: list[str], longest: int) -> None:
    """Whatever is in them, lone surrogates too."""
    for ascii_only in (False, True):
        cut = [fitted(v, longest, ascii_only=ascii_only) for v in values]
        assert len(set(cut)) == len(values)
        assert all(len(c.encode()) <= longest for c in cut)
        if ascii_only:
            assert all(c.isascii() and (c.isprintable() or not c) for c in cut)
    assert fitted("plain", longest) == "plain"


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**63 - 1])
def test_varints(number: int) -> None:
    data = varint(number)
    assert sum((b & 0x7F) << (7 * i) for i, b in enumerate(data)) == number
    assert [b >> 7 for b in data] == [1] * (len(data) - 1) + [0]
