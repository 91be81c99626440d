"""An explanation for a person: what it is, how it comes about, what stands in its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pipelines.commands.screen import Column, lines, number, share, table

if TYPE_CHECKING:
    from pipelines.answers.explained_types import Explained, FloorWhy, ForecastWhy, ScoreWhy

__all__ = ["show_explained"]

_COLOURS = {"warning": "yellow", "critical": "red", "passes": "green", "shut": "yellow"}
_READ = {
    "score": ("scores",),
    "forecast": ("forecasts",),
    "floor": ("forecasts", "capacity", "plan"),
}
"""Part → how the evidence for it begins."""


def show_explained(found: Explained, part: Literal["score", "forecast", "floor"]) -> None:
    """Print one part of an explanation, and what is missing of it."""
    lines([f"{found.workload} at {_moment(found.at)}"])
    if found.stale:
        lines([f"  stale: {found.stale_reason}"])
    if part == "score":
        _scores(found)
    elif part == "forecast":
        for forecast in found.forecasts:
            _forecast(forecast)
    elif found.floor is not None:
        _floor(found.floor)
    _missing(found, part)
    if read := [e for e in found.evidence if e.startswith(_READ[part])]:
        lines([f"read from: {'; '.join(read)}"])


def _missing(found: Explained, part: str) -> None:
    of_others = {"score", "forecast", "floor"} - {part}
    lines([f"not known: {m.what}: {m.reason}" for m in found.missing if m.what not in of_others])


def _scores(found: Explained) -> None:
    if found.scores:
        columns = [
            Column("metric", wraps=True),
            Column("detector"),
            *(Column(h, is_right=True) for h in ("score", "value", "expected")),
            Column("severity"),
        ]
        rows = [
            (_name(s.metric), s.detector, f"{s.score:.2f}", *_amounts(s), s.severity)
            for s in found.scores
        ]
        table(columns, rows, _COLOURS)
    for score in found.scores:
        if score is found.scores[0] or score.score >= score.alert_line:
            _one_score(score)
    for leak in found.leaks:
        lines([f"leak of {leak.metric}: score {leak.score:.2f}", *_under(leak.arithmetic)])
    for incident in found.incidents:
        until = f"until {_moment(incident.ended_at)}" if incident.ended_at else "open"
        since = f"since {_moment(incident.started_at)}, {until}"
        lines([f"incident {incident.incident_id}, {incident.severity}, {since}: {incident.title}"])


def _name(metric: str) -> str:
    return "all metrics" if metric == "*" else metric


def _amounts(score: ScoreWhy) -> tuple[str, str]:
    if score.metric == "*":
        return number(score.value), ""
    return _amount(score.value, score.metric), _amount(score.expected, score.metric)


def _amount(value: float | None, metric: str) -> str:
    from pipelines.answers.explained_rows import amount

    return "–" if value is None else amount(value, metric)


def _one_score(score: ScoreWhy) -> None:
    head = f"{_name(score.metric)} by {score.detector}, {_moment(score.ts)}:"
    lines([head, *_under(score.arithmetic)])
    if score.reason:
        lines([f"  reason: {score.reason}"])
    why = f": {score.highest_reason}" if score.highest_reason else ""
    lines(
        [
            f"  of {score.steps} steps of that run until then {score.steps_over_line} are over "
            f"the alert line; the highest: {score.highest:.2f} at {_moment(score.highest_ts)}{why}"
        ]
    )


def _forecast(found: ForecastWhy) -> None:
    name, of = found.metric, _moment(found.issued_at)
    lines([f"{name}: {found.model} of {found.model_version}, issued {of}"])
    columns = [Column("step"), *(Column(q, is_right=True) for q in found.quantiles)]
    table(columns, [(_moment(found.ts), *(_amount(v, name) for v in found.quantiles.values()))])
    peak = f"{_amount(found.peak_24h_q50, name)}, q90 {_amount(found.peak_24h_q90, name)}"
    told = [*_under(found.arithmetic), f"  highest of 24 h: {_moment(found.peak_24h_ts)}: {peak}"]
    told.append(f"  rests on: {found.confidence}")
    if found.verdict:
        anew = "" if found.verdict_holds else "; trained anew since"
        told.append(f"  verdict: {found.verdict}: {found.verdict_reason}{anew}")
    lines(told)
    if found.candidates:
        tried = [
            ("live" if c.is_champion else "", c.model, share(c.wape), share(c.coverage_q90))
            for c in found.candidates
        ]
        shown = [Column(""), Column("model"), Column("WAPE", is_right=True)]
        table([*shown, Column("q90 covers", is_right=True)], tried, {"live": "green"})


def _floor(found: FloorWhy) -> None:
    now, peak = found.now, found.peak_24h
    lines(
        [
            f"asked for from {_moment(now.ts)}: {now.replicas} replicas; the highest of 24 h: "
            f"{peak.replicas} from {_moment(peak.ts)}",
            *_under(found.arithmetic),
            f"  lead time {found.lead_time_s:.0f} s: {found.lead_time_source}",
        ]
    )
    gates = [(g.name, "passes" if g.passes else "shut", g.reason) for g in found.gates]
    table([Column("gate"), Column("state"), Column("why", wraps=True)], gates, _COLOURS)
    if found.floors:
        _floors(found)
    if found.advice:
        lines([f"worth it: {found.advice}: {found.advice_reason}"])
    if found.last_action:
        lines([f"last action: {found.last_action}"])


def _floors(found: FloorWhy) -> None:
    own = found.floors[0].original
    lines([f"floors of plan {found.plan_id}; the user's own is {own}:"])
    columns = [Column("from, UTC"), Column("to"), Column("floor"), Column("mode")]
    rows = [
        (_minute(f.starts_at), _minute(f.ends_at), f"{f.before} -> {f.after}", f.mode, f.reason)
        for f in found.floors
    ]
    table([*columns, Column("reason", wraps=True)], rows)


def _under(texts: Sequence[str]) -> list[str]:
    return [f"  {text}" for text in texts]


def _minute(iso: str) -> str:
    return iso[:16].replace("T", " ")


def _moment(iso: str) -> str:
    """``2026-06-08 00:05 UTC``; seconds where there are some."""
    day, _, clock = iso.rstrip("Z").partition("T")
    return f"{day} {clock.removesuffix(':00')} UTC" if clock else iso
