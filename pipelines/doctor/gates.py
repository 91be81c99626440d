"""What keeps Foretide from acting, and whether anybody is told what it is worth."""

from __future__ import annotations

import pandas as pd

from features.frames import VALUE
from pipelines.doctor.check import Check
from pipelines.errors import ForetideError
from pipelines.run import Run
from pipelines.series.own import gate_gauges

__all__ = ["check_gates", "check_value"]

_SHUT_MAX = 0.5


def check_gates(run: Run) -> Check:
    """How many workloads or series each gate does not let through."""
    try:
        found = {g.name: g for g in gate_gauges(run)}
    except ForetideError as error:
        return Check("gates", "fail", str(error), "move the file away: the next run makes it anew")
    if not found:
        return Check("gates", "ok", "nothing was judged yet")
    shut, judged = found["foretide_gate_failures"], found["foretide_gate_judged"]
    names = [str(gate) for gate in shut.labels["gate"]]
    counts = list(zip(names, shut.values, judged.values, strict=True))
    told = "shut for " + ", ".join(f"{gate} {n:.0f} of {of:.0f}" for gate, n, of in counts)
    if any(n > _SHUT_MAX * of for _, n, of in counts):
        remedy = "the plan and `foretide models show WORKLOAD` say why; docs/guardrails.md"
        return Check("gates", "warn", told, remedy)
    return Check("gates", "ok", told)


def check_value(run: Run) -> Check:
    """Whether the newest value report is of these days."""
    window = pd.Timedelta(run.settings.evaluate.window_days, "D")
    parts = run.parts(VALUE)
    if not parts:
        return Check("value", "ok", "no value report yet: `foretide evaluate` writes it")
    age = run.as_of - pd.Timestamp(parts[-1].split("-", 1)[0])
    days = age / pd.Timedelta(1, "D")
    if age > window:
        remedy = "see why evaluate does not run: docs/operate.md"
        return Check("value", "warn", f"the newest report is {days:.0f} days old", remedy)
    return Check("value", "ok", f"the newest report is {days:.1f} days old")
