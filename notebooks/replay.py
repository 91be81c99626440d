# %% [markdown]
# # Would pre-scaling have been worth it, and for whom?
# Past weeks are played again: the HPA alone, the HPA above floors that Foretide would have raised,
# one-line rules, and an oracle that knows what comes. From three weeks on each workload gets a
# verdict. Nothing is written to any cluster.

# %%
import matplotlib.pyplot as plt

from features.synthetic import ClusterSpec, simulate
from pipelines import api

plt.rcParams.update({"figure.dpi": 96, "font.size": 9})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## Samples
# A simulated cluster whose Mondays at nine come as a surprise to an HPA. For your own, let the last
# line of the next cell be `samples = api.read("samples.parquet")`: six weeks or more, with
# `cpu_usage_cores`, `cpu_request_cores` and what the HPAs say of themselves. Without these, one
# load of its own is assumed for every series of demand (`prescale.replay_case`).

# %%
samples = simulate(ClusterSpec(n_workloads=24, weeks=6, step_s=900)).samples.to_pandas()

# %% [markdown]
# ## Three weeks, played again
# Forecasts are issued every 15 minutes, three minutes late, by models that know only what was
# before. `refit_h: 24` learns once a day instead of every hour: quicker, and a little less sharp.
# HPAs that the samples do not tell come from their manifests: `api.replay(…, hpa="hpa.yaml")`.

# %%
held = api.replay(samples, weeks=3, config={"prescale": {"issue": {"refit_h": 24}}})
held.totals.set_index("policy")[
    [
        "short_pod_min",
        "over_target_core_h",
        "unserved_core_h",
        "replica_hours",
        "replica_hours_ratio",
    ]
].round(3)

# %% [markdown]
# - `short_pod_min`: pod-minutes that the HPA's own target asks for and that were not ready
# - `over_target_core_h`: demand above what the ready pods carry at that target
# - `unserved_core_h`: demand above what they carry at all
# - `replica_hours_ratio`: pods paid for, beside the HPA alone
#
# ## Verdicts
# *enable* where it was better in the weeks and worth it, *do not enable* where not, *not enough
# data* where too few weeks could be judged; the reason says by which numbers.

# %%
for row in held.verdicts.itertuples():
    print(f"{row.workload:45} {row.verdict:16} {row.reason}")
for row in held.skips.groupby("reason").agg(n=("workload", "nunique")).itertuples():
    print(f"{row.n} workloads not replayed: {row.Index}")

# %% [markdown]
# ## Who gains what
# Left: pods that were missing, in minutes a week, by the HPA alone and above Foretide's floors.
# Right: what that costs.

# %%
COLOURS = {"enable": "#1b9e77", "do not enable": "#d95f02", "not enough data": "#7f7f7f"}
last = held.verdicts.sort_values("short_pod_min_reactive").tail(40).reset_index(drop=True)
names = [f"{w.split('/')[0]} / {w.split('/')[-1]}" for w in last["workload"]]
before, after = last["short_pod_min_reactive"], last["short_pod_min_foretide"]
cost = last["replica_hours_ratio"] - 1
colours = last["verdict"].map(COLOURS)

fig, (ax, side) = plt.subplots(
    1, 2, figsize=(11, 1.9 + 0.24 * len(last)), sharey=True,
    width_ratios=[2.6, 1], layout="constrained",
)  # fmt: skip
ax.hlines(last.index, after, before, color=colours, lw=2.5, alpha=0.45)
ax.scatter(before, last.index, s=34, facecolor="white", edgecolor="black", zorder=3)
ax.scatter(after, last.index, s=38, color=colours, zorder=3)
ax.set_yticks(last.index, names)
ax.set_xscale("symlog", linthresh=10)
ax.set_xlim(0, 1.6 * max(before.max(), 10))
ax.xaxis.set_major_formatter("{x:,.0f}")
ax.set_xlabel("pod-minutes short, a week  (○ the HPA alone  ● with floors)")
side.barh(last.index, 100 * cost, color=colours, alpha=0.75, height=0.6)
side.set_xlabel("pod-hours, % above the HPA alone")
side.axvline(0, color="black", lw=1)
there = [verdict for verdict in COLOURS if (last["verdict"] == verdict).any()]
fig.legend(
    [plt.Line2D([], [], color=COLOURS[verdict], lw=5) for verdict in there],
    [f"{verdict}: {(last['verdict'] == verdict).sum()}" for verdict in there],
    loc="outside lower left", ncols=3, frameon=False,
)  # fmt: skip
yes = held.verdicts[held.verdicts["verdict"] == "enable"]
if len(yes):
    mine = held.workloads[held.workloads["workload"].isin(yes["workload"])]
    hours = mine.groupby("policy")["replica_hours"].sum()
    told = (
        f"Worth it for {len(yes)} of {len(held.verdicts)} workloads: short of "
        f"{yes['short_pod_min_reactive'].sum():,.0f} → {yes['short_pod_min_foretide'].sum():,.0f} "
        f"pod-minutes a week, for {hours['foretide'] / hours['reactive'] - 1:+.0%} pod-hours"
    )
else:
    told = f"In these weeks it was worth it for none of {len(held.verdicts)} workloads"
fig.suptitle(told, x=0.01, ha="left", fontsize=11, fontweight="bold")
plt.show()
