"""The contracts: every table's columns, units and key, written once.

Tables are long: one row a fact. ``conform`` is the door: it casts what comes in to the contract or
says which column is wrong; behind the door, code trusts the frame. The version of a contract
travels in the Parquet metadata; a reader accepts this version and the one before.

Units: values are in the metric's own unit (the name says it), ``*_s`` columns are seconds, ``ts``
is UTC and marks the *start* of a step, ``slope_per_h`` is the metric's unit per hour.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "ACCURACY",
    "ADVICE",
    "BACKTEST",
    "CAPACITY",
    "CONTRACTS",
    "FORECASTS",
    "INCIDENTS",
    "LEAKS",
    "LEDGER",
    "NOTICES",
    "QUANTILES",
    "REPLAYS",
    "RUNS",
    "SAMPLES",
    "SCORES",
    "SKIPS",
    "VALUE",
    "VERDICTS",
    "WORKLOAD_PARTS",
    "Contract",
    "FrameError",
    "conform",
    "quantile_column",
    "require",
]

WORKLOAD_PARTS = ("cluster", "namespace", "kind", "name")
QUANTILES = (0.05, 0.5, 0.9, 0.95, 0.99)

_DEFAULT_PART = {"cluster": "default", "namespace": "default", "kind": "Workload"}

_F = pa.float64()
_S = pa.string()
_TS = pa.timestamp("ms", tz="UTC")
_LABEL = pa.dictionary(pa.int32(), pa.string())
_COUNT = pa.struct([("reason", pa.string()), ("count", pa.int64())])
_FIGURE = pa.struct([("name", pa.string()), ("value", pa.float64())])
_CAUSE = pa.struct(
    [
        ("workload", pa.string()),
        ("metric", pa.string()),
        ("score", _F),
        ("confidence", _F),
        ("evidence", pa.string()),
    ]
)


class FrameError(ValueError):
    """A frame breaks its contract: the message names the table, the column and what came."""


@dataclass(frozen=True, slots=True)
class Contract:
    """One table: its name, version, columns in order, and the columns that identify a row."""

    name: str
    version: int
    key: tuple[str, ...]
    schema: pa.Schema
    extra: str | None = field(default=None)
    """Regular expression of further columns that are allowed; they hold doubles."""
    added: tuple[str, ...] = ()
    """Columns that came with this version: tables of the version before lack them."""

    def metadata(self) -> dict[bytes, bytes]:
        """What is written beside the columns: the table's name and the contract's version."""
        return {b"foretide.table": self.name.encode(), b"foretide.version": b"%d" % self.version}


def _contract(
    name: str,
    key: Iterable[str],
    extra: str | None = None,
    added: tuple[str, ...] = (),
    /,
    **columns: pa.DataType,
) -> Contract:
    version = 2 if added else 1
    return Contract(name, version, tuple(key), pa.schema(list(columns.items())), extra, added)


SAMPLES = _contract(
    "samples",
    (*WORKLOAD_PARTS, "metric", "ts"),
    cluster=_LABEL, namespace=_LABEL, kind=_LABEL, name=_LABEL, metric=_LABEL, ts=_TS, value=_F,
)  # fmt: skip
SCORES = _contract(
    "scores",
    ("workload", "metric", "ts", "detector"),
    workload=_LABEL, metric=_LABEL, ts=_TS, detector=_LABEL,
    score=_F, expected=_F, lower=_F, upper=_F, value=_F,
    severity=_LABEL, reason=_S, model_version=_LABEL, run_id=_LABEL, valid_until=_TS,
)  # fmt: skip
LEAKS = _contract(
    "leaks",
    ("workload", "metric", "issued_at"),
    None,
    ("note",),
    workload=_LABEL, metric=_LABEL, issued_at=_TS,
    slope_per_h=_F, slope_per_h_lower=_F, slope_per_h_upper=_F,
    value=_F, limit=_F,
    time_to_limit_p10_s=_F, time_to_limit_p50_s=_F, time_to_limit_p90_s=_F,
    score=_F, note=_S, model_version=_LABEL, run_id=_LABEL,
)  # fmt: skip
INCIDENTS = _contract(
    "incidents",
    ("incident_id",),
    None,
    ("severity",),
    incident_id=_S, started_at=_TS, detected_at=_TS, ended_at=_TS, title=_S,
    workloads=pa.list_(_S), causes=pa.list_(_CAUSE), score=_F, severity=_LABEL,
    suppressed_alerts=pa.int64(), run_id=_LABEL,
)  # fmt: skip
FORECASTS = _contract(
    "forecasts",
    ("workload", "metric", "issued_at", "ts"),
    r"q\d{2,4}",
    ("confidence",),
    workload=_LABEL, metric=_LABEL, issued_at=_TS, ts=_TS,
    q05=_F, q50=_F, q90=_F, q95=_F, q99=_F,
    model=_LABEL, confidence=_LABEL, model_version=_LABEL, run_id=_LABEL, valid_until=_TS,
)  # fmt: skip
CAPACITY = _contract(
    "capacity",
    ("workload", "issued_at", "ts"),
    None,
    ("ready_replicas", "lead_time_source"),
    workload=_LABEL, issued_at=_TS, ts=_TS,
    replicas=pa.int64(), ready_replicas=pa.int64(), reactive_replicas=pa.int64(),
    cpu_cores=_F, memory_bytes=_F,
    lead_time_s=_F, lead_time_source=_LABEL, quantile=_F, gate=_LABEL, gate_reason=_S,
    run_id=_LABEL, valid_until=_TS,
)  # fmt: skip
LEDGER = _contract(
    "ledger",
    ("action_id",),
    None,
    ("cluster", "uid", "replicas", "stage", "detail"),
    action_id=_S, cluster=_LABEL, target=_S, uid=_S, field=_S, before=_S, after=_S,
    replicas=pa.int64(), reason=_S, plan_id=_S, mode=_LABEL, stage=_LABEL,
    applied_at=_TS, expires_at=_TS, status=_LABEL, detail=_S, rolled_back_by=_S,
)  # fmt: skip
BACKTEST = _contract(
    "backtest",
    ("workload", "metric", "model", "origin"),
    None,
    ("solver",),
    workload=_LABEL, metric=_LABEL, model=_LABEL, solver=_LABEL, origin=_TS, horizon_s=_F,
    wape=_F, mase=_F, pinball_q50=_F, pinball_q90=_F,
    pinball_q99=_F, coverage_q90=_F, peak_coverage_q90=_F,
    points=pa.int64(), champion=pa.bool_(),
)  # fmt: skip
SKIPS = _contract(
    "skips",
    ("workload", "metric", "step", "issued_at"),
    workload=_LABEL, metric=_LABEL, step=_LABEL, reason=_S, issued_at=_TS, run_id=_LABEL,
)  # fmt: skip
ACCURACY = _contract(
    "accuracy",
    ("workload", "metric", "evaluated_at"),
    workload=_LABEL, metric=_LABEL, evaluated_at=_TS, started_at=_TS, model=_LABEL,
    wape=_F, pinball_q90=_F, coverage_q90=_F, peak_coverage_q90=_F, points=pa.int64(),
    run_id=_LABEL,
)  # fmt: skip
VERDICTS = _contract(
    "verdicts",
    ("workload", "metric", "evaluated_at"),
    workload=_LABEL, metric=_LABEL, evaluated_at=_TS, trained_at=_TS, model=_LABEL,
    verdict=_LABEL, reason=_S, since=_TS, losing_since=_TS,
    wape=_F, bar_wape=_F, backtest_wape=_F, pinball_q50=_F, pinball_q90=_F,
    coverage_q90=_F, backtest_coverage_q90=_F, peak_coverage_q90=_F, points=pa.int64(),
    run_id=_LABEL,
)  # fmt: skip
REPLAYS = _contract(
    "replays",
    ("workload", "policy", "evaluated_at"),
    None,
    ("measured_h",),
    workload=_LABEL, policy=_LABEL, evaluated_at=_TS, started_at=_TS,
    demand_core_h=_F, unserved_core_h=_F, over_target_core_h=_F, replica_hours=_F, short_pod_min=_F,
    measured_h=_F, run_id=_LABEL,
)  # fmt: skip
ADVICE = _contract(
    "advice",
    ("workload", "evaluated_at"),
    workload=_LABEL, evaluated_at=_TS, started_at=_TS, verdict=_LABEL, reason=_S,
    weeks=pa.int64(), short_pod_min_reactive=_F, short_pod_min_foretide=_F,
    extra_replica_hours=_F, extra_cost_usd_per_week=_F, replica_hours_ratio=_F, run_id=_LABEL,
)  # fmt: skip
RUNS = _contract(
    "runs",
    ("verb", "run_id", "started_at"),
    verb=_LABEL, run_id=_S, as_of=_TS, started_at=_TS, ended_at=_TS, state=_LABEL,
    unit=_LABEL, done=pa.int64(), skipped=pa.int64(), failed=pa.int64(),
    reasons=pa.list_(_COUNT), figures=pa.list_(_FIGURE), error=_S,
)  # fmt: skip
NOTICES = _contract(
    "notices",
    ("incident_id", "channel", "kind", "told_at"),
    incident_id=_S, channel=_LABEL, kind=_LABEL, told_at=_TS, what=_LABEL, severity=_LABEL,
    under_h=_F, started_at=_TS, workloads=pa.list_(_S), as_of=_TS, message_id=_S, status=_LABEL,
    detail=_S, run_id=_LABEL,
)  # fmt: skip
VALUE = _contract(
    "value",
    ("scope", "name", "evaluated_at"),
    scope=_LABEL, name=_LABEL, evaluated_at=_TS, started_at=_TS,
    value=_F, lower=_F, upper=_F, unit=_LABEL, reason=_S, run_id=_LABEL,
)  # fmt: skip

CONTRACTS = {
    c.name: c
    for c in (
        SAMPLES, SCORES, LEAKS, INCIDENTS, FORECASTS, CAPACITY, LEDGER, BACKTEST, SKIPS,
        ACCURACY, REPLAYS, VERDICTS, ADVICE, RUNS, NOTICES, VALUE,
    )
}  # fmt: skip


def conform(frame: pd.DataFrame | pa.Table, contract: Contract) -> pa.Table:
    """Cast a frame or table to its contract; columns come out in the contract's order.

    Samples may leave out ``cluster``, ``namespace`` and ``kind``. Naive stamps are refused: whoever
    made them knows their zone, we do not.

    Raises
    ------
    FrameError
        A column is missing, unknown, or cannot be cast; a key column holds nulls.
    """
    columns = frame.columns if isinstance(frame, pd.DataFrame) else frame.column_names
    _once([str(c) for c in columns], contract)
    table = frame if isinstance(frame, pa.Table) else _to_arrow(frame, contract)
    if contract is SAMPLES:
        table = _fill_parts(table)
    unknown = [
        c
        for c in table.column_names
        if c not in contract.schema.names
        and not (contract.extra and re.fullmatch(contract.extra, c))
    ]
    if unknown:
        raise FrameError(
            f"{contract.name}: unknown column {unknown[0]!r}; "
            f"it has {', '.join(contract.schema.names)}"
        )
    fields = [
        *contract.schema,
        *(pa.field(c, _F) for c in table.column_names if c not in contract.schema.names),
    ]
    columns = [_column(table, f, contract) for f in fields]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=contract.metadata()))


def require(table: pa.Table, contract: Contract) -> pa.Table:
    """Check a table that was read back: right table, readable version; then conform it.

    Raises
    ------
    FrameError
        The file holds another table, or a version that this release cannot read.
    """
    meta: dict[bytes, bytes] = table.schema.metadata or {}
    name = meta.get(b"foretide.table", contract.name.encode()).decode(errors="replace")
    if name != contract.name:
        raise FrameError(f"expected a {contract.name} table, got a {name} table")
    version = meta.get(b"foretide.version", b"%d" % contract.version).decode(errors="replace")
    readable = {str(contract.version), str(max(contract.version - 1, 1))}
    if version not in readable:
        raise FrameError(
            f"{contract.name}: version {version} of the table cannot be read by this release "
            f"(it reads {' and '.join(sorted(readable))}); upgrade foretide or rewrite the table"
        )
    if version != str(contract.version) or b"foretide.version" not in meta:
        for name in (n for n in contract.added if n not in table.column_names):
            empty = pa.nulls(len(table), contract.schema.field(name).type)
            table = table.append_column(contract.schema.field(name), empty)
    return conform(table, contract)


def quantile_column(quantile: float) -> str:
    """``q05`` for 0.05, ``q90`` for 0.9, ``q999`` for 0.999."""
    digits = f"{quantile:.4f}".split(".")[1].rstrip("0")
    return "q" + digits.ljust(2, "0")


def _once(names: list[str], contract: Contract) -> None:
    twice = next((c for c in names if names.count(c) > 1), None)
    if twice is not None:
        raise FrameError(f"{contract.name}: column {twice!r} comes {names.count(twice)} times")


def _to_arrow(frame: pd.DataFrame, contract: Contract) -> pa.Table:
    # pyarrow 25 reads stamps with a zone in a way that pandas 3.1 warns of: they go as naive UTC
    zoned = [c for c in frame.columns if isinstance(frame.dtypes[c], pd.DatetimeTZDtype)]
    naive = {c: frame[c].dt.tz_convert("UTC").dt.tz_localize(None) for c in zoned}
    try:
        table = pa.Table.from_pandas(frame.assign(**naive), preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise FrameError(f"{contract.name}: {error}") from error
    for name in zoned:
        column = table.column(name)
        utc = column.cast(pa.timestamp(column.type.unit, tz="UTC"))
        table = table.set_column(table.schema.get_field_index(name), name, utc)
    return table


def _fill_parts(table: pa.Table) -> pa.Table:
    for part, default in _DEFAULT_PART.items():
        if part not in table.column_names:
            fill = pa.DictionaryArray.from_arrays(
                pa.repeat(pa.scalar(0, pa.int32()), len(table)), pa.array([default])
            )
            table = table.append_column(part, fill)
    return table


def _column(table: pa.Table, want: pa.Field, contract: Contract) -> pa.ChunkedArray:
    if want.name not in table.column_names:
        raise FrameError(
            f"{contract.name}: column {want.name!r} is missing; "
            f"got {', '.join(table.column_names) or 'no column'}"
        )
    column = table.column(want.name)
    if pa.types.is_timestamp(want.type):
        column = _stamps(column, want.name, contract)
    elif pa.types.is_dictionary(want.type):
        column = _labels(column, want, contract)
    elif not column.type.equals(want.type):
        column = _cast(column, want.type, want.name, contract)
    if want.name in contract.key and column.null_count:
        raise FrameError(
            f"{contract.name}: column {want.name!r} has {column.null_count} empty values; "
            "it is part of the key"
        )
    return column


def _labels(column: pa.ChunkedArray, want: pa.Field, contract: Contract) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        if not column.type.index_type.equals(pa.int32()) or not column.type.value_type.equals(
            pa.string()
        ):
            column = _cast(column, want.type, want.name, contract)
        return column.unify_dictionaries()
    if not (
        pa.types.is_string(column.type)
        or pa.types.is_large_string(column.type)
        or pa.types.is_null(column.type)
    ):
        raise FrameError(f"{contract.name}: column {want.name!r} must hold text, got {column.type}")
    encoded = column.cast(pa.string()).dictionary_encode()
    return encoded.cast(want.type)


def _stamps(column: pa.ChunkedArray, name: str, contract: Contract) -> pa.ChunkedArray:
    if not pa.types.is_timestamp(column.type) and not pa.types.is_null(column.type):
        raise FrameError(
            f"{contract.name}: column {name!r} must be a UTC timestamp, got {column.type}; "
            "convert it, e.g. pd.to_datetime(column, utc=True)"
        )
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        raise FrameError(
            f"{contract.name}: column {name!r} has no time zone; "
            "localise it, e.g. .dt.tz_localize('UTC')"
        )
    return column if column.type.equals(_TS) else column.cast(_TS, safe=False)


def _cast(
    column: pa.ChunkedArray, to: pa.DataType, name: str, contract: Contract
) -> pa.ChunkedArray:
    try:
        return pc.cast(column, to)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise FrameError(
            f"{contract.name}: column {name!r} must be {to}, got {column.type}: {error}"
        ) from error
