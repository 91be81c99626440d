"""What the eval of detectors reads: samples files, their labels, and the product's own tables.

A directory holds samples files (Parquet, CSV) and ``labels/``: ``labels/NAME.csv`` is about
``NAME.parquet``; any other CSV in it is about all files that have none of their own. Columns:
``name`` (the workload's), ``start``, ``end`` (both inside), and where wanted ``metric`` (else the
whole workload) and ``train_until`` (where learning ends; else see ``split``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from models.detection_measures import Rows, window_rows
from models.nab import NabProfile
from pipelines.adapters.files import read_samples
from pipelines.score import score

PARTS = ["cluster", "namespace", "kind", "name"]
LEARN_SHARE = 2 / 3  # of a workload's span, where nothing says better
MANY = 3  # metrics, from which on a workload is judged as a whole


@dataclass(slots=True)
class Case:
    """One thing that is judged: a series by itself, or a workload of several metrics.

    Attributes
    ----------
    values : frame, (n_rows, n_metrics)
        By moment, ascending, each once; NaN where a metric is missing.
    windows : what is labelled, ``start`` and ``end``; None where the file has no labels at all
    train_until : the first moment that is scored
    points : frame ``detector, metric, ts, score`` of the product
    incidents : frame ``started_at, detected_at, score`` of the product
    reason : why there is nothing of the product
    """

    name: str
    values: pd.DataFrame
    windows: pd.DataFrame | None
    train_until: pd.Timestamp
    points: pd.DataFrame = field(default_factory=pd.DataFrame)
    incidents: pd.DataFrame = field(default_factory=pd.DataFrame)
    reason: str = ""

    @property
    def times(self) -> pd.DatetimeIndex:
        return pd.DatetimeIndex(self.values.index)

    @property
    def single(self) -> bool:
        return self.values.shape[1] == 1

    @property
    def step(self) -> pd.Timedelta:
        """The usual distance of rows."""
        gaps = pd.Series(self.times).diff().dropna()
        return gaps.mode().iloc[0] if len(gaps) else pd.Timedelta(300, "s")

    @property
    def tested(self) -> np.ndarray:
        """Which rows are scored, bool (n_rows,)."""
        return np.asarray(self.times >= self.train_until)

    @property
    def judgeable(self) -> bool:
        """Whether there is something to learn from and something to score."""
        return min(int(self.tested.sum()), int((~self.tested).sum())) >= 2

    @property
    def rows(self) -> Rows:
        """First and last row of each window, (k, 2)."""
        if self.windows is None:
            return np.empty((0, 2), dtype=np.intp)
        windows = self.windows[["start", "end"]].apply(seconds).to_numpy().reshape(-1, 2)
        return window_rows(seconds(pd.Series(self.times)).to_numpy(), windows)

    @property
    def labels(self) -> np.ndarray:
        """Which rows are labelled, bool (n_rows,)."""
        out = np.zeros(len(self.values), dtype=bool)
        for first, last in self.rows:
            out[first : last + 1] = True
        return out

    @property
    def weeks(self) -> float:
        """How long is scored."""
        return (self.times[-1] + self.step - self.train_until) / pd.Timedelta(7, "D")

    def on_rows(self, scores: pd.Series) -> np.ndarray:
        """Scores by the start of their step, on the rows that fall into it, (n_rows,)."""
        if scores.empty:
            return np.full(len(self.values), np.nan)
        left = pd.DataFrame({"ts": seconds(pd.Series(self.times)).to_numpy()})
        right = pd.DataFrame(
            {"ts": seconds(pd.Series(scores.index)).to_numpy(), "score": scores.to_numpy(float)}
        ).sort_values("ts")
        near = self.step.total_seconds() - 0.001
        return pd.merge_asof(left, right, on="ts", tolerance=near)["score"].to_numpy()


def seconds(stamps: pd.Series) -> pd.Series:
    """Since 1970."""
    return (stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(1, "s")


def samples_files(data: Path) -> list[Path]:
    """Those right in the directory."""
    return sorted([*data.glob("*.parquet"), *data.glob("*.csv")])


def cases_of(file: Path, labels: pd.DataFrame | None) -> list[Case]:
    """What is to be judged in one file.

    Raises
    ------
    ForetideError
        The file is no samples file.
    """
    table = read_samples([file]).to_pandas()
    table = table[np.isfinite(table["value"])]
    found: list[Case] = []
    for key, rows in table.groupby(PARTS, observed=True):
        wide = rows.pivot_table(
            index="ts", columns="metric", values="value", aggfunc="last", observed=True
        ).sort_index()
        mine = None if labels is None else labels[labels["name"] == str(key[-1])]
        if wide.shape[1] >= MANY:
            found.append(_case(str(key[-1]), wide, mine))
            continue
        for metric in wide.columns:
            about = mine
            if mine is not None and "metric" in mine:
                about = mine[mine["metric"].isna() | (mine["metric"] == metric)]
            name = str(key[-1]) if wide.shape[1] == 1 else f"{key[-1]}: {metric}"
            found.append(_case(name, wide[[metric]].dropna(), about))
    return found


def _case(name: str, values: pd.DataFrame, labels: pd.DataFrame | None) -> Case:
    return Case(name, values, labels, split(values, labels))


def split(values: pd.DataFrame, labels: pd.DataFrame | None) -> pd.Timestamp:
    """Where learning ends, by what is known without looking at a label.

    What the labels file says in ``train_until``; else, for a single series with labels, NAB's
    probation (15 % of the rows, of 5,000 at most); else two thirds of the span.
    """
    times = pd.DatetimeIndex(values.index)
    if labels is not None and "train_until" in labels and labels["train_until"].notna().any():
        return labels["train_until"].dropna().iloc[0]
    if values.shape[1] == 1 and labels is not None:
        return times[NabProfile().probation(len(times))]
    return times[0] + LEARN_SHARE * (times[-1] - times[0])


def read_labels(data: Path, file: Path) -> tuple[pd.DataFrame | None, str]:
    """A file's labels, or None and why."""
    folder = data / "labels"
    known = {f.stem for f in samples_files(data)}
    own = folder / f"{file.stem}.csv"
    shared = [f for f in sorted(folder.glob("*.csv")) if f.stem not in known]
    tables: list[pd.DataFrame] = []
    for path in [own] if own.exists() else shared:
        try:
            tables.append(_labels(path))
        except (ValueError, KeyError, OSError) as error:
            return None, f"labels/{path.name} cannot be used, {str(error).splitlines()[0]}"
    if not tables:
        return None, "no labels"
    return pd.concat(tables, ignore_index=True), ""


