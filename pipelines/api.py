"""The product as functions: pandas in, pandas out, nothing left behind.

``read`` (or ``Panel.from_frame``) gives data; ``fit`` and ``predict`` forecast them, ``score`` says
what is anomalous, leaking and an incident, ``backtest`` compares forecasters, ``replay`` says for
whom pre-scaling would have been worth it. Each runs the code of the verb of the same name on a
file, so its numbers are that verb's. No tracker, no orchestrator and no store is used.

Times are UTC; one without a zone is taken as UTC. Whatever goes wrong is a ``ForetideError``, or a
``FrameError`` where a frame is at fault, and says what to do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from features.frames import INCIDENTS, LEAKS, SCORES, SKIPS, FrameError, quantile_column
from features.panel import Panel
from models.base import Baselines
from models.champion import Champions
from pipelines.accounting import silent_series
from pipelines.api_data import Config, Data, Moment, Span, length_of, moment_of, open_given
from pipelines.api_models import Detectors, Forecasters, with_backtest, with_models
from pipelines.api_results import Backtested, Fitted, Replayed, Scored
from pipelines.backtest_rows import backtest_start, model_rows
from pipelines.errors import ConfigError, ForetideError, HistoryError
from pipelines.forecast_rows import forecast_table
from pipelines.hygiene import AnomalousPoints
from pipelines.judging import judge_forecasters
from pipelines.learning import learn
from pipelines.outcome import reasons, told
from pipelines.unusual import unusual

__all__ = [
    "Backtested",
    "Baselines",
    "Fitted",
    "ForetideError",
    "FrameError",
    "Panel",
    "Replayed",
    "Scored",
    "backtest",
    "fit",
    "predict",
    "read",
    "replay",
    "score",
]

_SKIPS = ["workload", "metric", "step", "reason"]
_SILENT = "no sample in the history that is read"


def read(*paths: str | Path, config: Config = None) -> pd.DataFrame:
    """Samples of Parquet, CSV or OpenMetrics files, or folders of them.

    Returns ``workload, cluster, namespace, kind, name, metric, ts, value``. Values that cannot be
    true by the catalog of metrics (and ``metrics`` of ``config``) are NaN.

    Raises
    ------
    ConfigError, InputError
        The configuration, or a file: the text names it, and the column.
    """
    from pipelines.api_files import samples_of

    return samples_of(paths, config)


def fit(
    data: Data,
    *,
    forecasters: Forecasters | None = None,
    until: Moment | None = None,
    config: Config = None,
) -> Fitted:
    """Choose, fit and calibrate a forecaster for every series, as ``foretide train`` does.

    Parameters
    ----------
    data
        A samples frame, or a ``Panel``.
    forecasters
        Names, ``package.module:Class``, or instances of ``models.base.Forecaster``; by default
        ``forecast.models``. The seasonal-naive bar is always among them.
    until
        Nothing from then on is seen; by default all of the data is.

    Raises
    ------
    ConfigError, FrameError
        An argument is wrong.
    HistoryError
        No series has enough history.
    """
    run = open_given(data, with_models(config, forecasters), until)
    parts: list[Champions] = []
    skipped = [silent_series(run, run.history_start, _SILENT)]
    for shard in run.parts_since(run.history_start):
        panel = shard.panel(run.history_start, run.as_of)
        usual = unusual(panel, AnomalousPoints.of([]), run.settings).applied(panel)
        lesson = learn(usual, run.catalog, run.settings, detectors=False)
        parts += [group.champions for group in lesson.groups]
        skipped.append(lesson.skipped)
    skips = _skips("fit", skipped)
    if not parts:
        raise HistoryError(
            f"no series has enough history before {run.as_of:%Y-%m-%d %H:%M} UTC to learn from: "
            + (told(reasons(skips)) or "there is none to learn from at all")
        )
    return Fitted(tuple(parts), skips, run.forgotten(run.as_of))


def predict(
    fitted: Fitted,
    *,
    horizon: Span = "168h",
    step: Span | None = None,
    quantiles: Sequence[float] = (0.05, 0.5, 0.9, 0.95, 0.99),
    start: Moment | None = None,
) -> pd.DataFrame:
    """Forecast every series, as ``foretide forecast`` does.

    Parameters
    ----------
    step
        A row so often, a multiple of ``fitted.step``: every value is still that of one fitted step,
        nothing is averaged. By default every step.
    quantiles
        Of at most four decimals.
    start
        Where the forecast begins; by default, and at the earliest, where the history ended.

    Returns
    -------
    frame
        ``workload, metric, ts``, a column a quantile (``q05`` for 0.05), ``model, confidence``; in
        the metrics' own units.

    Raises
    ------
    ConfigError
        An argument is wrong.
    """
    as_of = fitted.end if start is None else moment_of(start, "start")
    if as_of < fitted.end:
        raise ConfigError(f"start: expected a moment from {fitted.end} on, got {as_of}")
    wrong = [q for q in quantiles if not 0 < q < 1 or round(q, 4) != q]
    if wrong or not len(quantiles):
        raise ConfigError(
            "quantiles: expected numbers between 0 and 1 of at most four decimals, got "
            f"{wrong[0] if wrong else 'none'!r}"
        )
    length, every = length_of(horizon, "horizon"), fitted.step
    if step is not None and (every := length_of(step, "step")) % fitted.step:
        raise ConfigError(f"step: expected a multiple of the fitted {fitted.step}, got {every}")
    run = fitted.run.forgotten(as_of)
    tables = [
        forecast_table(run, c, "", horizon_s=length.total_seconds(), quantiles=tuple(quantiles))
        for c in fitted.champions
    ]
    table = pd.concat(tables, ignore_index=True)
    columns = [quantile_column(q) for q in quantiles]
    wanted = ((table["ts"] - table["ts"].min()) % every) == pd.Timedelta(0)
    told_by = ["model", "confidence"]
    return table.loc[wanted, ["workload", "metric", "ts", *columns, *told_by]].reset_index(
        drop=True
    )


def score(
    data: Data,
    *,
    train_until: Moment,
    detectors: Detectors | None = None,
    config: Config = None,
    start: Moment | None = None,
) -> Scored:
    """Score what is after ``train_until`` and group it, as ``foretide score --input`` does.

    What is before ``train_until`` teaches what is normal; on the way it is learned anew every
    ``detect.refit_every_h``.

    Parameters
    ----------
    detectors
        Names, ``package.module:Class``, or instances of ``models.base.Detector``; by default
        ``detect.detectors``.
    start
        Where scoring begins; by default, and at the earliest, at ``train_until``.

    Raises
    ------
    ConfigError, FrameError
        An argument is wrong.
    HistoryError
        Nothing could be scored.
    """
    from pipelines.api_scoring import score_given

    settings = with_models(config, detectors=detectors)
    with tempfile.TemporaryDirectory(prefix="foretide-") as folder:
        run = open_given(data, settings, out=folder)
        until = moment_of(train_until, "train_until")
        begin = until if start is None else moment_of(start, "start")
        found = score_given(run, begin, until)
    skips = found[SKIPS.name][_SKIPS].reset_index(drop=True)
    return Scored(found[SCORES.name], found[LEAKS.name], found[INCIDENTS.name], skips)


def backtest(
    data: Data,
    *,
    forecasters: Forecasters | None = None,
    origins: int | None = None,
    horizon: Span | None = None,
    config: Config = None,
) -> Backtested:
    """Hold forecasters, and the product as it would have run, against history, as ``foretide
    backtest`` does.

    Parameters
    ----------
    origins
        From how many moments it is forecast; by default ``forecast.champion.backtest.origins``.
    horizon
        How far from each, 24 h or more; by default ``forecast.champion.backtest.horizon_h``.

    Raises
    ------
    ConfigError, FrameError
        An argument is wrong.
    HistoryError
        The history is too short.
    """
    length = None if horizon is None else length_of(horizon, "horizon") / pd.Timedelta(1, "h")
    settings = with_backtest(with_models(config, forecasters), origins, length)
    run = open_given(data, settings)
    begin = backtest_start(run)
    done = [
        judge_forecasters(shard.panel(begin, run.as_of), run.catalog, run.settings)
        for shard in run.parts_since(begin)
    ]
    table = pd.concat([judged.table for judged in done], ignore_index=True)
    skips = _skips("backtest", [judged.skipped for judged in done])
    if not (table["points"] > 0).any():
        days = run.settings.forecast.champion.backtest.minimum_train_days
        raise HistoryError(
            f"nothing can be backtested at {run.as_of:%Y-%m-%d %H:%M} UTC: "
            + (told(reasons(skips)) or f"the history is too short for one day ahead of {days:g}")
        )
    seconds: dict[str, float] = {}
    for model, took in (item for judged in done for item in judged.seconds.items()):
        seconds[model] = seconds.get(model, 0.0) + took
    summary = model_rows(table, seconds)
    return Backtested(table, pd.DataFrame(summary), skips)


def replay(
    data: Data, *, hpa: str | Path | None = None, weeks: int = 1, config: Config = None
) -> Replayed:
    """Replay pre-scaling over the last weeks beside a reactive HPA and simple rules, as ``foretide
    replay`` does.

    Parameters
    ----------
    hpa
        A file of HPA manifests (or ScaledObjects); by default ``prescale.hpa_file``.
    weeks
        How many; from two on there are verdicts.

    Raises
    ------
    ConfigError, FrameError
        An argument is wrong.
    HistoryError
        Nothing could be replayed.
    """
    from pipelines.api_replay import replay_given

    if weeks < 1:
        raise ConfigError(f"weeks: expected 1 or more, got {weeks}")
    run = open_given(data, config)
    table, verdicts, skipped = replay_given(run, None if hpa is None else str(hpa), weeks)
    is_total = (table["workload"] == "*").to_numpy()
    totals = table[is_total].drop(columns=["workload", "metric"]).dropna(axis="columns", how="all")
    rows = table[~is_total].reset_index(drop=True)
    return Replayed(totals.reset_index(drop=True), rows, verdicts, _skips("replay", skipped))


def _skips(step: str, skipped: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One row a series and reason."""
    rows = pd.concat([s[["workload", "metric", "reason"]].astype("str") for s in skipped])
    return rows.assign(step=step)[_SKIPS].drop_duplicates().reset_index(drop=True)
