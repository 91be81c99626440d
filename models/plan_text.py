"""A plan as text that a person can read out to another."""

from __future__ import annotations

import pandas as pd

from models.actions import Action, Floor, Hold, Placeholder, Plan, Shortfall

__all__ = ["describe"]


def describe(plan: Plan) -> str:
    """The plan as plain text, for a terminal or a log: what cannot be held first, then a table of
    what is done, then what is left alone."""
    head = (
        f"plan {plan.plan_id}  mode {plan.mode}  as of {_at(plan.as_of)}  "
        f"expires {_at(plan.expires_at)}"
    )
    table = [("from", "to", "what", "change", "mode", "reason")]
    table += [
        (_at(a.starts_at), _at(a.ends_at), *_what(a), plan.mode_of(a), a.reason)
        for a in plan.actions
    ]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    short = [_short(s) for s in plan.shortfalls]
    notes = [f"left alone: {n.workload}: {n.reason}" for n in plan.notes]
    whole = [*short, head, *(lines if plan.actions else ["nothing to do"]), *notes]
    # names come from labels: a control character in one must not reach the terminal
    return "".join("".join(c if c.isprintable() else "�" for c in x) + "\n" for x in whole)


def _short(found: Shortfall) -> str:
    return (
        f"cannot be held: {found.what} at {_at(found.at)}: wanted {found.wanted:g}, "
        f"{found.held:g} can be held: {found.reason}"
    )


def _what(action: Action) -> tuple[str, str]:
    match action:
        case Floor():
            return f"floor {action.workload}", f"{action.before} -> {action.after}"
        case Placeholder():
            size = f"{action.cpu_cores:g} cores, {action.memory_bytes / 2**20:.0f} MiB"
            return f"placeholders {_nodes(action)}", f"{action.before} -> {action.count} x {size}"
        case Hold():
            return f"nodes {_nodes(action)}", "no consolidation"


def _nodes(action: Placeholder | Hold) -> str:
    return f"{action.cluster}/{action.nodepool}" if action.nodepool else action.cluster


def _at(stamp: pd.Timestamp) -> str:
    return stamp.strftime("%Y-%m-%dT%H:%M:%SZ" if stamp.second else "%Y-%m-%dT%H:%MZ")
