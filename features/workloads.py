"""A workload's name: ``cluster/namespace/kind/name``. Pods come and go; it keeps its identity."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, unquote

import pandas as pd
import pyarrow as pa

from features.frames import SAMPLES, WORKLOAD_PARTS, Contract, FrameError, conform

__all__ = ["as_samples", "split_workload", "with_workload", "workload_id"]

_KEY = ("workload", "metric", "ts")
_BY_WORKLOAD = Contract(
    "samples",
    1,
    _KEY,
    pa.schema(
        [
            pa.field("workload", SAMPLES.schema.field("name").type),
            *(SAMPLES.schema.field(name) for name in ("metric", "ts", "value")),
        ]
    ),
)


def workload_id(cluster: str, namespace: str, kind: str, name: str) -> str:
    """``prod/shop/Deployment/checkout``; a slash inside a part is percent-encoded."""
    return "/".join(
        quote(part, safe=" :@!$&'()*+,;=[]{}|<>^`\"#?\\")
        for part in (cluster, namespace, kind, name)
    )


@lru_cache(maxsize=200_000)
def split_workload(workload: str) -> tuple[str, str, str, str]:
    """The four parts of ``workload_id``.

    Raises
    ------
    FrameError
        The text is not four parts.
    """
    parts = [unquote(p) for p in workload.split("/")]
    if len(parts) != len(WORKLOAD_PARTS):
        raise FrameError(f"expected a workload as {'/'.join(WORKLOAD_PARTS)}, got {workload!r}")
    cluster, namespace, kind, name = parts
    return cluster, namespace, kind, name


def with_workload(samples: pa.Table) -> pd.DataFrame:
    """Samples as a frame ``workload, metric, ts, value``; the two labels are categorical."""
    frame: pd.DataFrame = samples.to_pandas()
    parts = frame[list(WORKLOAD_PARTS)]
    codes = parts.apply(lambda c: c.cat.codes.astype("int64"))
    packed = codes["cluster"].to_numpy()
    for part in WORKLOAD_PARTS[1:]:
        packed = packed * max(len(parts[part].cat.categories), 1) + codes[part].to_numpy()
    group, first = pd.factorize(packed)
    rows = pd.Series(range(len(frame))).groupby(group, sort=True).first() if len(first) else []
    names = [workload_id(*(str(v) for v in parts.iloc[row])) for row in rows]
    return pd.DataFrame(
        {
            "workload": pd.Categorical.from_codes(group, categories=pd.Index(names, dtype="str")),
            "metric": frame["metric"],
            "ts": frame["ts"],
            "value": frame["value"],
        }
    )


def as_samples(samples: pa.Table | pd.DataFrame) -> pd.DataFrame:
    """Whatever names its workloads, as ``with_workload`` gives it.

    A frame or table has ``workload, metric, ts, value``, or ``name`` (and ``cluster``,
    ``namespace``, ``kind``) instead of ``workload``; where both are there ``workload`` counts.

    Raises
    ------
    FrameError
        A column is missing, unknown, cannot be cast, or is empty where it names a row.
    """
    names = [str(c) for c in samples.columns] if isinstance(samples, pd.DataFrame) else None
    names = samples.column_names if names is None else names
    if "workload" not in names:
        if "name" not in names:
            raise FrameError(
                "samples: column 'workload' or 'name' is missing, one of them must say whose a "
                f"sample is; got {', '.join(names) or 'no column'}"
            )
        return with_workload(conform(samples, SAMPLES))
    rest = [c for c in names if c not in WORKLOAD_PARTS]
    named = samples[rest] if isinstance(samples, pd.DataFrame) else samples.select(rest)
    frame: pd.DataFrame = conform(named, _BY_WORKLOAD).to_pandas()
    return frame
