"""What Foretide says of itself: its runs, what they left out, what holds, how old things are.

Everything is of the run's clock: a run is as old as the moment that it was for. What was never
there has no series, so that nothing looks fine (or broken) that nobody knows; counts of what went
wrong are there, at zero, from the first run of their flow on.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import httpx
import numpy as np
import pandas as pd

from features.frames import CAPACITY, FORECASTS, SCORES, VERDICTS, Contract
from pipelines.errors import ForetideError
from pipelines.plans import read_plan
from pipelines.registry import DETECTOR, FORECASTER
from pipelines.run import Run
from pipelines.series.gauge import Gauge
from pipelines.series.names import gauge
from pipelines.verdicts import FLAGGED
from pipelines.watching import read_runs

__all__ = ["gate_gauges", "own_gauges", "run_gauges"]

_log = logging.getLogger(__name__)
_LOOK_BACK = pd.Timedelta(35, "D")
"""Four trainings of a weekly schedule, and a week."""
_DAY = pd.Timedelta(1, "D")
_REASONS = 15
"""Most reasons of a flow that have a series of their own; the rest is one."""
_NUMBER = re.compile(r"\d[\d.,:]*")
_STAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]?[\d:]*")
_REFUSED = "refused: "
_PATIENCE_S = 5.0
_SUCCEEDED = ("done", "partly")

Row = Mapping[str, Any]


def own_gauges(run: Run) -> list[Gauge]:
    """All that can be told at the run's clock; a part that cannot be read is logged and left out.

    ``foretide_run_*`` are by flow, as config/prefect.yaml names them.
    """
    makers: tuple[Callable[[Run], list[Gauge]], ...] = (_runs, _models, gate_gauges, _valid)
    found: list[Gauge] = []
    for maker in makers:
        try:
            found += maker(run)
        except ForetideError as error:
            _log.warning("not published: %s", error)
    return found


def _runs(run: Run) -> list[Gauge]:
    return run_gauges(read_runs(run, run.as_of - _LOOK_BACK))


def run_gauges(runs: pd.DataFrame) -> list[Gauge]:
    """What a table of runs says, in the order of ``read_runs``; nothing where it is empty."""
    if runs.empty:
        return []
    last, success = _last(runs), _last(runs[runs["state"].isin(_SUCCEEDED)])
    took = {f: (r["ended_at"] - r["started_at"]).total_seconds() for f, r in last.items()}
    failed = {f: float(r["state"] == "failed") for f, r in last.items()}
    return [
        _by("run_last_success_timestamp_seconds", {f: _unix(r) for f, r in success.items()}),
        _by("run_last_timestamp_seconds", {f: _unix(r) for f, r in last.items()}),
        _by("run_duration_seconds", took),
        _by("run_failed", failed),
        _units(success),
        *_skipped(success),
        *_figures(success, last),
        *_applied(runs, success),
    ]


def _units(success: Mapping[str, Row]) -> Gauge:
    rows = [
        (flow, str(r["unit"]), state, float(r[state]))
        for flow, r in success.items()
        for state in ("done", "skipped", "failed")
    ]
    return _gauge("run_units", ("flow", "unit", "state"), rows)


def _skipped(success: Mapping[str, Row]) -> list[Gauge]:
    """Reasons without their numbers, which change from run to run and would each be a series."""
    rows: list[tuple[Any, ...]] = []
    for flow, r in success.items():
        count: Counter[str] = Counter()
        for one in _list(r["reasons"]):
            count[_plain_reason(str(one["reason"]))] += int(one["count"])
        common = count.most_common(_REASONS)
        rest = count.total() - sum(n for _, n in common)
        rows += [(flow, reason, float(n)) for reason, n in common]
        rows += [(flow, "other", float(rest))] if rest else []
    return [_gauge("run_skipped", ("flow", "reason"), rows)] if rows else []


def _figures(success: Mapping[str, Row], last: Mapping[str, Row]) -> list[Gauge]:
    """What flows count themselves; a publish of which series are refused has failed, and counts."""
    wanted = (
        ("ingest", "usd", "ingest_cost_usd"),
        ("ingest", "samples", "ingest_samples"),
        ("apply", "held", "held_floors"),
        ("apply", "overdue", "held_floors_overdue"),
        ("publish", "series_published", "series_published"),
        ("publish", "series_refused", "series_refused"),
    )
    counted = {
        **success,
        **{f: r for f, r in last.items() if f == "publish" and _list(r["figures"])},
    }
    found = [(name, _figure(counted.get(flow), key)) for flow, key, name in wanted]
    return [_gauge(name, (), [(value,)]) for name, value in found if value is not None]


def _applied(runs: pd.DataFrame, success: Mapping[str, Row]) -> list[Gauge]:
    """How many floors were rolled back in the rounds of a day."""
    newest = success.get("apply")
    if newest is None:
        return []
    day = newest["as_of"] - _DAY
    rounds = runs[(runs["verb"] == "apply") & (runs["as_of"] > day)]
    back = sum(_figure(r, "rolled_back") or 0.0 for r in _rows(rounds))
    return [_gauge("rollbacks", (), [(back,)])]


def _models(run: Run) -> list[Gauge]:
    """Age of the live versions: of what they have learned from."""
    uri = run.settings.tracking.uri
    if uri.startswith(("http://", "https://")) and not _answers(uri):
        _log.warning("not published: model ages; the tracking server does not answer")
        return []
    tracking = run.tracking()
    ages: dict[str, float] = {}
    for family in (FORECASTER, DETECTOR):
        version = tracking.champion(family)
        learned = pd.Timestamp(version.tags.get("as_of", "NaT")) if version else pd.NaT
        if not pd.isna(learned):
            ages[family] = (run.as_of - learned).total_seconds()
    return [_by("model_age_seconds", ages, "family")] if ages else []


def gate_gauges(run: Run) -> list[Gauge]:
    """How many were judged by each gate, and how many it did not let through.

    ``forecast``: workloads of the newest capacity forecast, shut where it must not act;
    ``accuracy``: series of the newest evaluation that drifted or were demoted; ``guardrails``:
    workloads of the newest round of apply that were refused.
    """
    judged: dict[str, tuple[float, float]] = {}
    if newest := _newest(run, CAPACITY, _DAY):
        counts = np.sum([_capacity(run, part) for part in newest], axis=0)
        judged["forecast"] = (float(counts[0]), float(counts[1]))
    # not `newest_verdicts`: that asks the tracker what is live, and waits where it is away
    if newest := _newest(run, VERDICTS, _LOOK_BACK):
        told = [run.store.read(VERDICTS, part=p, columns=("verdict",)) for p in newest]
        words = pd.concat([t.to_pandas()["verdict"].astype("str") for t in told])
        judged["accuracy"] = (float(words.isin(FLAGGED).sum()), float(len(words)))
    applies = read_runs(run, run.as_of - _DAY)
    applies = applies[(applies["verb"] == "apply") & applies["state"].isin(_SUCCEEDED)]
    if len(applies):
        last = applies.iloc[-1]
        why = [(str(one["reason"]), int(one["count"])) for one in _list(last["reasons"])]
        refused = sum(n for reason, n in why if reason.startswith(_REFUSED))
        judged["guardrails"] = (float(refused), float(last["done"] + last["skipped"]))
    if not judged:
        return []
    shut = {gate: n for gate, (n, _) in judged.items()}
    of = {gate: n for gate, (_, n) in judged.items()}
    return [_by("gate_failures", shut, "gate"), _by("gate_judged", of, "gate")]


def _newest(run: Run, contract: Contract, since: pd.Timedelta) -> list[str]:
    """The parts of a table's newest run, of shards that wrote one each."""
    parts = run.parts(contract, run.as_of - since)
    return [p for p in parts if p.startswith(parts[-1].split("-", 1)[0])]


