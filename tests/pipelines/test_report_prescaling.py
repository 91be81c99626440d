"""What the report says of pre-scaling: what cannot be held first, what is held, who is worth it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from report_page import chart_of, section
from report_sample import AS_OF, LEAKY, SLOW, WORKLOADS, sample

from pipelines.ledger import Entry, Ledger
from pipelines.plans import plan_file
from pipelines.report import ReportData, render_report
from pipelines.report.fill import report_data
from pipelines.run import Run, RunRef

HOSTILE = "</td></table><img src=x onerror=alert(1)><script>alert(1)</script>"


def said(data: ReportData) -> str:
    html = render_report(data)
    return "".join(section(html, name) for name in ("next", "prescaling", "verdicts"))


@pytest.fixture(scope="module")
def page() -> str:
    return said(sample())


def row_of(page: str, workload: str) -> str:
    table = page[page.index("who is worth it") :]
    return next(r for r in table.split("<tr") if f'title="{workload}"' in r)


def test_what_cannot_be_held_stands_first_with_its_hours(page: str) -> None:
    assert page.index("Cannot be held:") < page.index("Held now") < page.index("who is worth it")
    assert page.count("Cannot be held:") == 2
    assert "in 9 h" in page
    assert "wanted 12, 9 can be held: NodePool general: limit of 64 cores" in page
    urgent = section(render_report(sample()), "urgent")
    assert "2 floors or node limits fall short" in urgent
    assert "NodePool general: limit of 64 cores" in urgent


@pytest.mark.parametrize(
    ("place", "verdict", "reason"),
    [
        (0, "enable", "better in 4 of 4 weeks"),
        (1, "do not enable", "little to gain"),
        (2, "not enough data", "0 of 3 weeks"),
    ],
)
def test_every_verdict_has_its_reason(page: str, place: int, verdict: str, reason: str) -> None:
    row = row_of(page, WORKLOADS[place])
    assert f">{verdict}</span>" in row
    assert reason in row
    assert f"<b>1</b> {verdict}" in page


def test_a_week_with_floors_is_told_in_pods_and_money(page: str) -> None:
    row = row_of(page, WORKLOADS[0])
    assert "312 → 4" in row
    assert "+60 pod-hours, $2.4" in row
    assert "$" not in row_of(page, WORKLOADS[1])


def test_the_lead_time_is_in_seconds_with_its_source(page: str) -> None:
    row = row_of(page, SLOW)
    assert "185 s" in row
    assert "p95 of node launches and p95 of its pods&#39; starts" in row
    facts = dict(chart_of(render_report(sample()), SLOW)["facts"])
    assert facts["Lead time"] == "185 s, p95 of node launches and p95 of its pods' starts"


def test_a_quantile_of_zero_is_no_floor_that_pays() -> None:
    data = sample()
    free = dataclasses.replace(data, capacity=data.capacity.assign(quantile=0.0))
    assert "none pays" in row_of(said(free), SLOW)
    assert "90 %" in row_of(said(data), SLOW)


def test_who_has_no_autoscaler_is_left_out_unless_somebody_judged_it() -> None:
    data = sample()
    none = data.capacity.assign(gate="shadow", gate_reason="no HPA: nothing holds a floor")
    page = said(dataclasses.replace(data, capacity=none, plan=()))
    assert f'title="{LEAKY}"' in page
    assert f'title="{SLOW}"' not in page[page.index("who is worth it") :]


def test_what_stands_what_was_taken_back_and_what_is_over_are_told_apart(page: str) -> None:
    held = page[page.index("Held now") : page.index("who is worth it")]
    order = [held.index(f'title="{w}"') for w in (WORKLOADS[0], SLOW, WORKLOADS[2])]
    assert order == sorted(order)
    assert '<span class="badge act">held</span>' in held
    assert '<span class="badge bad">reverted</span>' in held
    assert "taken back by argocd" in held
    assert '<span class="badge shadow">expired</span>' in held


def test_a_floor_that_waits_names_the_plan_to_say_yes_to() -> None:
    data = sample()
    waits = dict(data.ledger[0]) | {"status": "waiting", "action_id": "w", "target": WORKLOADS[4]}
    html = render_report(dataclasses.replace(data, ledger=[*data.ledger, waits], plan_id="new"))
    page = section(html, "prescaling")
    assert "1 floor waits for a yes: <code>foretide apply --approve new</code>" in page
    assert page.index(f'title="{WORKLOADS[4]}"') < page.index("Held now")
    assert "1 floor waits for a yes" in section(html, "urgent")
    told = dict(chart_of(html, WORKLOADS[4])["facts"])
    assert told["Waits for approval"] == "2 → 7: foretide apply --approve new"


def test_what_the_newest_plan_no_longer_wants_waits_for_nobody() -> None:
    data = sample()
    waits = [dict(row) | {"status": "waiting"} for row in data.ledger]
    page = section(render_report(dataclasses.replace(data, ledger=waits, plan=())), "prescaling")
    assert "for a yes" not in page


def test_a_yes_is_told_with_its_plan_and_its_end() -> None:
    data = sample()
    yes = {"plan_id": "4f2a", "approved_at": AS_OF, "expires_at": AS_OF + pd.Timedelta(days=7),
           "floors": {WORKLOADS[0]: 7, SLOW: 5}}  # fmt: skip
    page = section(render_report(dataclasses.replace(data, approvals=[yes])), "prescaling")
    assert "plan <code>4f2a</code>: 2 workloads, floors up to 7" in page
    assert "Mon 15 Jun 00:00" in page


def test_what_stands_names_the_plan_that_holds_it(page: str) -> None:
    held = page[page.index("Held now") :]
    assert "plan <code>4f2a</code>" in held
    facts = dict(chart_of(render_report(sample()), WORKLOADS[0])["facts"])
    assert facts["Held by Foretide"].startswith("hpa spec.minReplicas 2 → 7 until Mon 8 Jun 02:00")


def test_floors_ahead_are_those_that_are_not_over() -> None:
    data = sample()
    window = {"ts_from": AS_OF - pd.Timedelta(hours=3), "ts_to": AS_OF - pd.Timedelta(hours=1)}
    over = [dict(r) | window for r in data.plan if r["workload"] == SLOW]
    row = row_of(said(dataclasses.replace(data, plan=over)), SLOW)
    assert "its own floor is enough" in row
    assert "06:30" in row_of(said(data), SLOW)


def test_nothing_is_claimed_that_nobody_looked_at() -> None:
    data = sample()
    young = dataclasses.replace(data, advice=data.advice[:0], ledger=(), shortfalls=())
    page = said(young)
    assert "Nobody has been judged yet" in page
    assert "Held now" not in page
    blind = dataclasses.replace(young, capacity=data.capacity[:0], plan=())
    assert "Not known: no capacity was forecast" in said(blind)


def test_names_and_reasons_are_data(page: str) -> None:
    data = sample()
    who = f"prod/shop/Deployment/{HOSTILE}"
    ledger = [dict(r) | {"target": who, "detail": HOSTILE} for r in data.ledger]
    hostile = dataclasses.replace(
        data,
        advice=data.advice.assign(workload=who, reason=HOSTILE),
        ledger=ledger,
        shortfalls=[dict(s) | {"what": who, "reason": HOSTILE} for s in data.shortfalls],
        room=[dict(r) | {"where": HOSTILE, "reason": HOSTILE} for r in data.room],
        plan_problem=HOSTILE,
    )
    found = said(hostile)
    assert "<img" not in found
    assert "<script" not in found
    assert "&lt;img" in found


# ---- from a store


@pytest.fixture
def run(tmp_path: Path) -> Run:
    config = tmp_path / "foretide.yaml"
    config.write_text(yaml.safe_dump({"store": {"path": str(tmp_path / "store")}}))
    run = RunRef.resolve(str(config), None, None, AS_OF.isoformat(), AS_OF).open()
    ts = pd.date_range(AS_OF - pd.Timedelta(hours=2), AS_OF, freq="5min", inclusive="left")
    parts: dict[str, Any] = {"cluster": "c", "namespace": "n", "kind": "Deployment", "name": "a"}
    table = pd.DataFrame({"metric": "cpu_usage_cores", "ts": ts.as_unit("ms"), "value": 1.0})
    run.store.write_samples(table.assign(**parts))
    return run


def test_a_plan_of_another_version_is_said_and_hides_nothing_else(run: Run) -> None:
    run.store.put_file(plan_file(run), b'{"plan_id": "a", "actions": []}')
    data = report_data(run, [])
    assert "not a plan of this version" in data.plan_problem
    assert "The plan cannot be shown" in said(data)


def test_the_ledger_of_the_last_day_is_read_each_action_once(run: Run) -> None:
    entry = Entry(
        target="c/n/Deployment/a", field="hpa spec.minReplicas", before="2", after="7",
        reason="the peak", plan_id="p", mode="act", applied_at=AS_OF - pd.Timedelta(minutes=10),
        expires_at=AS_OF + pd.Timedelta(hours=1), status="intended", action_id="one",
    )  # fmt: skip
    ledger = Ledger(run, "w")
    ledger.append([entry])
    ledger.append([dataclasses.replace(entry, status="done")])
    data = report_data(run, [])
    assert [(r["target"], r["status"]) for r in data.ledger] == [("c/n/Deployment/a", "done")]
    assert '<span class="badge act">held</span>' in said(data)
