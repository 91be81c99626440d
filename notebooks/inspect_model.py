# %% [markdown]
# # What does the live model know about one workload?
# Everything here comes out of MLflow: which version is live and why, who forecasts each metric of
# the workload, how well that went out of sample, what it expects of the next week, and from where
# on the detector would call it an anomaly.

# %%
import logging
import os
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import mlflow
import pandas as pd
import pyarrow.parquet as pq

from features.synthetic import ClusterSpec, simulate
from models.bundle import load
from models.bundle_index import read_index
from models.champion import Champions
from pipelines.train import train

os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
logging.getLogger("mlflow").setLevel(logging.ERROR)
plt.rcParams.update({"figure.dpi": 96, "font.size": 9})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})


# %% [markdown]
# ## Where the models are
# Here a simulated cluster is learned first, into an SQLite file. For your own, let the last line of
# the next cell be
# `REGISTRY, WORKLOAD = "http://mlflow:5000", "prod/shop/Deployment/checkout"`: what `tracking.uri`
# says, or `sqlite:///…/mlflow.db` in the store's folder.


# %%
def trained() -> str:
    folder = Path(mkdtemp(prefix="foretide-"))
    file = folder / "samples.parquet"
    pq.write_table(simulate(ClusterSpec(n_workloads=6, weeks=5, step_s=900)).samples, file)
    train.fn(inputs=[str(file)], out=str(folder))
    return f"sqlite:///{folder / 'mlflow.db'}"


REGISTRY, WORKLOAD = trained(), "prod-eu/shop/Deployment/storefront"

# %% [markdown]
# ## The live version
# `champion` is an alias: promoting and rolling back are one write. Its tags say of what the version
# was made.

# %%
mlflow.set_tracking_uri(REGISTRY)
client = mlflow.MlflowClient()
version = client.get_model_version_by_alias("foretide-forecaster", "champion")
figures = client.get_run(version.run_id).data.metrics
told = {key: version.tags[key][:40] for key in ("as_of", "data_sha256", "index_sha256")}
pd.Series({"version": version.version} | told | {k: f"{v:.4g}" for k, v in figures.items()})

# %% [markdown]
# ## Who forecasts what, and why
# A version is one bundle a shard of workloads: Parquet, arrays and JSON, no code and no pickle.
# Only the one that holds the workload is opened.

# %%
files = Path(mlflow.artifacts.download_artifacts(version.source))
index = read_index(files / "data" / "forecaster")
held = next(iter(index.holding([WORKLOAD])), None)
if held is None:
    raise SystemExit(f"version {version.version} knows no {WORKLOAD}")
bundle, meta = load(files / "data" / "forecaster" / held, workloads=[WORKLOAD])
champions = Champions.from_baselines(bundle)
shares = pd.DataFrame(champions.weights, columns=list(champions.combined))
chosen = champions.chosen.assign(confidence=champions.confidence)
chosen.set_index("metric")[["model", "reason", "wape", "naive_wape", "confidence"]].round(3)

# %% [markdown]
# ## How it was chosen
# The backtest lies beside the bundles: every candidate at three past weeks, here of the metric that
# is looked at. Last week's values, `seasonal_naive`, are the bar.

# %%
wanted = [m for m in ("requests_per_second", "cpu_usage_cores") if m in set(chosen["metric"])]
METRIC = (wanted or sorted(chosen["metric"]))[0]
row = chosen.index[chosen["metric"] == METRIC][0]
live = str(chosen.loc[row, "model"])
tried = pd.read_parquet(files / "backtest" / "backtest.parquet")
tried = tried[(tried["workload"] == WORKLOAD) & (tried["metric"] == METRIC)]
errors = tried.groupby("model", observed=True)["wape"].mean().dropna().sort_values()
errors.round(4)

# %% [markdown]
# ## What it expects, and what would alarm
# Both families answer as any MLflow model does. The detector is asked with the value that was
# expected, and answers with the band outside of which a single step scores 1 or more.

