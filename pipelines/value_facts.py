"""What a value report is computed from, of all clusters or of one: incidents, the alerts of static
thresholds, scores, accuracy, replays, and what a pod costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.frames import INCIDENTS
from features.panel import Floats
from models.advice import AdviceParams
from models.capacity_params import quantiles_of
from models.state import workload_state
from models.static_rules import StaticRulesParams, firings
from pipelines.errors import HistoryError, StoreError
from pipelines.run import Run

__all__ = ["Facts", "gathered"]

_STATIC = ["workload", "metric", "start", "end", "detected_at"]
_PRICED = ("cpu_request_cores", "replicas", "memory_request_bytes")
_BEFORE = pd.Timedelta(1, "h")


@dataclass(frozen=True, slots=True)
class Facts:
    """Of ``[start, until)``.

    Attributes
    ----------
    incidents : INCIDENTS columns, with ``cause_workload, cause_metric``; also from before ``start``
    static : alerts of static thresholds, ``workload, metric, start, end, detected_at``; from
        ``match_h`` before ``start`` on
    measured : clusters in which a threshold's metric is measured
    scores : ``workload, metric, detector, ts, score``: what is over the alert line, and of each
        step that was scored at least one row
    scored : bool, (n_days,): days back from ``until`` of which anything was scored
    accuracy, replays : this evaluation's; may be empty
    pods : by workload ``cores, usd, worth`` of one pod (an hour), NaN where not known
    """

    start: pd.Timestamp
    until: pd.Timestamp
    incidents: pd.DataFrame
    static: pd.DataFrame
    measured: frozenset[str]
    scores: pd.DataFrame
    scored: NDArray[np.bool_]
    accuracy: pd.DataFrame
    replays: pd.DataFrame
    pods: pd.DataFrame

    @property
    def told(self) -> pd.DataFrame:
        """The incidents that were told of from ``start`` on."""
        return self.incidents[self.incidents["detected_at"] >= self.start]

    @property
    def clusters(self) -> list[str]:
        """All that anything is known of."""
        of_incidents = [w for ws in self.incidents["workloads"] for w in ws]
        found: set[str] = set(self.measured) | {_cluster(w) for w in of_incidents}
        for table in (self.static, self.accuracy, self.replays):
            if len(table):
                found |= {_cluster(str(w)) for w in table["workload"].unique()}
        return sorted(found)

    def of(self, cluster: str) -> Facts:
        """The same of one cluster; an incident is of every cluster that it touches."""
        touched = [any(_cluster(w) == cluster for w in ws) for ws in self.incidents["workloads"]]
        cold = (self.scores["score"] < 1).to_numpy() if len(self.scores) else None
        return replace(
            self,
            incidents=self.incidents[np.array(touched, dtype=bool)],
            static=_within(self.static, cluster),
            measured=self.measured & {cluster},
            scores=_within(self.scores, cluster, cold),
            accuracy=_within(self.accuracy, cluster),
            replays=_within(self.replays, cluster),
        )


def gathered(
    run: Run,
    start: pd.Timestamp,
    *,
    scores: pd.DataFrame,
    accuracy: pd.DataFrame,
    replays: pd.DataFrame,
) -> Facts:
    """Read what the evaluation has not read already.

    Raises
    ------
    StoreError
        A file cannot be read.
    """
    params = run.settings.evaluate.value
    early = start - pd.Timedelta(params.match_h, "h")
    static, measured = _static(run, early, params.static)
    n_days = max(int((run.as_of - start) / pd.Timedelta(1, "D")), 1)
    scored = np.ones(n_days, dtype=bool)
    if len(scores):
        back = ((run.as_of - scores["ts"].drop_duplicates()) // pd.Timedelta(1, "D")).to_numpy()
        scored = np.isin(np.arange(n_days), back)
    names = [str(w) for w in replays["workload"].unique()] if len(replays) else []
    return Facts(
        start, run.as_of, _incidents(run, start - pd.Timedelta(params.repeat_days, "D")), static,
        measured, scores, scored, accuracy, replays, _pods(run, names),
    )  # fmt: skip


def _within(
    table: pd.DataFrame, cluster: str, also: NDArray[np.bool_] | None = None
) -> pd.DataFrame:
    """The rows of one cluster's workloads."""
    if table.empty:
        return table
    codes, names = pd.factorize(table["workload"])
    mine = np.array([_cluster(str(n)) == cluster for n in names], dtype=bool)[codes]
    return table[mine if also is None else mine | also]


