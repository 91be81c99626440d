"""The simple detectors that stand beside the product, and chance.

Each is given ``values`` (n_rows, n_metrics) and which rows come before the scored part, and returns
scores (n_rows,) in which 1 is its own alert line: three standard deviations where it has them, else
what 0.1 % of its training rows exceed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

SIGMAS = 3.0
RARE = 0.999
CAP = 30.0  # standard deviations: more is not more
SEEDS = 5
PCA_VARIANCE = 0.95
EWMA_SPAN = 12  # rows: an hour of the usual 5 minutes
CHART_WEIGHT = 0.2  # of the newest value in an EWMA control chart
ROLLING = "1D"

Rival = Callable[[pd.DataFrame, np.ndarray], np.ndarray]


def constant(values: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    """Always at the line."""
    return np.ones(len(values))


def chance(seed: int) -> Rival:
    """Any number; its line is reached by 0.1 % of rows."""

    def draw(values: pd.DataFrame, train: np.ndarray) -> np.ndarray:
        return np.random.default_rng(seed).random(len(values)) / RARE

    return draw


def static_z(values: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    """Farthest metric from its training mean."""
    return np.abs(standardised(values, train)).max(axis=1) / SIGMAS


def rolling_z(values: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    """Farthest metric from its mean of the day before."""
    past = values.rolling(ROLLING, closed="left", min_periods=12)
    off = (values - past.mean()).abs() / (past.std() + 1e-9 * values.abs().max())
    return off.clip(upper=CAP).max(axis=1).to_numpy() / SIGMAS


def ewma_chart(values: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    """EWMA control chart (Roberts 1959) of each metric, against its training mean."""
    z = pd.DataFrame(standardised(values, train))
    spread = np.sqrt(CHART_WEIGHT / (2 - CHART_WEIGHT))
    chart = z.ewm(alpha=CHART_WEIGHT, adjust=False).mean().abs() / spread
    return chart.max(axis=1).to_numpy() / SIGMAS


def forest(values: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    """scikit-learn's isolation forest of the metrics; of one metric, with its last hour's mean."""
    from sklearn.ensemble import IsolationForest

    z = standardised(values, train)
    if z.shape[1] == 1:
        z = np.column_stack([z, pd.Series(z[:, 0]).rolling(12, min_periods=1).mean()])
    raw = -IsolationForest(n_estimators=100, random_state=0).fit(z[train]).score_samples(z)
    return _lined(raw, train)


def pca(values: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    """Squared error of the standardised metrics after the components of most training variance."""
    from sklearn.decomposition import PCA

    z = standardised(values, train)
    model = PCA(n_components=PCA_VARIANCE, svd_solver="full").fit(z[train])
    error = ((z - model.inverse_transform(model.transform(z))) ** 2).sum(axis=1)
    return _lined(error, train)


def pca_ewma(values: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    """The same, smoothed over the past hour."""
    smooth = pd.Series(pca(values, train)).ewm(span=EWMA_SPAN, adjust=False).mean()
    return _lined(smooth.to_numpy(), train)


def standardised(values: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    """Distance from the training mean in training standard deviations, gaps filled by the last
    value; metrics that do not vary there are left out, unless none does.
    """
    filled = values.ffill().fillna(values[train].mean()).fillna(0.0).to_numpy(float)
    mean, std = filled[train].mean(axis=0), filled[train].std(axis=0)
    varies = std > 1e-9 * np.abs(mean).clip(min=1e-12)
    if not varies.any():
        varies[:] = True
    scale = np.where(std > 0, std, 1e-9 + 0.01 * np.abs(mean))
    return np.clip((filled - mean) / scale, -CAP, CAP)[:, varies]


def _lined(raw: np.ndarray, train: np.ndarray) -> np.ndarray:
    line = np.quantile(raw[train], RARE)
    return raw / line if line > 0 else raw


OF_ONE: dict[str, Rival] = {
    "rolling z": rolling_z,
    "static z": static_z,
    "EWMA chart": ewma_chart,
    "isolation forest": forest,
}
OF_MANY: dict[str, Rival] = {
    "PCA + EWMA": pca_ewma,
    "PCA": pca,
    "isolation forest": forest,
    "rolling z": rolling_z,
    "static z": static_z,
    "EWMA chart": ewma_chart,
}
