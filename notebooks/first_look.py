# %% [markdown]
# # A first look at your metrics
# Samples in, champions out, a forecast beside what came. Every cell is the library that the
# command line uses; nothing here needs a server.

# %%
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from features.frames import SCORES
from features.panel import Panel
from features.synthetic import ClusterSpec, simulate
from models import measures
from models.champion_fit import fit_champions
from pipelines.adapters.files import read_samples
from pipelines.learning import forecasters
from pipelines.outcome import Outcome
from pipelines.replaying import replay
from pipelines.run import RunRef
from pipelines.score import score

# %% [markdown]
# ## Samples
# A small simulated cluster. To look at your own, change the line that begins with `FILE`: any
# Parquet or CSV file with the columns `name, metric, ts, value`.

# %%
FOLDER = Path(mkdtemp(prefix="foretide-"))


def simulated() -> Path:
    path = FOLDER / "samples.parquet"
    pq.write_table(simulate(ClusterSpec(n_workloads=6, weeks=4, step_s=900)).samples, path)
    return path


FILE = simulated()  # yours: Path("samples.parquet")
samples = read_samples([FILE])
run = RunRef.resolve(None, [str(FILE)], str(FOLDER), None, pd.Timestamp.now("UTC")).open()

# %%
panel = Panel.from_frame(samples, aggregates=run.catalog.aggregates())
print(f"{panel.n_series} series × {panel.n_steps} steps of {panel.step}, {panel.counts}")
panel.keys.groupby("metric").size()

# %% [markdown]
# ## The store
# `foretide ingest` keeps samples as one Parquet file a day, in a folder or a bucket. Nothing of
# ours is needed to read it: here pandas takes one metric of two days.

# %%
run.store.write_samples(samples)
days = sorted(day.date for day in run.store.days())[-2:]
stored = pd.read_parquet(
    FOLDER / "samples", filters=[("date", "in", days), ("metric", "==", "cpu_usage_cores")]
)
stored.groupby("name", observed=True)["value"].describe()

# %% [markdown]
# ## Champions
# All but the last week is history. For every series the forecaster that did best out of sample is
# live, and last week is the bar.

# %%
models = forecasters(run.settings)
there = set(panel.keys["metric"])
load = next((m for m in run.catalog.names("demand") if m in there), min(there))
cut = panel.end - pd.Timedelta(weeks=1)
history, week = panel.of(load).window(end=cut), panel.of(load).window(cut)
champions = fit_champions(history, models, run.settings.forecast.champion)
champions.chosen[["workload", "model", "reason", "wape", "naive_wape"]].round(3)

# %% [markdown]
# ## The last week: forecast beside what came

# %%
levels = (0.05, 0.5, 0.9, 0.99)
told, _ = champions.predict(cut, week.n_steps, levels, models)
low, median, q90, high = told
figures = week.keys.assign(
    wape=measures.wape(week.values, median),
    q90_covers=measures.coverage(week.values, q90),
    at_peaks=measures.peak_coverage(week.values, q90),
)
figures.round(3)

# %%
i = int(np.nanargmax(np.nanmean(week.values, axis=1)))
fig, ax = plt.subplots(figsize=(11, 3.5))
ax.fill_between(week.times, low[i], high[i], alpha=0.25, label="5 % to 99 %")
ax.plot(week.times, median[i], label="median")
ax.plot(week.times, week.values[i], "k", lw=0.7, label="what came")
ax.set(title=str(week.keys["workload"][i]), ylabel=load)
ax.legend(loc="upper left")
fig.savefig(FOLDER / "forecast.png")

# %% [markdown]
# ## The same verbs as on the command line
# A flow's `.fn` runs it plainly, as `foretide score --input …` does; called directly, `score(…)`,
# it is a Prefect run, watched by a server. Here the last week is scored as it would have come: 1 is
# the line, from there on a point is an anomaly.

# %%
outcome = score.fn(inputs=[str(FILE)], out=str(FOLDER), train_until=cut.isoformat())
print(Outcome(**outcome).line())
scores = run.read(SCORES).to_pandas()
worst = scores.loc[scores["score"].idxmax(), "workload"]
mine = scores[scores["workload"] == worst].pivot_table(
    index="ts", columns=["metric", "detector"], values="score", observed=True
)
mine.max().sort_values(ascending=False).round(2)

# %%
fig, ax = plt.subplots(figsize=(11, 3.5))
ax.plot(mine.index, mine.max(axis=1), lw=0.8)
ax.axhline(1, color="k", lw=0.7, ls="--")
ax.set(title=f"{worst}: highest score of all metrics", ylabel="score", yscale="log")
fig.savefig(FOLDER / "scores.png")

# %% [markdown]
# ## Would floors have helped last week?

# %%
held = replay.fn(inputs=[str(FILE)], out=str(FOLDER))
print(Outcome(**held).line(), *held["notes"], sep="\n")
totals = pd.DataFrame(r for r in held["rows"] if r["workload"] == "*")
totals[["policy", "over_target_cut_share", "unserved_cut_share", "replica_hours_ratio"]].round(3)
