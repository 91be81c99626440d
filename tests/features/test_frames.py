from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.frames import (
    CONTRACTS,
    FORECASTS,
    QUANTILES,
    SAMPLES,
    SCORES,
    SKIPS,
    WORKLOAD_PARTS,
    Contract,
    FrameError,
    conform,
    quantile_column,
    require,
)
from features.workloads import split_workload, with_workload, workload_id

TS = pd.Timestamp("2026-05-04T09:00Z")
EVERY = pytest.mark.parametrize("contract", CONTRACTS.values(), ids=list(CONTRACTS))
parts = st.tuples(st.text(), st.text(), st.text(), st.text())


def samples(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"name": ["a"], "metric": ["m"], "ts": [TS], "value": [1.0]} | columns)


def empty(contract: Contract) -> pa.Table:
    return pa.table({f.name: pa.array([], f.type) for f in contract.schema})


@EVERY
def test_a_table_that_conforms_is_required_and_conforms_again(contract: Contract):
    once = conform(empty(contract), contract)
    assert once.schema.names == contract.schema.names
    assert once.schema.metadata[b"foretide.table"] == contract.name.encode()
    assert require(once, contract).equals(once, check_metadata=True)


@EVERY
def test_keys_are_columns(contract: Contract):
    assert contract.key
    assert set(contract.key) <= set(contract.schema.names)


@EVERY
def test_a_missing_column_is_named(contract: Contract):
    for column in contract.schema.names:
        if contract is SAMPLES and column in ("cluster", "namespace", "kind"):
            continue
        with pytest.raises(FrameError, match=f"{contract.name}: column '{column}' is missing"):
            conform(empty(contract).drop_columns([column]), contract)


@given(
    rows=st.lists(
        st.tuples(
            st.text(),
            st.text(),
            st.datetimes(pd.Timestamp("1980-01-01"), pd.Timestamp("2100-01-01")),
            st.floats(),
        ),
        min_size=1,
        max_size=8,
    ),
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
)
def test_samples_come_out_as_they_went_in(rows: list[tuple[Any, ...]], unit: Any):
    name, metric, ts, value = (list(c) for c in zip(*rows, strict=True))
    stamps = pd.DatetimeIndex(ts).as_unit("us").tz_localize("UTC").as_unit(unit)
    frame = pd.DataFrame({"name": name, "metric": metric, "ts": stamps, "value": value})
    table = conform(frame, SAMPLES)
    assert table.schema.equals(SAMPLES.schema)
    assert table["name"].to_pylist() == name
    assert table["metric"].to_pylist() == metric
    assert list(table.to_pandas()["ts"]) == list(stamps.floor("ms"))
    np.testing.assert_array_equal(table["value"].to_numpy(), value)
    assert require(table, SAMPLES).equals(table)
    assert conform(table.to_pandas(), SAMPLES).equals(table)


def test_parts_that_were_left_out_are_filled():
    row = conform(samples(), SAMPLES).to_pylist()[0]
    assert [row[p] for p in WORKLOAD_PARTS] == ["default", "default", "Workload", "a"]
    row = conform(samples(cluster=["prod"]), SAMPLES).to_pylist()[0]
    assert [row[p] for p in WORKLOAD_PARTS] == ["prod", "default", "Workload", "a"]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"ts": [TS.tz_localize(None)]}, "'ts' has no time zone"),
        ({"ts": ["2026-05-04"]}, "'ts' must be a UTC timestamp"),
        ({"ts": [1_777_885_200]}, "'ts' must be a UTC timestamp"),
        ({"ts": [pd.NaT]}, "'ts'"),
        ({"value": ["much"]}, "'value' must be double"),
        ({"metric": [7]}, "'metric' must hold text"),
        ({"metric": [None]}, "'metric' has 1 empty"),
        ({"colour": ["red"]}, "unknown column 'colour'"),
        ({"q50": [1.0]}, "unknown column 'q50'"),
    ],
)
def test_what_cannot_be_a_sample_is_named(columns: dict[str, Any], says: str):
    with pytest.raises(FrameError, match="samples: ") as error:
        conform(samples(**columns), SAMPLES)
    assert says in str(error.value)