def _capacity(run: Run, part: str) -> tuple[int, int]:
    """Workloads of a part whose gate is shut, and all of them; those without an autoscaler, for
    whom there is no floor to raise, are neither."""
    table = run.store.read(CAPACITY, part=part, columns=("workload", "gate", "gate_reason"))
    told = table.group_by(["workload", "gate", "gate_reason"]).aggregate([]).to_pandas()
    told = told[~told["gate_reason"].fillna("").str.startswith("no HPA")]
    shut = told.loc[told["gate"].astype("str") == "shadow", "workload"].nunique()
    return int(shut), int(told["workload"].nunique())


def _valid(run: Run) -> list[Gauge]:
    """Until when the newest rows of each table, and the newest plan, may be used."""
    s = run.settings
    hours = (
        (SCORES, s.detect.valid_for_h),
        (FORECASTS, s.forecast.valid_for_h),
        (CAPACITY, s.forecast.valid_for_h),
    )
    until = {c.name: end for c, h in hours if (end := _table_until(run, c, h)) is not None}
    plan = _plan_until(run)
    until |= {} if plan is None else {"plan": plan}
    return [_by("valid_until_timestamp_seconds", until, "table")] if until else []


def _table_until(run: Run, contract: Contract, valid_h: float) -> float | None:
    """By the newest run's own rows, of which one speaks for all."""
    parts = run.parts(contract)
    if not parts:
        return None
    stamps = run.store.read(contract, part=parts[-1], columns=("valid_until",))["valid_until"]
    if len(stamps) > stamps.null_count:
        return float(stamps.to_pandas().max().timestamp())
    clock = pd.Timestamp(parts[-1].split("-", 1)[0])
    return (clock + pd.Timedelta(valid_h, "h")).timestamp()


def _plan_until(run: Run) -> float | None:
    """Of the newest plan, also where it has expired."""
    names = [f for f in run.store.files("plans") if f.endswith("/plan.json")]
    names = [f for f in names if f.split("/")[1] <= run.part]
    plan = read_plan(run, names[-1]) if names else None
    return None if plan is None else plan.expires_at.timestamp()


def _answers(uri: str) -> bool:
    """MLflow's own client tries for minutes before it gives up."""
    try:
        httpx.get(f"{uri.rstrip('/')}/health", timeout=_PATIENCE_S)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return True


def _rows(runs: pd.DataFrame) -> list[Row]:
    return cast("list[Row]", runs.to_dict("records"))


def _last(runs: pd.DataFrame) -> dict[str, Row]:
    """The newest run of each flow."""
    return {str(r["verb"]): r for r in _rows(runs.groupby("verb", sort=True).tail(1))}


def _unix(row: Row) -> float:
    return pd.Timestamp(row["as_of"]).timestamp()


def _figure(row: Row | None, key: str) -> float | None:
    if row is None:
        return None
    named = {str(one["name"]): float(one["value"]) for one in _list(row["figures"])}
    value = named.get(key)
    return value if value is not None and np.isfinite(value) else None


def _list(cell: Any) -> list[Any]:
    return [] if cell is None else list(cell)


def _plain_reason(reason: str) -> str:
    return _NUMBER.sub("#", _STAMP.sub("#", reason))


def _by(name: str, values: Mapping[str, float], label: str = "flow") -> Gauge:
    return _gauge(name, (label,), list(values.items()))


def _gauge(name: str, labels: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> Gauge:
    """Rows of label values and the value."""
    frame = pd.DataFrame([row[:-1] for row in rows], columns=list(labels), index=range(len(rows)))
    values = np.array([row[-1] for row in rows], dtype=float)
    return gauge(f"foretide_{name}", frame.astype("str"), values)
