"""Whether Foretide is watched: do its flows succeed as they are scheduled, is the plan valid, how
much is left out, and can what it says of itself be sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import yaml

from features.frames import RUNS
from pipelines.doctor.check import Check
from pipelines.doctor.gates import check_gates, check_value
from pipelines.errors import StoreError
from pipelines.plans import read_plan
from pipelines.run import Run
from pipelines.settings import CONFIG_DIR
from pipelines.telemetry import collector
from pipelines.watching import read_runs

__all__ = ["check_watching", "late_after_s"]

RULES = CONFIG_DIR / "rules" / "foretide.yaml"
DASHBOARD = CONFIG_DIR / "grafana" / "foretide.json"
_AGE_MAX = "foretide:run_age_max_seconds"
_LOOK_BACK = pd.Timedelta(35, "D")
_SKIPPED_MAX = 0.5
_JUDGED = ("ingest", "train", "score", "forecast")
"""Flows of which most should be done; of most workloads there is nothing to plan."""
_SHOWN = 3
_NOT_FOUND = 404


def check_watching(run: Run, client: httpx.Client) -> Iterator[Check]:
    """All of it; ``client`` asks the places that things are sent to."""
    yield check_files()
    yield from _state(run)
    remote = run.settings.publish.remote_write
    yield check_target(client, "publish", remote.url, "publish.remote_write.url")
    yield check_target(client, "traces", collector(run.settings.watch), "watch.otlp_endpoint")


def _state(run: Run) -> Iterator[Check]:
    """What the flows left; nothing where the store cannot be listed: its own check says so."""
    try:
        run.store.parts(RUNS)
    except StoreError:
        return
    try:
        runs = read_runs(run, run.as_of - _LOOK_BACK)
    except StoreError as error:
        yield Check("runs", "fail", str(error), "move the file away: it is made anew")
    else:
        yield check_runs(runs, run.as_of, late_after_s())
        yield check_skipped(runs)
    yield check_plan(run)
    yield check_gates(run)
    yield check_value(run)


def check_files(rules: Path = RULES, dashboard: Path = DASHBOARD) -> Check:
    """The alert rules and the dashboard, to be installed where metrics are kept."""
    missing = [str(p) for p in (rules, dashboard) if not p.is_file()]
    if missing:
        return Check("rules", "warn", f"{', '.join(missing)}: not there", "install foretide anew")
    groups: list[Any] = yaml.safe_load(rules.read_text(encoding="utf-8"))["groups"]
    alerts = sum("alert" in rule for group in groups for rule in group["rules"])
    return Check("rules", "ok", f"{alerts} alerts in {rules}, the dashboard in {dashboard}")


def late_after_s(rules: Path = RULES) -> dict[str, float]:
    """Flow → how old its newest success may be, as the alert rules say; nothing without them."""
    if not rules.is_file():
        return {}
    groups: list[Any] = yaml.safe_load(rules.read_text(encoding="utf-8"))["groups"]
    named = [r for group in groups for r in group["rules"] if r.get("record") == _AGE_MAX]
    return {r["labels"]["flow"]: float(re.sub(r"[^\d.]", "", r["expr"])) for r in named}


def check_runs(runs: pd.DataFrame, as_of: pd.Timestamp, late_s: Mapping[str, float]) -> Check:
    """The newest success of each flow that ever ran, against how old it may be."""
    if runs.empty:
        return Check("runs", "warn", "none is recorded yet", "start the schedule: docs/operate.md")
    good = runs[runs["state"] != "failed"].groupby("verb")["as_of"].max()
    errors = runs.groupby("verb").tail(1).set_index("verb")["error"]
    late: list[str] = []
    for flow in errors.index:
        age = as_of - good[flow] if flow in good.index else None
        why = f" ({errors[flow]})" if errors[flow] else ""
        if age is None:
            late.append(f"{flow} has not succeeded yet{why}")
        elif age.total_seconds() > late_s.get(str(flow), float("inf")):
            most = pd.Timedelta(late_s[str(flow)], "s")
            late.append(f"{flow} succeeded {_long(age)} ago, expected at most {_long(most)}{why}")
    if late:
        more = f"; and {len(late) - _SHOWN} more" if len(late) > _SHOWN else ""
        remedy = "see docs/watching.md, ForetideFlowLate"
        return Check("runs", "warn", "; ".join(late[:_SHOWN]) + more, remedy)
    told = ", ".join(f"{flow} {_long(as_of - at)} ago" for flow, at in good.items())
    return Check("runs", "ok", f"last successes: {told}")


def check_skipped(runs: pd.DataFrame) -> Check:
    """How much of what could be done each flow's newest good run left out."""
    good = runs[(runs["state"] != "failed") & runs["verb"].isin(_JUDGED)]
    good = good.groupby("verb").tail(1)
    total = good["done"] + good["skipped"]
    share = good["skipped"] / total.where(total > 0)
    told = [f"{v} {s:.0%}" for v, s in zip(good["verb"], share, strict=True) if pd.notna(s)]
    if not told:
        return Check("skipped", "ok", "nothing was done yet")
    if (share > _SKIPPED_MAX).any():
        remedy = "the table skips has the reason of each; docs/watching.md, ForetideSkipsMost"
        return Check("skipped", "warn", f"left out: {', '.join(told)}", remedy)
    return Check("skipped", "ok", f"left out: {', '.join(told)}")


def check_plan(run: Run) -> Check:
    """The newest plan, and until when it is valid."""
    names = [f for f in run.store.files("plans") if f.endswith("/plan.json")]
    names = [f for f in names if f.split("/")[1] <= run.part]
    if not names:
        return Check("plan", "warn", "none yet", "run `foretide plan`")
    try:
        plan = read_plan(run, names[-1])
    except StoreError as error:
        return Check("plan", "fail", str(error), "run `foretide plan`")
    if plan is None:
        return Check("plan", "warn", "none yet", "run `foretide plan`")
    made = f"the newest is {_long(run.as_of - plan.as_of)} old"
    if plan.expires_at <= run.as_of:
        return Check("plan", "warn", f"{made} and has expired", "run `foretide plan`")
    return Check("plan", "ok", f"{made}, valid for another {_long(plan.expires_at - run.as_of)}")


def check_target(client: httpx.Client, name: str, url: str, key: str) -> Check:
    """Whether anything answers at an address that things are sent to; nothing is sent."""
    if not url:
        return Check(name, "ok", f"not sent: {key} is not set")
    shown = re.sub(r"//[^@/]*@", "//…@", url)
    try:
        answer = client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        detail = f"{shown} does not answer: {error or type(error).__name__}"
        return Check(name, "fail", detail, f"start it, or correct {key}")
    if answer.status_code == _NOT_FOUND:
        return Check(name, "warn", f"{shown} answers 404", f"is the path of {key} right?")
    # without credentials, and a GET where a POST belongs: that it is refused says nothing
    return Check(name, "ok", f"{shown} answers")


def _long(age: pd.Timedelta) -> str:
    minutes = age / pd.Timedelta(1, "min")
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 1440:.1f} d"
