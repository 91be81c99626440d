# %% [markdown]
# # Who is busy when, and what was never measured?
# A first look at a cluster's samples: which series there are, how complete they are, and what can
# be learned from them. The picture at the end has one row a workload and one column an hour.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from features.quality import QualityParams, judge
from features.synthetic import ClusterSpec, simulate
from pipelines import api

plt.rcParams.update(
    {"figure.dpi": 96, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
)

# %% [markdown]
# ## Samples
# Two regions of a simulated cluster. For your own, let the last line of the next cell be
# `samples = api.read("samples.parquet")`: any Parquet or CSV file with the columns
# `name, metric, ts, value` (and `cluster, namespace, kind` where you have them). CloudWatch or
# Prometheus: `foretide ingest` writes such files.

# %%
samples = simulate(ClusterSpec(n_workloads=20, weeks=4, step_s=900, seed=9)).samples.to_pandas()

# %%
samples.head()

# %% [markdown]
# ## On one grid
# A `Panel` is a matrix series × time. What is missing stays missing (NaN) and is counted.

# %%
panel = api.Panel.from_frame(samples)
print(
    f"{panel.n_series} series × {panel.n_steps} steps of {panel.step / pd.Timedelta('1min'):g} min"
)
print(f"from {panel.start:%Y-%m-%d %H:%M} to {panel.end:%Y-%m-%d %H:%M} UTC")
print(f"{panel.counts.empty_cells / panel.counts.cells:.1%} of the cells were not measured")

# %%
measured = np.isfinite(panel.values)
panel.keys.assign(
    measured=measured.mean(axis=1),
    lowest=np.fmin.reduce(panel.values, axis=1),
    median=np.nanmedian(panel.values, axis=1),
    highest=np.fmax.reduce(panel.values, axis=1),
).groupby("metric").agg(
    series=("workload", "size"),
    measured=("measured", "mean"),
    lowest=("lowest", "min"),
    median=("median", "median"),
    highest=("highest", "max"),
).map("{:.4g}".format)

# %% [markdown]
# ## Is it enough to learn from?
# The same verdict that every run of Foretide gives, one a series. What is refused is skipped with
# this reason, and judged again the next time.

# %%
verdict = judge(panel, QualityParams())
print(f"{verdict['ok'].sum()} of {len(verdict)} series can be learned from")
print(f"{(verdict['ok'] & (verdict['span_h'] < 14 * 24)).sum()} of them are younger than two weeks")
verdict.sort_values("coverage").head(6).round(3)

# %% [markdown]
# ## Who is busy when
# Each row is one workload's load as a share of its own highest hour, over the last two weeks. On
# top stands who rises most above its median: there a peak that is seen coming is worth something.

# %%
there = panel.keys["metric"].value_counts()
LOAD = next((m for m in ("requests_per_second", "cpu_usage_cores") if m in there), there.index[0])

without = panel.keys["workload"].nunique() - int(there[LOAD])
print(f"{LOAD}: {there[LOAD]} workloads; {without} have none and are not in the picture")
part = panel.of(LOAD).window(start=panel.end - pd.Timedelta(weeks=2))
hourly = pd.DataFrame(part.values.T, index=part.times, columns=part.keys["workload"])
hourly = hourly.resample("1h").mean().dropna(axis=1, how="all")
rise = (hourly.max() / hourly.median().clip(lower=1e-9)).sort_values(ascending=False)[:40]
hourly = hourly[rise.index]
gaps = hourly.isna() & hourly.ffill().notna()
names = [f"{w.split('/')[0]} / {w.split('/')[-1]}".removeprefix("default / ") for w in rise.index]

# %%
fig, (ax, side) = plt.subplots(
    1, 2, figsize=(11, 1.8 + 0.21 * len(rise)), sharey=True,
    width_ratios=[7, 1], layout="constrained",
)  # fmt: skip
edges = pd.date_range(hourly.index[0], periods=len(hourly) + 1, freq="h").tz_localize(None)
rows = np.arange(len(rise) + 1) - 0.5
ax.set_facecolor("#e8e8e8")
share = ax.pcolormesh(edges, rows, (hourly / hourly.max()).T, cmap="YlGnBu", vmin=0, vmax=1)
hour, row = np.nonzero(gaps.to_numpy())
ax.barh(row, pd.Timedelta("1h"), 1, edges[hour], color="#d7191c", edgecolor="#d7191c", lw=2)
ax.set_yticks(range(len(rise)), names)
ax.invert_yaxis()
days = edges[edges.hour == 0][:-1]
ax.set_xticks(days, [f"{day:%a}\n{day:%d %b}" for day in days], ha="left")
key = fig.colorbar(share, ax=ax, location="bottom", shrink=0.4, aspect=40)
key.set_label("share of its own highest hour  ·  red: not measured  ·  UTC")
bars = side.barh(range(len(rise)), rise, color="#225ea8")
side.bar_label(bars, [f"{times:.1f} ×" for times in rise], padding=3, fontsize=8)
side.set(title="highest hour\n÷ median", xticks=[], xlim=(0, 1.45 * rise.max()))
side.spines["bottom"].set_visible(False)
first, at = rise.index[0], hourly[rise.index[0]].idxmax()
fig.suptitle(
    f"{names[0]} rises most: {rise.iloc[0]:.1f} × its median on {at:%A, %H:%M} UTC.  "
    f"Hours that nobody measured: {gaps.to_numpy().sum()}, in {gaps.any().sum()} of {len(rise)}",
    x=0.01, ha="left", fontsize=11, fontweight="bold",
)  # fmt: skip
plt.show()