def test_a_column_that_comes_twice_is_named():
    frame = pd.concat([samples(), samples()[["value"]]], axis=1)
    table = pa.Table.from_arrays([pa.array([1.0])] * 2, names=["value", "value"])
    for twice in (frame, table):
        with pytest.raises(FrameError, match="samples: column 'value' comes 2 times"):
            conform(twice, SAMPLES)


def test_other_zones_are_the_same_instants():
    berlin = conform(samples(ts=[TS.tz_convert("Europe/Berlin")]), SAMPLES)
    assert berlin.equals(conform(samples(), SAMPLES))


def test_forecasts_may_hold_further_quantiles_and_nothing_else():
    frame = empty(FORECASTS).append_column("q999", pa.array([], pa.float32()))
    assert conform(frame, FORECASTS).schema.field("q999").type == pa.float64()
    with pytest.raises(FrameError, match="'q9'"):
        conform(empty(FORECASTS).append_column("q9", pa.array([], pa.float64())), FORECASTS)


def test_another_table_or_version_is_refused_by_name():
    table = conform(empty(SCORES), SCORES)
    with pytest.raises(FrameError, match="expected a skips table, got a scores table"):
        require(table, SKIPS)
    newer = table.replace_schema_metadata(
        {**SCORES.metadata(), b"foretide.version": b"%d" % (SCORES.version + 1)}
    )
    with pytest.raises(FrameError, match=f"scores: version {SCORES.version + 1} .* upgrade"):
        require(newer, SCORES)
    assert require(table.replace_schema_metadata(None), SCORES).equals(table)


@given(parts)
def test_a_workload_is_split_into_what_it_was_made_of(given_parts: tuple[str, str, str, str]):
    workload = workload_id(*given_parts)
    assert workload.count("/") == 3
    assert "\n" not in workload
    assert split_workload(workload) == given_parts


@given(parts, parts)
def test_two_workloads_never_share_an_id(one: tuple[str, ...], other: tuple[str, ...]):
    ids = {workload_id(*one), workload_id(*other)}  # pyright: ignore[reportArgumentType]
    assert len(ids) == len({one, other})


def test_plain_names_stay_readable():
    assert (
        workload_id("prod", "shop", "Deployment", "check out") == "prod/shop/Deployment/check out"
    )
    assert workload_id("p", "a/b", "K", "50%") == "p/a%2Fb/K/50%25"


@pytest.mark.parametrize("text", ["", "checkout", "a/b/c", "a/b/c/d/e"])
def test_what_is_not_four_parts_is_no_workload(text: str):
    with pytest.raises(FrameError, match=r"cluster/namespace/kind/name") as error:
        split_workload(text)
    assert repr(text) in str(error.value)


@given(rows=st.lists(parts, max_size=12))
def test_with_workload_names_every_row(rows: list[tuple[str, str, str, str]]):
    columns = {p: pa.array([r[i] for r in rows], pa.string()) for i, p in enumerate(WORKLOAD_PARTS)}
    rest = {
        "metric": pa.array(["m"] * len(rows), pa.string()),
        "ts": pa.array([TS.to_pydatetime()] * len(rows), pa.timestamp("ms", "UTC")),
        "value": pa.array(np.arange(len(rows), dtype=float)),
    }
    table = conform(pa.table(columns | rest), SAMPLES)
    frame = with_workload(table)
    assert list(frame["workload"]) == [workload_id(*r) for r in rows]
    assert list(frame["value"]) == list(range(len(rows)))


@pytest.mark.parametrize(
    ("quantile", "column"),
    [(0.05, "q05"), (0.5, "q50"), (0.9, "q90"), (0.95, "q95"), (0.99, "q99"), (0.999, "q999")],
)
def test_quantile_columns(quantile: float, column: str):
    assert quantile_column(quantile) == column


def test_every_usual_quantile_has_a_column():
    assert {quantile_column(q) for q in QUANTILES} <= set(FORECASTS.schema.names)