def _labels(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, dtype={"name": str})
    missing = {"name", "start", "end"} - set(table.columns)
    if missing:
        raise ValueError(f"column {sorted(missing)[0]!r} is missing")
    stamps = [c for c in ("start", "end", "train_until") if c in table]
    for column in stamps:
        table[column] = pd.to_datetime(table[column], utc=True, format="ISO8601")
    if (table["end"] < table["start"]).any():
        raise ValueError("an end is before its start")
    return table


def score_cases(cases: list[Case]) -> None:
    """Let the product score them causally, settings as they come; what it says is kept in them.

    Cases of the same span go into one run, each in a namespace of its own, so that nothing of one
    can be about another.
    """
    for group in _alike(cases):
        try:
            _run(group)
        except Exception as error:  # noqa: BLE001 - strangers' files: one must not end the others'
            if len(group) > 1:  # find out whose it is
                for case in group:
                    score_cases([case])
            else:
                group[0].reason = f"{type(error).__name__}: {error}"


def _alike(cases: list[Case]) -> Iterator[list[Case]]:
    spans: dict[tuple[object, ...], list[Case]] = {}
    for case in cases:
        key = (case.train_until, case.times[0], case.times[-1], case.step)
        spans.setdefault(key, []).append(case)
    yield from spans.values()


def _run(cases: list[Case]) -> None:
    long = [
        pd.DataFrame(
            {
                "cluster": "eval",
                "namespace": f"case-{i:04d}",
                "kind": "Workload",
                "name": case.name,
                "metric": str(metric),
                "ts": case.times,
                "value": case.values[metric].to_numpy(),
            }
        ).dropna(subset="value")
        for i, case in enumerate(cases)
        for metric in case.values
    ]
    samples = pd.concat(long, ignore_index=True)
    with tempfile.TemporaryDirectory(prefix="foretide-eval-") as folder:
        file = Path(folder) / "samples.parquet"
        samples.to_parquet(file)
        out = Path(folder) / "out"
        score.fn(inputs=[str(file)], out=str(out), train_until=cases[0].train_until.isoformat())
        points, incidents = _table(out / "scores"), _table(out / "incidents")
        skips = _table(out / "skips")
    whose = points["workload"].astype(str).str.split("/").str[1]
    told = incidents.explode("workloads", ignore_index=True)
    about = told["workloads"].astype(str).str.split("/").str[1]
    for i, case in enumerate(cases):
        mine = f"case-{i:04d}"
        case.points = points.loc[whose == mine, ["detector", "metric", "ts", "score"]]
        case.incidents = told.loc[about == mine, ["started_at", "detected_at", "score"]]
        if case.points.empty:
            whys = skips[skips["workload"].astype(str).str.contains(f"/{mine}/", regex=False)]
            case.reason = "; ".join(sorted(set(whys["reason"].astype(str)))) or "no scores"


def _table(folder: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(f) for f in sorted(folder.glob("*.parquet"))])
