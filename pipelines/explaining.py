"""Why a workload is forecast as it is: for each metric who does it, how well, and by what."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from features.frames import SKIPS, VERDICTS
from models.base import Baselines, Solves
from models.champion import Champions
from models.combination import COMBINATION
from pipelines.adapters.tracking import ModelVersion
from pipelines.errors import ModelError
from pipelines.learning import Learned, forecasters
from pipelines.registry import Live, index_of, load_live
from pipelines.run import Run, part_name
from pipelines.verdicts import newest_verdicts
from pipelines.versions import require_registered

__all__ = ["explain", "told_verdicts"]

_KEY = ["workload", "metric"]
_NOTHING = {
    "wape": None, "bar_wape": None, "confidence": None, "weights": {}, "solvers": {},
    "verdict": None, "band": None,
}  # fmt: skip


def explain(run: Run, workload: str) -> dict[str, Any]:
    """Which model is live for each metric of a workload, and why.

    Returns
    -------
    ``workload``, ``forecaster`` and ``detector`` (version labels), ``metrics`` and ``forest``, the
    verdict on the workload's isolation forest. A metric has ``model`` (None where it was skipped),
    ``reason``, ``wape`` and ``bar_wape`` (None without a backtest), ``confidence``, ``weights``
    (model → share, the largest first; empty where nothing is combined), ``solvers`` (model → how it
    was fitted, of the models that have several ways), ``verdict`` (None, or the newest one's
    ``verdict``, ``reason``, ``evaluated_at`` and ``since``, and whether it ``holds``: the model was
    not trained anew since) and ``band``, the verdict on its band.

    Raises
    ------
    ModelError
        No version is live, or it and its training know no such workload.
    """
    require_registered(run.tracking())
    live = load_live(run, [workload], detectors=True)
    metrics = [m for learned in live.shards for m in _metrics(run, learned)]
    metrics += _skipped(run, live, workload)
    if not metrics:
        raise ModelError(
            f"{live.forecaster.label} knows no workload {workload!r}"
            f"{_similar(run, live.forecaster, workload)}; expected cluster/namespace/kind/name"
        )
    found = _judged(run, workload)
    forests = [
        verdict
        for learned in live.shards
        for verdict in _words(learned.detectors.get("isolation_forest")).values()
    ]
    return {
        "workload": workload,
        "forecaster": live.forecaster.label,
        "detector": None if live.detector is None else live.detector.label,
        "forest": forests[0] if forests else None,
        "metrics": [m | {"verdict": found.get(m["metric"])} for m in metrics],
    }


def told_verdicts(run: Run, workload: str | None = None) -> pd.DataFrame:
    """What the newest evaluation said, of all or of one workload: the VERDICTS contract's columns,
    and ``holds``.

    A verdict holds until its workload is trained anew. A run on files learns its models itself: no
    verdict is about them.
    """
    if run.ref.inputs or not run.parts(VERDICTS):
        return pd.DataFrame(columns=[*VERDICTS.schema.names, "holds"])
    table: pd.DataFrame = run.read(VERDICTS, newest=True).to_pandas()
    if workload is not None:
        table = table[table["workload"] == workload].reset_index(drop=True)
        if table.empty:  # to ask the tracker takes seconds
            return table.assign(holds=pd.Series(dtype=bool))
    try:
        holding = pd.MultiIndex.from_frame(newest_verdicts(run)[_KEY])
    except ModelError:  # the tracker cannot be asked which training is live: all may hold
        return table.assign(holds=True)
    return table.assign(holds=pd.MultiIndex.from_frame(table[_KEY].astype("str")).isin(holding))


def _metrics(run: Run, learned: Learned) -> list[dict[str, Any]]:
    """One entry a series that has a champion."""
    champions, band = learned.champions, _words(learned.detectors.get("band"))
    solvers = _solvers(run, champions)
    chosen = champions.chosen.to_dict("records")
    return [
        _NOTHING
        | {
            "metric": row["metric"],
            "model": row["model"],
            "reason": row["reason"],
            "wape": _known(row["wape"]),
            "bar_wape": _known(row["naive_wape"]),
            "confidence": str(confidence),
            "weights": (weights := _weights(champions, i) if row["model"] == COMBINATION else {}),
            "solvers": {m: told[i] for m, told in solvers.items() if m in {row["model"], *weights}},
            "band": band.get((row["workload"], row["metric"])),
        }
        for i, (row, confidence) in enumerate(zip(chosen, champions.confidence, strict=True))
    ]


def _weights(champions: Champions, row: int) -> dict[str, float]:
    """Who is listened to, and by how much; the largest share first."""
    shares = zip(champions.combined, champions.weights[row].tolist(), strict=True)
    return dict(sorted(((m, w) for m, w in shares if w > 0), key=lambda share: -share[1]))


def _solvers(run: Run, champions: Champions) -> dict[str, list[str]]:
    """Model → how each series was fitted, of the members that have several ways."""
    known = {f.name: f for f in forecasters(run.settings)}
    return {
        name: [str(told) for told in forecaster.solvers(baselines)]
        for name, baselines in champions.members.items()
        if isinstance(forecaster := known.get(name), Solves)
    }


def _judged(run: Run, workload: str) -> dict[str, dict[str, Any]]:
    """Metric → the newest verdict on it."""
    mine = told_verdicts(run, workload)
    return {
        str(row["metric"]): {
            "verdict": str(row["verdict"]),
            "reason": str(row["reason"]),
            "evaluated_at": row["evaluated_at"].isoformat(),
            "since": row["since"].isoformat(),
            "holds": bool(row["holds"]),
        }
        for row in mine.to_dict("records")
    }


def _skipped(run: Run, live: Live, workload: str) -> list[dict[str, Any]]:
    """The metrics that the champion's training left out; none where its table is not here."""
    tags = live.forecaster.tags
    learned = pd.Timestamp(tags.get("as_of", "NaT"))
    if pd.isna(learned):
        return []
    parts = [p for p in run.store.parts(SKIPS) if p.startswith(part_name(learned))]
    tables: list[pd.DataFrame] = [run.store.read(SKIPS, part=p).to_pandas() for p in parts]
    return [
        _NOTHING | {"metric": row["metric"], "model": None, "reason": f"skipped: {row['reason']}"}
        for table in tables
        for row in table[
            (table["workload"] == workload)
            & (table["step"] == "train")
            & (table["run_id"] == tags.get("run_id"))
        ].to_dict("records")
    ]


def _words(baselines: Baselines | None) -> Mapping[tuple[str, ...], str]:
    """Key of each of a detector's rows → its verdict in words."""
    if baselines is None:
        return {}
    words: list[str] = baselines.meta["verdicts"]
    keys = baselines.keys[[c for c in _KEY if c in baselines.keys]]
    rows = keys.itertuples(index=False, name=None)
    return {
        tuple(str(part) for part in key): words[int(code)]
        for key, code in zip(rows, baselines.arrays["verdict"], strict=True)
    }


def _similar(run: Run, version: ModelVersion, workload: str) -> str:
    """A hint for a name that was mistyped; a version of an earlier release has no list of names."""
    index = index_of(run.tracking(), version)
    names = [] if index is None else index.workloads
    close = difflib.get_close_matches(workload, names, n=3, cutoff=0.5)
    return f" (did you mean {', '.join(close)}?)" if close else ""


def _known(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
