"""What is valid now, as one file a table under a name that stays: for jobs that read one file.

::

    FOLDER/forecasts/latest.parquet   of each moment the newest run's rows; likewise capacity
    FOLDER/scores/latest.parquet      the newest run's rows; likewise incidents

``foretide.valid_until`` in the file's metadata is when the first of its rows ends. A file is
replaced whole, and only by rows that are valid: one that nobody renews keeps its old
``valid_until``, by which a reader knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.frames import CAPACITY, FORECASTS, INCIDENTS, SCORES, Contract
from pipelines.adapters.objects import open_objects
from pipelines.run import Run
from pipelines.series.reaching import newest_parts, speakers
from pipelines.staging import staged

__all__ = ["TABLES", "publish_files"]

TABLES = (FORECASTS, CAPACITY, SCORES, INCIDENTS)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Valid rows of one part, and until when the first of them may be used."""

    rows: pa.Table
    valid_until: pd.Timestamp


def publish_files(run: Run, folder: str) -> tuple[dict[str, str], dict[str, int]]:
    """Write the files; gives table → its place, and table → rows, 0 where nothing is valid.

    Raises
    ------
    StoreError
        The folder cannot be written, or a table cannot be read.
    """
    there = open_objects(folder)
    places: dict[str, str] = {}
    counted: dict[str, int] = {}
    with staged(run, "publish", alone=False) as aside:
        for contract in TABLES:
            file = aside / f"{contract.name}.parquet"
            counted[contract.name] = _write(run, contract, file)
            if counted[contract.name] or (contract is INCIDENTS and file.exists()):
                name = f"{contract.name}/latest.parquet"
                there.put(name, file)
                places[f"published {contract.name}"] = there.where(name)
                file.unlink()
    return places, counted


def _write(run: Run, contract: Contract, file: Path) -> int:
    """One part after the other; gives the rows."""
    schema = contract.schema.with_metadata(contract.metadata())
    n, ends = 0, list[pd.Timestamp]()
    writer: pq.ParquetWriter | None = None
    try:
        for piece in _pieces(run, contract):
            writer = writer or pq.ParquetWriter(file, schema, compression="zstd")
            writer.write_table(piece.rows.replace_schema_metadata(schema.metadata))
            ends.append(piece.valid_until)
            n += len(piece.rows)
        if writer is not None:
            told = {"valid_until": min(ends), "as_of": run.as_of}
            writer.add_key_value_metadata(
                {f"foretide.{key}": at.isoformat() for key, at in told.items()}
            )
    finally:
        if writer is not None:
            writer.close()
    return n


def _pieces(run: Run, contract: Contract) -> Iterator[_Piece]:
    if contract in (FORECASTS, CAPACITY):
        valid_for = pd.Timedelta(run.settings.forecast.valid_for_h, "h")
        for i, speaker in enumerate(speakers(run, contract, valid_for)):
            for part in speaker.parts:
                table = run.store.read(contract, part=part)
                if i:  # what newer runs do not reach
                    table = table.filter(
                        pc.field("ts") > pa.scalar(speaker.after, table["ts"].type)
                    )
                yield from _valid(run, contract, table)
        return
    for part in newest_parts(run, contract):
        yield from _valid(run, contract, run.store.read(contract, part=part))


def _valid(run: Run, contract: Contract, table: pa.Table) -> Iterator[_Piece]:
    """The rows that may be used now; of incidents all of a run, as long as its scores."""
    table = table.select(contract.schema.names)
    if contract is INCIDENTS:
        clock = pd.Timestamp(run.parts(INCIDENTS)[-1].split("-", 1)[0])
        until = clock + pd.Timedelta(run.settings.detect.valid_for_h, "h")
        if until > run.as_of:
            yield _Piece(table, until)
        return
    rows = table.filter(pc.field("valid_until") > pa.scalar(run.as_of, table["valid_until"].type))
    if len(rows):
        first_ms = int(rows["valid_until"].cast(pa.int64()).to_numpy().min())
        yield _Piece(rows, pd.Timestamp(first_ms, unit="ms", tz="UTC"))
