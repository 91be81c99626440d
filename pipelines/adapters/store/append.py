"""Adding rows to a part that several writers share, such as a day's table of runs."""

from __future__ import annotations

from typing import BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.frames import Contract, FrameError, conform, require
from pipelines.adapters.objects.protocol import Objects
from pipelines.adapters.store.days import one_line
from pipelines.adapters.store.parts import part_bytes, part_file
from pipelines.errors import StoreError

__all__ = ["append_part"]


def append_part(
    objects: Objects, contract: Contract, rows: pa.Table | pd.DataFrame, part: str
) -> str:
    """Add rows to ``NAME/PART.parquet``, whoever else does at the same time; gives its place.

    The whole part is read and written anew: it is meant for hundreds of rows.

    Raises
    ------
    StoreError
        The rows break the contract, or the part cannot be read or written.
    """
    file = part_file(contract, part)
    where = objects.where(file)
    try:
        added = conform(rows, contract)
    except FrameError as error:
        raise StoreError(f"refused to write to {where}: {error}") from error

    def change(old: pa.NativeFile | None, out: BinaryIO) -> None:
        tables = [added]
        if old is not None:
            tables.insert(0, require(pq.ParquetFile(old).read(), contract))
        out.write(part_bytes(pa.concat_tables(tables).unify_dictionaries()))

    try:
        objects.update(file, change)
    except (pa.ArrowException, FrameError) as error:
        raise StoreError(
            f"{where} cannot be read: {one_line(error)}; move the file away"
        ) from error
    return where
