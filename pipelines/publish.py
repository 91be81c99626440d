"""publish: what holds now is sent as metrics, and written as one file a table.

Nothing is computed here. A sample is stamped with the moment of sending: metric stores refuse what
is of another time, so how far a forecast reaches is a label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from pipelines.clock import present
from pipelines.errors import ForetideError
from pipelines.flow_runs import as_run
from pipelines.outcome import Outcome
from pipelines.parameters import Moment
from pipelines.publish_files import publish_files
from pipelines.publish_guard import Chosen, chosen, counts, refuse_too_many, too_many
from pipelines.publish_targets import (
    Delivered,
    cloudwatch_tables,
    server_of,
    to_cloudwatch,
    to_remote_write,
)
from pipelines.run import Run, RunRef
from pipelines.series.every import gather_all
from pipelines.series.sent import Outgoing, outgoing, read_known
from pipelines.series.workloads import Gathered
from pipelines.tasks import call
from pipelines.tasks import publish as shown
from pipelines.telemetry import traced
from pipelines.watching import watched

__all__ = ["publish", "send"]

_NOWHERE = (
    "  nowhere to publish to: set publish.remote_write.url, publish.cloudwatch.enabled or "
    "publish.parquet"
)


@flow(name="publish", timeout_seconds=600)
@as_run()
@watched("publish")
def publish(
    config: str | None = None,
    out: str | None = None,
    as_of: Moment | None = None,
    dry_run: bool = False,
    back_filled: bool = False,
) -> dict[str, Any]:
    """Send what is valid at the run's clock, stamped with the present.

    ``dry_run`` only says what would be sent, and how much of it is new. ``back_filled`` sends also
    where the run's clock is far from the present.

    Raises
    ------
    ConfigError
        It would be more than ``publish.series_max`` series; nothing was sent.
    ForetideError
        A larger share than ``shards.max_failed_share`` was not taken.
    """
    # the present, not the time that a late run was meant for: what is newest is sent
    moment = present()
    ref = RunRef.resolve(config, None, out, as_of, moment)
    return shown(call(send, ref, moment.isoformat(), dry_run, back_filled))


@task(cache_policy=NO_CACHE)
@traced
def send(ref: RunRef, moment: str, dry_run: bool, back_filled: bool) -> dict[str, Any]:
    """Gather, check and send, as of one run, stamped ``moment``."""
    run, at = ref.open(), pd.Timestamp(moment)
    wanted = run.settings.publish
    late_min = abs(at - run.as_of).total_seconds() / 60
    if late_min > wanted.late_max_min and not (back_filled or dry_run):
        return _outcome(run, (_back_filled(run, late_min),)).to_dict()
    server = server_of(wanted.remote_write)
    if not (server or wanted.cloudwatch.enabled or wanted.parquet or dry_run):
        return _outcome(run, (_NOWHERE,)).to_dict()
    found = gather_all(run)
    picked = chosen(found.gauges, wanted)
    longest = wanted.remote_write.send.label_value_bytes
    going = outgoing(picked.gauges, read_known(run, server), longest)
    if dry_run:
        return _rehearsed(run, found, picked, going).to_dict()
    refuse_too_many(counts(going), wanted.series_max)
    delivered: list[Delivered] = []
    if server:
        delivered.append(
            _tried(going.series, partial(to_remote_write, run, picked.gauges, going, at))
        )
    if wanted.cloudwatch.enabled:
        tables = cloudwatch_tables(picked.gauges, wanted.cloudwatch)
        metrics = sum(len(t) for t in tables.values())
        delivered.append(_tried(metrics, partial(to_cloudwatch, wanted.cloudwatch, tables, at)))
    return _sent(run, found, picked, delivered).to_dict()


def _tried(asked: int, deliver: Callable[[], Delivered]) -> Delivered:
    """One target that cannot be had keeps nothing from the others."""
    try:
        return deliver()
    except ForetideError as error:
        return Delivered(asked, 0, (str(error),))


def _sent(run: Run, found: Gathered, picked: Chosen, delivered: Sequence[Delivered]) -> Outcome:
    """What became of it, with the files written last."""
    wanted = run.settings.publish
    places, rows = publish_files(run, wanted.parquet) if wanted.parquet else ({}, {})
    errors = tuple(e for d in delivered for e in d.errors)
    asked, taken = sum(d.asked for d in delivered), sum(d.taken for d in delivered)
    figures = {name: value for d in delivered for name, value in d.figures.items()}
    if errors and any(
        d.asked - d.taken > run.settings.shards.max_failed_share * d.asked for d in delivered
    ):
        error = ForetideError(f"publish: {taken} of {asked} series were taken: {'; '.join(errors)}")
        error.figures = figures  # a red run is the one of which the refused are asked for
        raise error
    skipped = _left_out(found, picked)
    if asked > taken:
        skipped["not taken by the server"] = asked - taken
    files = [f"  {table}: {n} rows" if n else f"  {table}: nothing valid, the file stays"
             for table, n in rows.items()]  # fmt: skip
    notes = (*found.notes, *(line for d in delivered for line in d.notes), *files)
    return _outcome(
        run, notes, done=taken, skipped=skipped, failed=(*found.broken, *errors), outputs=places,
        figures=figures | {f"{table}_rows": float(n) for table, n in rows.items()},
    )  # fmt: skip


def _rehearsed(run: Run, found: Gathered, picked: Chosen, going: Outgoing) -> Outcome:
    """What a send would be: by name, how many are new, what CloudWatch would cost."""
    wanted = run.settings.publish
    rows = counts(going)
    lines = [
        f"  {r['name']}: {r['series']:,} series, {r['new']:,} new"
        + (f", {r['ending']:,} end" if r["ending"] else "")
        for r in rows
    ]
    if why := too_many(rows, wanted.series_max):
        lines.append(f"  would be refused: {why}")
    if not (wanted.remote_write.url or wanted.cloudwatch.enabled or wanted.parquet):
        lines.append(_NOWHERE)
    cloudwatch = cloudwatch_tables(picked.gauges, wanted.cloudwatch)
    metrics = sum(len(t) for t in cloudwatch.values())
    usd = metrics * wanted.cloudwatch.usd_per_metric_month
    off = "" if wanted.cloudwatch.enabled else " if publish.cloudwatch.enabled were true"
    lines.append(f"  CloudWatch: {metrics} metrics, {usd:.2f} USD a month{off}")
    figures = {
        "series": float(going.series),
        "series_new": float(going.new.total()),
        "series_ending": float(going.ending),
        "cloudwatch_metrics": float(metrics),
        "cloudwatch_usd_per_month": usd,
    }
    skipped = {"dry run": going.series} | _left_out(found, picked)
    return _outcome(
        run, (*found.notes, *lines), skipped=skipped, failed=found.broken, figures=figures,
        rows=tuple(rows),
    )  # fmt: skip


def _left_out(found: Gathered, picked: Chosen) -> dict[str, int]:
    past = {f"past their valid_until ({table})": n for table, n in found.stale.items()}
    return past | picked.left_out


def _back_filled(run: Run, late_min: float) -> str:
    return (
        f"  nothing is published: the run's clock {run.as_of:%Y-%m-%d %H:%M} UTC is {late_min:.0f} "
        f"min from the present (publish.late_max_min {run.settings.publish.late_max_min:g}), and "
        "samples are stamped now; --back-filled publishes all the same"
    )


def _outcome(run: Run, notes: tuple[str, ...], *, done: int = 0, **more: Any) -> Outcome:
    return Outcome(
        verb="publish",
        run_id=run.run_id,
        as_of=run.ref.as_of,
        unit="series",
        done=done,
        notes=notes,
        **more,
    )
