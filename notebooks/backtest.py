# %% [markdown]
# # Which forecaster is best on your file?
# Every forecaster forecasts past weeks that it has not seen, and is held against what came. Last
# week's values are the bar: what does not beat them is not worth running.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from features.synthetic import ClusterSpec, simulate
from pipelines import api

plt.rcParams.update({"figure.dpi": 96, "font.size": 9})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## Samples
# A simulated cluster. For your own, let the last line of the next cell be
# `samples = api.read("samples.parquet")`: a Parquet or CSV file with the columns
# `name, metric, ts, value`, four weeks or more.

# %%
samples = simulate(ClusterSpec(n_workloads=12, weeks=6, step_s=900)).samples.to_pandas()

# %% [markdown]
# ## Rolling origins
# At each of three origins everything is learned from what came before, and the week after is
# forecast. `champion` is the product: it chooses, fits and calibrates anew at each origin, and
# nothing after the origin is known to it. Your own forecaster can stand beside the others:
# `api.backtest(samples, forecasters=["seasonal_naive", "prophet", "mine.module:Mine"])`.

# %%
found = api.backtest(samples)
found.summary.set_index("model")[
    ["series", "windows", "wape", "mase", "coverage_q90", "peak_coverage_q90", "champion_for"]
].round(3)

# %% [markdown]
# - `wape`: the sum of absolute errors as a share of the sum of values, median over series
# - `mase`: the error beside that of repeating the season within the history; below 1 is better
# - `coverage_q90`: how often the 90 % quantile held; 0.9 is right, less is too low a forecast
# - `peak_coverage_q90`: the same in each series' busiest tenth, where capacity is decided
#
# ## Series by series
# A median over series hides who loses. Here each series is held against its own last week.

# %%
BAR, PRODUCT = "seasonal_naive", "champion"
table = found.table[found.table["points"] > 0].astype({"model": "str"})
errors = table.pivot_table("wape", ["workload", "metric"], "model", observed=True)
errors = errors[errors[BAR] > 0].dropna()
beside = errors.div(errors[BAR], axis=0)
order = beside.median().sort_values().index
pd.DataFrame(
    {
        "median error, × last week's": beside.median(),
        "better than last week in": (beside < 1).sum(),
        "of series": beside.count(),
        "worst series, ×": beside.max(),
    }
).loc[order].round(2)

# %% [markdown]
# ## Which one is best
# On the left one dot a series: how large the error is beside last week's. On the right whether the
# 90 % quantile is one: over all hours and in the busiest tenth.

# %%
summary = found.summary.set_index("model")
fig, (ax, side) = plt.subplots(
    1, 2, figsize=(11, 1.7 + 0.34 * len(order)), sharey=True,
    width_ratios=[2.4, 1], layout="constrained",
)  # fmt: skip
shake = np.random.default_rng(0).uniform(-0.22, 0.22, len(beside))
for row, model in enumerate(order):
    colour = "#d95f02" if model == PRODUCT else "#7570b3"
    ax.scatter(beside[model].clip(0.25, 4), row + shake, s=11, color=colour, alpha=0.4, lw=0)
    middle = beside[model].median()
    ax.plot([middle] * 2, [row - 0.36, row + 0.36], color=colour, lw=3)
    ax.annotate(f"{middle:.2f}", (3.2, row), va="center", fontweight="bold", color=colour)
ax.axvline(1, color="black", lw=1)
ax.set_title("one dot a series; bar and number: their median", loc="right", fontsize=9)
ax.set(xscale="log", xlim=(0.25, 4), xlabel="error ÷ last week's error  (left of the line: better)")
ax.set_xticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
ax.minorticks_off()
ax.set_yticks(range(len(order)), ["the product" if m == PRODUCT else m for m in order])
ax.invert_yaxis()
every, peaks = summary.loc[order, "coverage_q90"], summary.loc[order, "peak_coverage_q90"]
side.hlines(range(len(order)), peaks, every, color="#bbbbbb", lw=2, zorder=0)
side.plot(every, range(len(order)), "o", color="#1b9e77", label="all hours")
side.plot(peaks, range(len(order)), "D", color="#e7298a", ms=5, label="busiest tenth")
side.axvline(0.9, color="black", lw=1)
side.set(xlim=(0, 1), xlabel="how often the 90 % quantile held  (line: 0.9)")
side.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8)
best = order.drop([PRODUCT, "combination"], errors="ignore")[0]
told = f"Best single forecaster: {best}, {beside[best].median():.2f} × last week's error."
if PRODUCT in beside:
    better = f"better in {(beside[PRODUCT] < 1).sum()} of {len(beside)} series"
    told += f"  The product as it runs: {beside[PRODUCT].median():.2f} ×, {better}"
fig.suptitle(told, x=0.01, ha="left", fontsize=11, fontweight="bold")
plt.show()
