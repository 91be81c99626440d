"""The rule by which a series' live model is called good, drifted or demoted."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.drift import NOMINAL, DriftParams

__all__ = ["DEMOTED", "DRIFTED", "GOOD", "UNJUDGED", "judge"]

GOOD, DRIFTED, DEMOTED, UNJUDGED = "good", "drifted", "demoted", "unjudged"


def judge(found: pd.DataFrame, at: pd.Timestamp, params: DriftParams) -> pd.DataFrame:
    """The verdict on every series: columns ``verdict, reason, since, losing_since``.

    Parameters
    ----------
    found
        ``models.drift.measure``'s columns, and beside them: ``is_bar`` (whether the seasonal naive
        itself is live); of the champion's backtest ``backtest_wape``, ``backtest_worst_wape`` (of
        its worst origin) and ``backtest_coverage_q90``, NaN without one; of the evaluation before
        this one ``before``, ``before_reason``, ``before_since`` and ``losing_since``, empty where
        there was none since the model was trained.
    at
        The moment of this evaluation.
    """
    able, why_not = _able(found, params)
    erred, covers_ill = _erred(found, params), _covers_ill(found, params)
    loses = able & _loses(found, params)
    losing_since = found["losing_since"].fillna(at).where(loses)
    long_ago = (at - losing_since >= pd.Timedelta(params.persistence_h, "h")).to_numpy()
    demoted = loses & found["losing_since"].notna().to_numpy() & long_ago
    before = found["before"].fillna("").to_numpy(dtype=str)
    stays = (before == DEMOTED) | (~able & (before == DRIFTED))
    verdict = np.select(
        [stays, demoted, ~able, erred & able | covers_ill & able],
        [before, DEMOTED, UNJUDGED, DRIFTED],
        GOOD,
    )
    reason = np.select(
        [stays, demoted, ~able, erred, covers_ill, loses],
        [
            found["before_reason"].fillna("").to_numpy(dtype=object),
            _beaten(found, losing_since),
            why_not,
            _worse(found),
            _coverage(found),
            "worse than last week's values; demoted if it stays so",
        ],
        "not worse than its backtest beyond chance",
    )
    goes_on = (found["before"] == verdict).to_numpy()
    since = found["before_since"].where(goes_on).fillna(at)
    return pd.DataFrame(
        {"verdict": verdict, "reason": reason, "since": since, "losing_since": losing_since},
        index=found.index,
    ).astype({"verdict": "str", "reason": "str"})


def _able(
    found: pd.DataFrame, params: DriftParams
) -> tuple[NDArray[np.bool_], NDArray[np.object_]]:
    """Which series can be judged, and why the others cannot."""
    known = found[["backtest_wape", "backtest_coverage_q90"]].notna().any(axis=1).to_numpy()
    enough = (found["hours"] >= params.minimum_h).to_numpy()
    hours = found["hours"].map("{:.0f} h of forecast came due".format)
    short = hours + f", {params.minimum_h:g} h are needed"
    return known & enough, np.where(known, short, "no backtest to compare with").astype(object)


def _erred(found: pd.DataFrame, params: DriftParams) -> NDArray[np.bool_]:
    usual = np.maximum((1 + params.margin) * found["backtest_wape"], params.minimum_error)
    worst = found["backtest_worst_wape"]
    beyond_chance = found["error_low"] > worst
    gross = found["error_usual"] > np.maximum(params.gross_ratio * worst, params.minimum_error)
    return ((found["error"] > usual) & (beyond_chance | gross)).to_numpy()


def _covers_ill(found: pd.DataFrame, params: DriftParams) -> NDArray[np.bool_]:
    least, most = NOMINAL - params.coverage_slack, NOMINAL + params.coverage_slack
    return ((found["coverage_high"] < least) | (found["coverage_low"] > most)).to_numpy()


def _loses(found: pd.DataFrame, params: DriftParams) -> NDArray[np.bool_]:
    """Worse than last week's values, beyond chance; they cannot lose to themselves."""
    worse = found["own_wape"] > (1 + params.demotion_margin) * found["bar_wape"]
    gross = found["behind_usual"] > params.gross_ratio - 1
    gross &= found["own_wape"] > params.minimum_error
    beyond_chance = found["behind_low"] > 0
    return (worse & (beyond_chance | gross) & ~found["is_bar"].astype(bool)).to_numpy()


def _worse(found: pd.DataFrame) -> NDArray[np.object_]:
    return _told("off by {:.1%} of the load, {:.1%} in its backtest", found, "error backtest_wape")


def _coverage(found: pd.DataFrame) -> NDArray[np.object_]:
    return _told("its 90% quantile held {:.0%} of the time", found, "coverage_q90")


def _beaten(found: pd.DataFrame, since: pd.Series) -> NDArray[np.object_]:
    told = found.assign(losing_since=since)
    text = "off by {:.0%}, last week's values by {:.0%}, since {:%Y-%m-%d %H:%M} UTC"
    return _told(text, told, "own_wape bar_wape losing_since")


def _told(text: str, found: pd.DataFrame, columns: str) -> NDArray[np.object_]:
    """The text with each row's figures; empty where there is nothing to tell."""
    there = found[columns.split()].notna().all(axis=1)
    rows = zip(there, *(found[c] for c in columns.split()), strict=True)
    return np.array([text.format(*row) if ok else "" for ok, *row in rows], dtype=object)
