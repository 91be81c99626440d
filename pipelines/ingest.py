"""ingest: metrics from their source into the store of samples.

A run pulls what its window holds and the store lacks: the first time everything, then what came
since, late samples, and gaps that an interrupted run left. It says what that will be and cost
before it pulls, pulls slice by slice, the newest days first, and commits every slice whole. What
was committed is not pulled again; when the budget is spent, a metric fails or the machine goes
away, it stays, and the next run goes on from there.
"""

from __future__ import annotations

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from pipelines.adapters.source import FetchReport, Window
from pipelines.artifacts import publish
from pipelines.bill import Allowance, Spending
from pipelines.clock import now
from pipelines.errors import AccessDenied, EmptyResult, ForetideError, SourceUnreachable
from pipelines.flow_runs import SOURCE, as_run
from pipelines.moments import parse_time
from pipelines.outcome import Outcome
from pipelines.parameters import Moment
from pipelines.pulling import commit_slice, pull, survey, window_of
from pipelines.pulls import Pull, Wanted, allot, slices
from pipelines.retention import tidy_store
from pipelines.run import Run, RunRef
from pipelines.say import say
from pipelines.sources import meter
from pipelines.spool import BUDGET_SPENT, Pulled, pulled
from pipelines.spreading import Where
from pipelines.staging import staged, sweep
from pipelines.tally import (
    committed,
    empty_text,
    fates_of,
    figures,
    foresight,
    told_counts,
)
from pipelines.tasks import call, run_shards, threads
from pipelines.telemetry import traced
from pipelines.watching import watched

__all__ = ["ingest"]


@dataclass(frozen=True, slots=True)
class _Share:
    """One task's share: a pull, and the slice that it belongs to."""

    run: RunRef
    pull: Pull
    step_ms: int
    folder: str


@dataclass(frozen=True, slots=True)
class _Done:
    """What the slices came to."""

    pulled: tuple[Pulled, ...] = ()
    left_out: tuple[Pull, ...] = ()
    errors: tuple[BaseException, ...] = ()

    def __add__(self, other: _Done) -> _Done:
        """One after the other."""
        return _Done(
            self.pulled + other.pulled,
            self.left_out + other.left_out,
            self.errors + other.errors,
        )

    @property
    def report(self) -> FetchReport:
        """All that was counted."""
        return sum((p.report for p in self.pulled), FetchReport())


