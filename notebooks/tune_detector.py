# %% [markdown]
# # How loud should the detector be?
# Loudness is one number: how many alerts a month a *healthy* workload may cost
# (`detect.band.alerts_per_month`). This notebook tries several on labelled incidents and shows what
# each finds, and what it costs in incidents about nothing.

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
# cell be
# `samples, labels = api.read("samples.parquet"), pd.read_csv("labels.csv", parse_dates=["start", "end"])`:
# one label a line, with the columns `workload` (`cluster/namespace/kind/name`), `kind` (in your own
# words), `start`, `end` (UTC, with their offset).

# %%
def labelled(spec: ClusterSpec) -> tuple[pd.DataFrame, pd.DataFrame]:
    cluster = simulate(spec)
    return cluster.samples.to_pandas(), cluster.truth[cluster.truth["kind"].isin(FAULTS)]


samples, labels = labelled(ClusterSpec(n_workloads=24, weeks=5, step_s=900, seed=3))

# %% [markdown]
# The last week is scored, what is before it teaches what is normal.

# %%
end = samples["ts"].max()
until = (end - pd.Timedelta(days=7)).ceil("D")
labels = labels[(labels["start"] >= until) & (labels["start"] < end)].reset_index(drop=True)
labels[["workload", "kind", "start", "end"]]

# %% [markdown]
# ## One run a setting
# Anything under `detect:` of `config/foretide.yaml` can be tried like this. `refit_every_h: 168`
# learns once instead of every day, which is quicker and the same for a week.

# %%
BUDGETS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def incidents_at(budget: float) -> pd.DataFrame:
    config = {"detect": {"refit_every_h": 168, "band": {"alerts_per_month": budget}}}
    return api.score(samples, train_until=until, config=config).incidents


tried = {budget: incidents_at(budget) for budget in BUDGETS}

# %% [markdown]
# ## Held against the labels
# A label is found when somebody was told of its workload between its start and an hour after its
# end. An incident of which no workload was labelled at the time is about nothing that you know of:
# a false one, or a label that is missing.

# %%
GRACE = pd.Timedelta(hours=1)


def held(incidents: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """When each label was told of (NaT: never), and which incidents met a label."""
    each = incidents.explode("workloads").rename(columns={"workloads": "workload"})
    pairs = labels.reset_index(names="label").merge(each, on="workload")
    touch = (pairs["ended_at"] >= pairs["start"]) & (pairs["detected_at"] <= pairs["end"] + GRACE)
    met = pairs[touch]
    first = met.groupby("label")["detected_at"].min().reindex(labels.index)
    return first, incidents["incident_id"].isin(met["incident_id"])


def figures(incidents: pd.DataFrame) -> dict[str, float]:
    first, met = held(incidents)
    late = (first - labels["start"]).clip(lower=pd.Timedelta(0))
    return {
        "incidents": len(incidents),
        "about nothing": int((~met).sum()),
        "found": int(first.notna().sum()),
        "of labels": len(labels),
        "median minutes to tell": late.median() / pd.Timedelta("1min"),
    }


result = pd.DataFrame({budget: figures(found) for budget, found in tried.items()}).T
result.index.name = "alerts_per_month"
result

# %%
fig, ax = plt.subplots()
ax.plot(result["about nothing"], result["found"], "o-")
