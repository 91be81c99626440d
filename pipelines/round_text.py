"""A round in words: the outcome of apply."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from models.guard_facts import Decision
from models.holders import Holder
from pipelines.ledger import Entry
from pipelines.outcome import Outcome, merge_reasons
from pipelines.plain import plain
from pipelines.round import Round
from pipelines.rungs.annotations import careful
from pipelines.rungs.floors import ignore_differences

__all__ = ["outcome_of"]

_WRITES = ("raise", "step_down", "give_back")
_WRONG = (
    "conflict", "changed", "gone", "forbidden", "refused", "reverted", "unreachable", "not_done",
)  # fmt: skip
_SNIPPETS = 3
_STOPPED = 20


def outcome_of(seen: Round, rows: Sequence[Entry], *, dry_run: bool) -> Outcome:
    """What was done, or with ``dry_run`` what would have been."""
    wrong = [r for r in rows if r.status in _WRONG]
    failed = {r.target for r in wrong}
    due = {job.entry.target for job in seen.jobs}
    kept = {d.workload for d in seen.decisions if d.what == "keep"}
    skipped = [
        {f"{_word(d)}: {d.reason}": 1}
        for d in seen.decisions
        if d.workload not in due | kept or d.workload in failed
    ]
    count = Counter(r.status for r in rows)
    return Outcome(
        verb="apply",
        run_id=seen.run.run_id,
        as_of=seen.run.ref.as_of,
        unit="workloads",
        done=len({d.workload for d in seen.decisions} & (due | kept) - failed),
        skipped=merge_reasons(skipped),
        failed=tuple(f"{r.target}: {r.status}: {r.detail}" for r in wrong),
        figures={
            "raised": float(count["done"]),
            "renewed": float(count["kept"]),
            "given_back": float(count["given_back"]),
            "rolled_back": float(count["rolled_back"]),
            "waiting": float(sum(d.what == "wait" for d in seen.decisions)),
            "held": float(sum(h.held for h in seen.holders.values())),
            "overdue": float(sum(_is_overdue(seen, h) for h in seen.holders.values())),
        },
        notes=tuple(plain(line) for line in _lines(seen, rows, dry_run=dry_run)),
        rows=tuple(_row(d) for d in seen.decisions),
    )


def _lines(seen: Round, rows: Sequence[Entry], *, dry_run: bool) -> Iterator[str]:
    if seen.plan is None:
        yield "no plan is valid now: nothing is raised; `foretide plan` makes one"
    else:
        yield f"plan {seen.plan.plan_id}, expires {seen.plan.expires_at:%Y-%m-%d %H:%M} UTC"
    yield from seen.notes
    for entry in seen.found:
        if entry.status == "reverted":
            yield f"taken back: {entry.target} {entry.before} -> {entry.after}: {entry.reason}"
        else:
            yield f"an earlier run died: {entry.target}: {entry.status}: {entry.detail}"
    due = [x.entry for x in (*seen.deeds, *seen.jobs)]
    for row in due if dry_run else rows:
        yield _told(row, dry_run=dry_run)
    due_too = {row.target for row in due}
    for d in seen.decisions:
        holder = seen.holders.get(d.workload)
        if d.what == "keep" and holder is not None and holder.held and d.workload not in due_too:
            why = _against(seen, holder, d)
            if why:
                yield f"still held: {d.workload} at {d.floor}{why}: {d.reason}"
    stopped = [d for d in seen.decisions if d.what in ("wait", "refuse")]
    yield from (f"{_word(d)}: {d.workload}: {d.reason}" for d in stopped[:_STOPPED])
    if len(stopped) > _STOPPED:
        yield f"and {len(stopped) - _STOPPED} more wait or are refused: --json has all"
    yield from _snippets(seen, rows)


def _against(seen: Round, holder: Holder, decision: Decision) -> str:
    """Why a person would not expect a floor to stand: its mode forbids it, or nobody here knows its
    plan."""
    want = seen.wanted.get(holder.workload)
    mode = careful(holder.mode, want.mode if want is not None else None)
    if mode in ("off", "shadow"):
        return f", though its mode is {mode}"
    return "" if decision.renew or want is not None else ", though the plan does not want it"


def _told(row: Entry, *, dry_run: bool) -> str:
    word = "would write" if dry_run else row.status.replace("_", " ")
    detail = f" ({row.detail})" if row.detail else ""
    until = "" if row.status in ("given_back", "rolled_back") else f" until {row.expires_at:%H:%M}"
    return f"{word}: {row.target} {row.before} -> {row.after}{until}: {row.reason}{detail}"


def _snippets(seen: Round, rows: Sequence[Entry]) -> Iterator[str]:
    """What makes GitOps leave a floor alone, for those that it did not."""
    taken = [r.target for r in rows if r.status in ("conflict", "reverted")]
    taken += [h.workload for h in seen.holders.values() if _is_taken(h)]
    for name in list(dict.fromkeys(taken))[:_SNIPPETS]:
        holder = seen.holders.get(name)
        if holder is not None:
            yield f"an Argo CD Application of {name} needs:"
            yield from (f"  {line}" for line in ignore_differences(holder).splitlines())


def _is_taken(holder: Holder) -> bool:
    return holder.held and (holder.reverts > 0 or not holder.ours)


def _is_overdue(seen: Round, holder: Holder) -> bool:
    """Held after its end: neither a round before nor the release job has given it back."""
    return holder.held and holder.held_until is not None and holder.held_until < seen.run.as_of


def _word(decision: Decision) -> str:
    words = {"show": "shown only", "wait": "waits", "refuse": "refused", "keep": "kept"}
    return words.get(decision.what, decision.what.replace("_", " "))


def _row(d: Decision) -> dict[str, str | int]:
    return {
        "workload": d.workload,
        "what": d.what,
        "floor": d.floor,
        "stage": d.stage,
        "reason": d.reason,
    }
