"""Verdicts: what evaluate finds out about every series' live model, and what holds of it now.

A verdict is about one training of one workload. A workload was trained last when a backtest of it
was last written by a training that is live; what was found out about another training says nothing
about the live model. A training that died before its version went live, or that was rolled back,
counts for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.frames import BACKTEST, VERDICTS
from models.choice import BARS
from models.drift import DriftParams, measure
from models.verdict import DEMOTED, DRIFTED, UNJUDGED, judge
from pipelines.adapters.tracking import ModelVersion, Tracking
from pipelines.errors import ConfigError
from pipelines.issued import Issued
from pipelines.registry import FORECASTER
from pipelines.run import Run, part_name

__all__ = ["FLAGGED", "demoted", "judge_issued", "newest_verdicts", "summary"]

FLAGGED = (DRIFTED, DEMOTED)
"""Verdicts on whose series nothing may act, and which are trained anew."""

_KEY = ["workload", "metric"]
_BACKTEST = ["backtest_wape", "backtest_worst_wape", "backtest_coverage_q90"]
_BEFORE = {
    "verdict": "before",
    "reason": "before_reason",
    "since": "before_since",
    "losing_since": "losing_since",
}
_WORST = 3


def newest_verdicts(run: Run) -> pd.DataFrame:
    """The verdicts that hold now, in the VERDICTS contract's columns; empty where there are none.

    They are those of the newest evaluation at or before the run's clock, without the workloads that
    were trained since; where it was about a training that is not live, those of the newest
    evaluation of the live one. A run on files learns its models itself: nothing is known of them.

    Raises
    ------
    ModelError
        The tracker cannot be asked what is live.
    """
    parts = run.parts(VERDICTS)
    if run.ref.inputs or not parts:
        return pd.DataFrame(columns=VERDICTS.schema.names)
    lineage = _lineage(run)
    table = _about_live(run, parts, lineage)
    oldest = table["trained_at"].min()
    # Only what is newer can make a verdict old: most often there is nothing to read.
    since = [] if pd.isna(oldest) else _newer(run.parts(BACKTEST, oldest), oldest)
    newest = _trained_at(_trainings(run, since, lineage), table["workload"])
    is_old = newest > table["trained_at"]
    return table[~is_old].reset_index(drop=True)


def demoted(
    run: Run, keys: pd.DataFrame, verdicts: pd.DataFrame | None = None
) -> NDArray[np.bool_]:
    """Which of the series (``workload, metric``) have lost their champion's edge, (n_series,).

    ``verdicts`` are those of ``newest_verdicts``, for who has read them already.
    """
    verdicts = newest_verdicts(run) if verdicts is None else verdicts
    lost = verdicts.loc[verdicts["verdict"] == DEMOTED, _KEY]
    return pd.MultiIndex.from_frame(keys[_KEY]).isin(pd.MultiIndex.from_frame(lost))


def judge_issued(
    run: Run, start: pd.Timestamp, issued: Issued, params: DriftParams
) -> pd.DataFrame:
    """The verdict on every series that was forecast, in the VERDICTS contract's columns.

    Only steps whose forecast was issued by the newest training are judged. Backtests are looked for
    as far back as a training reads: an older one knows nothing that is still learned from.
    """
    keys = issued.keys.assign(model=issued.models, is_bar=issued.models == BARS[0])
    since = start - pd.Timedelta(run.settings.history.days, "D")
    trained = _trainings(run, run.parts(BACKTEST, since), _lineage(run))
    found = keys.merge(trained[[*_KEY, *_BACKTEST]], on=_KEY, how="left")
    found["trained_at"] = _trained_at(trained, found["workload"])
    found = found.merge(_before(run), on=[*_KEY, "trained_at"], how="left")

    since_ms = (found["trained_at"] - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(1, "ms")
    is_old = issued.issued_ms < since_ms.to_numpy(dtype=np.float64)[:, None]
    figures = measure(
        np.where(is_old, np.nan, issued.actual),
        issued.q50,
        issued.q90,
        issued.bar,
        issued.times,
        issued.step,
        params,
    )
    found = pd.concat([found, figures], axis=1)
    told = judge(found, run.as_of, params)
    found = pd.concat([found.drop(columns="losing_since"), told], axis=1)
    return found.assign(evaluated_at=run.as_of, run_id=run.run_id)[VERDICTS.schema.names]


def summary(verdicts: pd.DataFrame) -> tuple[dict[str, float], tuple[str, ...]]:
    """How many series were judged, drifted and demoted; a line for each of the worst."""
    count = verdicts["verdict"].value_counts()
    figures = {
        "series_judged": float(len(verdicts) - count.get(UNJUDGED, 0)),
        "series_drifted": float(count.get(DRIFTED, 0)),
        "series_demoted": float(count.get(DEMOTED, 0)),
    }
    flagged = verdicts[verdicts["verdict"].isin(FLAGGED)]
    order = (flagged["wape"] / flagged["backtest_wape"]).sort_values(ascending=False).index
    worst = flagged.loc[order[:_WORST]].to_dict("records")
    lines = (f"  {r['verdict']}: {r['workload']} {r['metric']}: {r['reason']}" for r in worst)
    return figures, tuple(lines)


def _before(run: Run) -> pd.DataFrame:
    """What the evaluation before this one said."""
    parts = [part for part in run.parts(VERDICTS) if part < run.part]
    columns = [*_KEY, "trained_at", *_BEFORE]
    if not parts:
        empty = VERDICTS.schema.empty_table().to_pandas()
        table = empty.astype(dict.fromkeys((*_KEY, "verdict", "reason"), "str"))
    else:
        table = _read(run, parts[-1])
    return table[columns].rename(columns=_BEFORE)


@dataclass(frozen=True, slots=True)
class _Lineage:
    """Which trainings' clocks the live forecaster descends from, as parts name them.

    ``until`` is that of its full training: who was trained before it is not live any more, but was.
    ``partial`` are those of the trainings of some workloads since.
    """

    until: str
    partial: frozenset[str]

    def has(self, clock: str) -> bool:
        """Whether a training at that moment is live, or was before the live one."""
        return clock <= self.until or clock in self.partial


def _lineage(run: Run) -> _Lineage | None:
    """That of the live forecaster; nothing where it is not known: nothing was trained yet, or the
    version says nothing of its training."""
    try:
        tracking = run.tracking()
    except ConfigError:  # there is no place where a version could be
        return None
    live = tracking.champion(FORECASTER)
    if live is None or not live.tags.get("as_of"):
        return None
    partial = (v.tags["retrained_at"] for v in _descent(tracking, live) if _is_partial(v))
    until = part_name(pd.Timestamp(live.tags["as_of"]))
    return _Lineage(until, frozenset(part_name(pd.Timestamp(at)) for at in partial))


def _descent(tracking: Tracking, live: ModelVersion) -> list[ModelVersion]:
    """The version and those that its rows were taken over from, as far as they are still there."""
    if not _is_partial(live):
        return [live]
    known = {v.label: v for v in tracking.versions(FORECASTER)}
    found: list[ModelVersion] = []
    version: ModelVersion | None = live
    while version is not None and version not in found:
        found.append(version)
        version = known.get(version.tags.get("retrained_from", ""))
    return found


def _is_partial(version: ModelVersion) -> bool:
    return bool(version.tags.get("retrained_at"))


def _about_live(run: Run, parts: list[str], lineage: _Lineage | None) -> pd.DataFrame:
    """For every series the newest verdict on a live training."""
    found: list[pd.DataFrame] = []
    for part in reversed(parts):
        table = _read(run, part)
        is_live = _is_live(table["trained_at"], lineage)
        found.append(table[is_live])
        if is_live.all():
            break
    return pd.concat(found).drop_duplicates(_KEY).reset_index(drop=True)


def _is_live(trained_at: pd.Series, lineage: _Lineage | None) -> NDArray[np.bool_]:
    """Verdicts on series whose training is not known are about nothing that was rolled back."""
    clocks = trained_at.unique()
    dead = [at for at in clocks if lineage and not pd.isna(at) and not lineage.has(part_name(at))]
    return ~trained_at.isin(dead).to_numpy(dtype=bool)


def _newer(parts: list[str], than: pd.Timestamp) -> list[str]:
    return [part for part in parts if _clock(part) > part_name(than)]


def _clock(part: str) -> str:
    return part.split("-", 1)[0]


def _trainings(run: Run, parts: list[str], lineage: _Lineage | None) -> pd.DataFrame:
    """Every series of the given backtests that are live: ``workload, metric, trained_at`` of its
    workload's newest training, and how its champion did in that training's backtest."""
    live = [part for part in parts if lineage is None or lineage.has(_clock(part))]
    found = [_backtest(run, part) for part in reversed(live)]
    table = pd.concat([_nothing_trained(), *found], ignore_index=True)
    newest = table.groupby("workload")["trained_at"].transform("max")
    return table[table["trained_at"] == newest].reset_index(drop=True)


def _trained_at(trained: pd.DataFrame, workloads: pd.Series) -> pd.Series:
    """When each of the workloads was trained last; empty where that is not known."""
    newest = trained.groupby("workload")["trained_at"].max()
    return newest.reindex(workloads).set_axis(workloads.index)


def _backtest(run: Run, part: str) -> pd.DataFrame:
    table = run.store.read(BACKTEST, part=part)
    live = table.filter(table["champion"]).select([*_KEY, "wape", "coverage_q90"]).to_pandas()
    found = (
        live.astype(dict.fromkeys(_KEY, "str"))
        .groupby(_KEY, as_index=False)
        .agg(
            backtest_wape=("wape", "mean"),
            backtest_worst_wape=("wape", "max"),
            backtest_coverage_q90=("coverage_q90", "mean"),
        )
    )
    return found.assign(trained_at=pd.Timestamp(_clock(part)).as_unit("ms"))


def _nothing_trained() -> pd.DataFrame:
    return pd.DataFrame(
        {
            **{c: pd.Series(dtype="str") for c in _KEY},
            **{c: pd.Series(dtype="float64") for c in _BACKTEST},
            "trained_at": pd.Series(dtype="datetime64[ms, UTC]"),
        }
    )


def _read(run: Run, part: str) -> pd.DataFrame:
    table: pd.DataFrame = run.store.read(VERDICTS, part=part).to_pandas()
    return table.astype(dict.fromkeys((*_KEY, "verdict", "reason", "model"), "str"))