def _cluster(workload: str) -> str:
    return workload.split("/", 1)[0]


def _incidents(run: Run, since: pd.Timestamp) -> pd.DataFrame:
    """The newest row of each incident that a run since then knew of, with its first cause."""
    try:
        table: pd.DataFrame = run.read(INCIDENTS, since).to_pandas()
    except StoreError:
        if run.parts(INCIDENTS, since):
            raise
        table = INCIDENTS.schema.empty_table().to_pandas()
    table = table.drop_duplicates("incident_id", keep="last")
    table = table[table["detected_at"] < run.as_of]
    causes = [next(iter(c), None) or {} for c in table["causes"]]
    return table.assign(
        cause_workload=np.array([str(c.get("workload", "")) for c in causes], dtype=object),
        cause_metric=np.array([str(c.get("metric", "")) for c in causes], dtype=object),
    )


def _static(
    run: Run, since: pd.Timestamp, params: StaticRulesParams
) -> tuple[pd.DataFrame, frozenset[str]]:
    """What the thresholds would have told, and in which clusters one of their metrics is measured;
    a shard and a rule at a time, to spare memory."""
    before = since - pd.Timedelta(params.for_min, "min") - _BEFORE
    found: list[pd.DataFrame] = []
    measured: set[str] = set()
    for shard in _shards(run, before):
        for rule in params.rules:
            try:
                panel = shard.panel(before, run.as_of, rule.metrics)
            except HistoryError:
                continue  # nobody measures it: the rule is silent
            both = (panel.of(m).keys["workload"].astype("str") for m in rule.metrics)
            seen = set.intersection(*(set(names) for names in both))
            measured |= {_cluster(w) for w in seen}
            found.append(firings(panel, since, rule, params.for_min))
    stamps = {c: pd.Series(dtype="datetime64[ms, UTC]") for c in _STATIC[2:]}
    nobody = pd.DataFrame(columns=_STATIC).assign(**stamps)
    told = pd.concat([f for f in found if len(f)] or [nobody], ignore_index=True)
    return told, frozenset(measured)


def _shards(run: Run, since: pd.Timestamp) -> Iterable[Run]:
    try:
        shards = run.shards(since)
    except (HistoryError, StoreError):  # no sample at all
        return
    for shard in shards:
        yield shard.open()


def _pods(run: Run, names: list[str]) -> pd.DataFrame:
    """Of one pod of each workload the requested cores, USD an hour, and what a missing one is worth
    in idle ones: the user's own ``under_cost / over_cost``. NaN where it is not known."""
    wanted = run.settings.prescale
    cores, memory = np.full((2, len(names)), np.nan)
    try:
        since = run.as_of - pd.Timedelta(wanted.capacity.state_window_h, "h")
        panel = run.panel(since, run.as_of, _PRICED) if len(names) else None
    except HistoryError:
        panel = None
    if panel is not None:
        state = workload_state(panel, names, wanted.capacity).set_index("workload").reindex(names)
        cores = state["request_cores"].to_numpy(np.float64)
        memory = state["request_bytes"].to_numpy(np.float64)
    level = np.asarray(quantiles_of(names, wanted.rules, wanted.capacity), dtype=np.float64)
    usd = _usd(cores, memory, wanted.advice)
    priced = {"cores": cores, "usd": usd, "worth": level / (1 - level)}
    return pd.DataFrame(priced, index=pd.Index(names, dtype="object"))


def _usd(cores: Floats, memory: Floats, prices: AdviceParams) -> Floats:
    """USD of a pod-hour; what has no price may be unknown."""
    if not prices.priced:
        return np.full(len(cores), np.nan)
    usd = np.zeros(len(cores))
    if prices.usd_per_core_hour > 0:
        usd = usd + cores * prices.usd_per_core_hour
    if prices.usd_per_gib_hour > 0:
        usd = usd + memory / 2.0**30 * prices.usd_per_gib_hour
    return usd
