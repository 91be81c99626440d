# %% [markdown]
# # How loud should the detector be?
# Loudness is a budget: how many alerts a month a *healthy* workload may cost
# (`detect.*.alerts_per_month`). This notebook tries several on labelled incidents and shows what
# each finds, how soon, and what it costs in incidents about nothing.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from features.synthetic import FAULTS, ClusterSpec, simulate
from pipelines import api

plt.rcParams.update({"figure.dpi": 96, "font.size": 9})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## Samples and labels
# A simulated cluster in which faults were injected. For your own, let the last line of the next
# cell be `samples, labels = api.read("samples.parquet"), read_labels("labels.csv")`: one label a
# line, with the columns `workload` (`cluster/namespace/kind/name`), `kind` (in your own words),
# `start`, `end` (UTC).


# %%
def read_labels(file: str) -> pd.DataFrame:
    labels = pd.read_csv(file)
    return labels.assign(**{c: pd.to_datetime(labels[c], utc=True) for c in ("start", "end")})


def labelled(spec: ClusterSpec) -> tuple[pd.DataFrame, pd.DataFrame]:
    cluster = simulate(spec)
    return cluster.samples.to_pandas(), cluster.truth[cluster.truth["kind"].isin(FAULTS)]


samples, labels = labelled(ClusterSpec(n_workloads=12, weeks=5, step_s=900, seed=1))

# %% [markdown]
# The last week is scored, what is before it teaches what is normal.

# %%
end = samples["ts"].max()
until = (end - pd.Timedelta(days=7)).ceil("D")
labels = labels[(labels["start"] >= until) & (labels["start"] < end)].reset_index(drop=True)
strangers = set(labels["workload"]) - set(api.Panel.from_frame(samples).keys["workload"])
if strangers or labels.empty:
    wrong = f"of {sorted(strangers)}" if strangers else f"with a label from {until} to {end}"
    raise SystemExit(f"no samples {wrong}")
labels[["workload", "kind", "start", "end"]]

# %% [markdown]
# ## One run a setting
# Here all three budgets together: so many times the defaults. Anything else under `detect:` of
# `config/foretide.yaml` can be tried like this. `refit_every_h: 168` learns once instead of every
# day, which is quicker.

# %%
DEFAULTS = {"band": 1.0, "isolation_forest": 0.2, "together": 0.2}
LOUDNESS = (0.01, 0.1, 1.0, 10.0)


def incidents_at(times: float) -> pd.DataFrame:
    budgets = {name: {"alerts_per_month": times * usual} for name, usual in DEFAULTS.items()}
    config = {"detect": {"refit_every_h": 168} | budgets}
    return api.score(samples, train_until=until, config=config).incidents


tried = {times: incidents_at(times) for times in LOUDNESS}

# %% [markdown]
# ## Held against the labels
# A label is found when somebody was told of its workload between its start and an hour after its
# end, or before, by an incident that still lasted at its start. An incident of which no workload
# was labelled at the time is about nothing that you know of: a false one, or a label that is
# missing.

# %%
GRACE = pd.Timedelta(hours=1)


def held(incidents: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """When each label was told of (NaT: never), and which incidents met a label."""
    each = incidents.explode("workloads").rename(columns={"workloads": "workload"})
    pairs = labels.reset_index(names="label").merge(each, on="workload")
    lasts = pairs["ended_at"].isna() | (pairs["ended_at"] >= pairs["start"])  # empty: still open
    met = pairs[lasts & (pairs["detected_at"] <= pairs["end"] + GRACE)]
    first = met.groupby("label")["detected_at"].min().reindex(labels.index)
    return first, incidents["incident_id"].isin(met["incident_id"])


told, matched = {}, {}
for times, incidents in tried.items():
    told[times], matched[times] = held(incidents)
late = pd.DataFrame(told).sub(labels["start"], axis=0) / pd.Timedelta("1min")
late = late.clip(lower=0)  # told of before: 0, since an incident goes on
result = pd.DataFrame(
    {
        "found": late.notna().sum(),
        "of labels": len(labels),
        "median minutes to tell": late.median(),
        "incidents about a label": {times: met.sum() for times, met in matched.items()},
        "about nothing": {times: (~met).sum() for times, met in matched.items()},
    }
)
result.index.name = "× the default budgets"
result.round(1)

# %% [markdown]
# ## What each setting finds, and what it costs
# One row a label, one column a setting. The best choice is the quietest column that has no red cell
# you care about.

# %%
order = labels.sort_values(["kind", "start"]).index
rows = [
    f"{labels['kind'][i].replace('_', ' ')}  ·  {labels['workload'][i].split('/')[0]} / "
    f"{labels['workload'][i].split('/')[-1]}  ·  {labels['start'][i]:%a %H:%M}"
    for i in order
]
shown = late.loc[order]
fig, (ax, grid) = plt.subplots(
    2, 1, figsize=(11, 3.4 + 0.3 * len(rows)), sharex=True,
    height_ratios=[2.2, max(len(rows), 3) * 0.42], layout="constrained",
)  # fmt: skip
x = np.arange(len(LOUDNESS))
about, nothing = result["incidents about a label"], result["about nothing"]
lower = ax.bar(x, about, 0.5, color="#1b9e77", label="about a label")
upper = ax.bar(x, nothing, 0.5, bottom=about, color="#bdbdbd", label="about nothing")
ax.bar_label(lower, label_type="center", color="white")
ax.bar_label(upper, label_type="center")
ax.set(ylabel="incidents told", ylim=(0, 1.15 * max((about + nothing).max(), 1)))
ax.legend(loc="upper left", frameon=False)

grid.pcolormesh(
    np.arange(len(x) + 1) - 0.5, np.arange(len(rows) + 1) - 0.5, shown.clip(upper=240),
    cmap="YlGn_r", vmin=-120, vmax=300, edgecolor="white", lw=2,
)  # fmt: skip
grid.set_facecolor("#f4a582")
for (r, c), minutes in np.ndenumerate(shown.to_numpy()):
    known = np.isfinite(minutes)
    text = (
        "missed"
        if not known
        else "open before"
        if minutes == 0
        else f"{minutes:.0f} min"
        if minutes < 180
        else f"{minutes / 60:.0f} h"
    )
    grid.text(c, r, text, ha="center", va="center", fontsize=9)
grid.set_yticks(range(len(rows)), rows)
grid.invert_yaxis()
grid.set_xticks(
    x, [f"× {times:g}" + (" (the default)" if times == 1 else "") for times in LOUDNESS]
)
grid.set_xlabel("alerts a month that a healthy workload may cost, beside the default")
grid.tick_params(length=0)
best = result.index[result["found"] == result["found"].max()][0]
choice = result.loc[best]
if choice["found"]:
    answer = (
        f"The quietest that finds the most is × {best:g}: {choice['found']:.0f} of {len(labels)} "
        f"labels, told after {choice['median minutes to tell']:.0f} min (median), "
        f"and {choice['about nothing']:.0f} incidents about nothing"
    )
else:
    answer = f"No setting finds any of the {len(labels)} labels"
fig.suptitle(answer, x=0.01, ha="left", fontsize=11, fontweight="bold")
plt.show()
