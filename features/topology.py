"""Who calls whom: edges of a call graph, from names as people and meshes write them.

Calls travel through the samples contract as rows of their own, like node pools do: the workload
``CLUSTER/_calls/Call/NAMESPACE/NAME>NAMESPACE/NAME`` (the last part percent-encoded as always) with
the metric ``calls_per_second``. So any source that can count calls can give a graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

import numpy as np
import pandas as pd

from features.frames import FrameError
from features.workloads import split_workload

__all__ = ["CALLS_METRIC", "CALL_KIND", "EDGE_COLUMNS", "call_edges", "names_of", "resolve_edges"]

CALLS_METRIC = "calls_per_second"
CALL_KIND = "Call"
EDGE_COLUMNS = ("caller", "callee")


def call_edges(workloads: Iterable[str]) -> pd.DataFrame:
    """Edges ``caller, callee``, each ``cluster/namespace/name``, of workloads of the kind ``Call``.

    Other workloads, and calls of an end that nobody knows, are left out.
    """
    ends = [e for e in map(_ends, workloads) if e is not None]
    return pd.DataFrame(ends, columns=list(EDGE_COLUMNS), dtype="str").drop_duplicates(
        ignore_index=True
    )


def _ends(workload: str) -> tuple[str, str] | None:
    try:
        cluster, _, kind, name = split_workload(workload)
    except FrameError:
        return None
    ends = [end.split("/") for end in name.split(">")]
    if kind != CALL_KIND or [len(e) for e in ends] != [2, 2] or not all(map(all, ends)):
        return None
    caller, callee = ("/".join((quote(cluster, safe=":@ "), *end)) for end in ends)
    return None if caller == callee else (caller, callee)


def resolve_edges(edges: pd.DataFrame, workloads: Iterable[str]) -> pd.DataFrame:
    """The edges between the given workloads, as their ids: ``caller, callee``.

    Parameters
    ----------
    edges : frame ``caller, callee``
        Each end is a workload's id, ``cluster/namespace/name``, ``namespace/name`` or a bare
        ``name``. A short name stands for every workload of that name; calls stay in one cluster
        unless both ends name theirs, and in one namespace where a bare name has a match there.
    workloads
        Ids; what an edge names and is not among them is left out.
    """
    known = names_of(workloads)
    pairs = edges[list(EDGE_COLUMNS)].astype("str").drop_duplicates().reset_index(names="edge")
    pairs = pairs.merge(known, left_on="caller", right_on="alias")
    pairs = pairs.merge(known, left_on="callee", right_on="alias", suffixes=("", "_callee"))
    both_named = (pairs["parts"] >= 3) & (pairs["parts_callee"] >= 3)
    pairs = pairs[both_named | (pairs["cluster"] == pairs["cluster_callee"])]
    near = pairs["namespace"] == pairs["namespace_callee"]
    has_near = near.groupby([pairs["edge"], pairs["workload"]]).transform("any")
    bare = pairs[["parts", "parts_callee"]].min(axis=1) == 1
    pairs = pairs[(near | ~has_near | ~bare) & (pairs["workload"] != pairs["workload_callee"])]
    found = pairs[["workload", "workload_callee"]].set_axis(list(EDGE_COLUMNS), axis=1)
    return found.drop_duplicates(ignore_index=True)


def names_of(workloads: Iterable[str]) -> pd.DataFrame:
    """Every way to name each workload: ``alias, workload, cluster, namespace, parts`` (how many
    parts the alias has)."""
    ids = pd.Series(sorted(set(workloads)), dtype="str")
    split = ids.str.split("/")
    whole = (ids.str.count("/") == 3).to_numpy(dtype=bool)
    part = [split.str[i].where(whole, "").astype("str") for i in range(4)]
    short = part[1] + "/" + part[3]
    ways = {1: part[3], 2: short, 3: part[0] + "/" + short, 4: ids}
    frames = [
        pd.DataFrame(
            {"alias": alias, "workload": ids, "cluster": part[0], "namespace": part[1], "parts": n}
        )[whole | np.full(len(ids), n == 4)]
        for n, alias in ways.items()
    ]
    return pd.concat(frames, ignore_index=True)