@flow(name="ingest", task_runner=threads(), timeout_seconds=2 * 3600)
@as_run(SOURCE)
@watched("ingest")
def ingest(
    config: str | None = None,
    out: str | None = None,
    as_of: Moment | None = None,
    start: Moment | None = None,
    again: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Pull what the store lacks of ``[start, as_of)``; ``start`` defaults to the history's.

    Parameters
    ----------
    again
        Also pull what the store has: after the source's own past was corrected.
    dry_run
        Only say what would be pulled and what it would cost.

    Raises
    ------
    ConfigError, InputError, StoreError
        Nothing was pulled.
    SourceError
        A metric failed, or the source gave nothing at all; what did come is in the store.
    """
    ref = RunRef.resolve(config, None, out, as_of, now())
    run = ref.open()
    window = window_of(run, parse_time(start, "--start") if start else None)
    wanted = call(foresee, ref, window, again)
    done = _Done()
    if not dry_run:
        say(f"ingest: {foresight(run, wanted)}")
        sweep(run, "ingest", now())
        with staged(run, "ingest", alone=False) as folder:
            done = _pull_all(run, window, wanted, folder)
        run.store.mark()
        if run.settings.store.keep_days is not None:
            call(tidy, ref)
    result = publish(_outcome(run, wanted, done, dry_run=dry_run))
    _judge(run, wanted, done)
    return result


@task(cache_policy=NO_CACHE)
@traced
def foresee(ref: RunRef, window: Window, again: bool) -> list[Wanted]:
    """What is missing, and what it will take to pull it."""
    return survey(ref.open(), window, again=again)


@task(cache_policy=NO_CACHE)
@traced
def fetch(share: _Share) -> None:
    """Fetch one pull into its spool."""
    pull(share.run.open(), share.pull, share.step_ms, Path(share.folder))


@task(cache_policy=NO_CACHE)
@traced
def commit(ref: RunRef, window: Window, folder: str) -> None:
    """Merge one slice into the store."""
    commit_slice(ref.open(), window, Path(folder))


@task(cache_policy=NO_CACHE)
@traced
def tidy(ref: RunRef) -> None:
    """Give up what is older than the store keeps."""
    run = ref.open()
    tidied = tidy_store(run)
    joined = f", {tidied.folded} of the ledger became one a day" if tidied.folded else ""
    say(f"ingest: {tidied.gone} files that are kept no longer are gone{joined}")


def _pull_all(run: Run, window: Window, wanted: list[Wanted], aside: Path) -> _Done:
    """Slice by slice, until all is there, the budget is spent or the source is gone.

    While one slice is pulled, the one before is committed.
    """
    done = _Done()
    prices, billed = run.settings.ingest.prices, meter(run)
    # CloudWatch bills every metric of every request: one long piece is cheaper than several
    pieces = 50 if billed == "cloudwatch" else 1
    cut = slices(wanted, pieces * run.settings.ingest.samples_per_commit)
    spent = sum((Spending.of(w.estimate.report, prices, billed) for w in wanted), Spending())
    # an orchestrator's task runs: few, also where the history of weeks is pulled
    a_slice = run.settings.shards.tasks_max // max(len(cut), 1)
    with _Behind(run, window, is_task=a_slice > 1) as behind:
        for number, pulls in enumerate(cut):
            left = Allowance.left(
                run.settings.ingest.budget, spent + Spending.of(done.report, prices, billed)
            )
            allowed, left_out = allot(pulls, left, prices, billed, window.step_ms)
            shortened = (p for p, a in zip(pulls, allowed, strict=False) if a.start_ms > p.start_ms)
            done += _Done(left_out=(*shortened, *left_out))
            folder = aside / f"{number:05d}"
            done += _pull_slice(run, window, allowed, folder, max(a_slice - 1, 1))
            behind.commit(folder)
            is_gone = any(isinstance(e, AccessDenied | SourceUnreachable) for e in done.errors)
            is_spent = done.left_out or any(p.ended == BUDGET_SPENT for p in done.pulled)
            if is_gone or is_spent:  # what is left is not for older days while newer ones lack
                rest = [p for later in cut[number + 1 :] for p in later]
                return done + _Done(left_out=tuple(rest))
    return done


def _pull_slice(run: Run, window: Window, pulls: list[Pull], folder: Path, tasks_max: int) -> _Done:
    shares = [_Share(run.ref, one, window.step_ms, str(folder)) for one in pulls]
    fetched = run_shards(
        fetch,
        shares,
        workers=run.settings.shards.workers,
        max_failed_share=1.0,
        where=Where(tasks_max=tasks_max),
    )
    return _Done(tuple(pulled(folder)), (), fetched.errors)


class _Behind:
    """Commits slices one after the other, behind the one that is pulled; leaves when all are in."""

    def __init__(self, run: Run, window: Window, *, is_task: bool) -> None:
        self._run, self._is_task = run, is_task
        self._window = window
        self._pool = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def commit(self, folder: Path) -> None:
        """Begin with a slice when the one before is in the store."""
        self._wait()
        if folder.is_dir():
            context = copy_context()  # of the flow run, where there is one
            self._last = self._pool.submit(context.run, self._commit, folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._wait()
        finally:
            self._pool.shutdown()

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def _commit(self, folder: Path) -> None:
        done = pulled(folder)
        arguments = (self._run.ref, self._window, str(folder))
        if self._is_task:
            call(commit, *arguments)
        else:
            commit.fn(*arguments)
        shutil.rmtree(folder, ignore_errors=True)
        if any(p.report.samples for p in done):
            say(f"ingest: {committed(done)}")


def _outcome(run: Run, wanted: list[Wanted], done: _Done, *, dry_run: bool) -> dict[str, Any]:
    fates = fates_of(wanted, done.pulled, done.left_out)
    notes = told_counts(wanted, done.report, fates)
    if dry_run:
        notes = [f"  {foresight(run, wanted)}"]
    return Outcome(
        verb="ingest",
        run_id=run.run_id,
        as_of=run.ref.as_of,
        unit="metrics",
        done=len(fates.complete),
        skipped=fates.skipped if not dry_run else {"only asked for": len(fates.asked)},
        failed=tuple(str(e) for e in done.errors),
        outputs={} if dry_run else {"samples": f"{run.store.root}/samples"},
        figures=figures(run, wanted, done.report),
        notes=tuple(notes),
    ).to_dict()


def _judge(run: Run, wanted: list[Wanted], done: _Done) -> None:
    """Red where more failed than may, or where there was nothing at all.

    Raises
    ------
    SourceError
        With what to do about it; what did come is in the store.
    """
    if done.errors and len(done.errors) > run.settings.shards.max_failed_share * len(done.pulled):
        first = done.errors[0]
        kept = f"; the {done.report.samples:,} samples that came are kept"
        for note in told_counts(wanted, done.report, fates_of(wanted, done.pulled, done.left_out)):
            say(f"ingest: {note.strip()}")
        if not isinstance(first, ForetideError):
            raise first
        raise type(first)(f"{first}{kept if done.report.samples else ''}") from first
    unpaid = any(p.ended == BUDGET_SPENT for p in done.pulled)
    if done.pulled and not done.report.samples and not unpaid:
        raise EmptyResult(empty_text(run, wanted, done.report))