# %%
forecaster = mlflow.pyfunc.load_model("models:/foretide-forecaster@champion")
week = round(pd.Timedelta(weeks=1) / champions.step)
ahead = forecaster.predict(pd.DataFrame({"workload": [WORKLOAD], "n_steps": [week]}))
ahead = ahead[ahead["metric"] == METRIC].reset_index(drop=True)

detector = mlflow.pyfunc.load_model("models:/foretide-detector@champion")
asked = (
    ahead[["workload", "metric"]]
    .astype("str")
    .assign(ts=ahead["ts"].map(pd.Timestamp.isoformat), value=ahead["q50"], expected=ahead["q50"])
)
band = detector.predict(asked)
ahead.set_index("ts")[["q05", "q50", "q90", "q99"]].resample("1D").max().round(2)

# %% [markdown]
# ## The model in one picture

# %%
fig = plt.figure(figsize=(11, 5.6), layout="constrained")
grid = fig.add_gridspec(2, 2, height_ratios=[1.35, 1])
ax, left, right = (
    fig.add_subplot(grid[0, :]),
    fig.add_subplot(grid[1, 0]),
    fig.add_subplot(grid[1, 1]),
)

ax.plot(band["ts"], band["upper"], color="#d95f02", lw=1, label="beyond: an anomaly")
ax.plot(band["ts"], band["lower"], color="#d95f02", lw=1)
ax.fill_between(ahead["ts"], ahead["q05"], ahead["q95"], color="#9ecae1", lw=0, label="5 % to 95 %")
ax.plot(ahead["ts"], ahead["q50"], color="#08519c", lw=1.4, label="expected")
ax.margins(x=0)
low, high = ahead["q05"].min(), ahead["q95"].max()
ax.set_ylim(0 if low >= 0 else low - 0.1 * (high - low), high + 0.35 * (high - min(low, 0)))
days = pd.date_range(ahead["ts"].iloc[0].ceil("D"), ahead["ts"].iloc[-1], freq="D")
ax.set_xticks(days, [f"{day:%a %d %b}" for day in days], ha="left")
ax.set_title(f"{METRIC}, the week after the training (UTC)", loc="left", fontsize=9)
ax.legend(loc="upper right", ncols=3, frameon=False)

colours = ["#08519c" if model == live else "#c6c6c6" for model in errors.index]
bars = left.barh(errors.index, 100 * errors, color=colours)
left.bar_label(bars, [f"{100 * error:.1f} %" for error in errors], padding=3)
left.invert_yaxis()
left.set(xticks=[], xlim=(0, 115 * errors.max()))
left.set_title("error out of sample (WAPE); blue: live", loc="left", fontsize=9)

parts = shares.loc[row] if live == "combination" else pd.Series({live: 1.0})
parts = parts[parts > 0].sort_values(ascending=False)
bars = right.barh(parts.index, 100 * parts, color="#6baed6")
right.bar_label(bars, [f"{share:.0%}" for share in parts], padding=3)
right.invert_yaxis()
right.set(xticks=[], xlim=(0, 115 * parts.max()))
right.set_title("whom it listens to", loc="left", fontsize=9)
for side in (left, right):
    side.spines["bottom"].set_visible(False)

peak = ahead.loc[ahead["q50"].idxmax()]
bar_error = errors.get("seasonal_naive", float("nan"))
fig.suptitle(
    f"{WORKLOAD.split('/')[-1]}: {live}, off by {errors.get(live, float('nan')):.1%} "
    f"(last week's values: {bar_error:.1%}).  It expects its peak on {peak['ts']:%A, %H:%M}: "
    f"{peak['q05']:,.4g} to {peak['q95']:,.4g}",
    x=0.01, ha="left", fontsize=11, fontweight="bold",
)  # fmt: skip
plt.show()
