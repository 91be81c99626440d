"""The verbs that judge on history: what forecasters are worth, and what floors would have cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from pipelines.commands.options import call, options
from pipelines.commands.screen import Column, lines, number, share, table

__all__ = ["JUDGES"]

Cell = tuple[str, Callable[[dict[str, Any]], str]]
"""A heading, and what a row has under it."""


@click.command()
@options()
@click.option("--step", help="Step of a file's series, e.g. 1h; by default the file's own.")
@click.option(
    "--aggregate",
    type=click.Choice(["mean", "sum", "max"]),
    help="How samples of metrics that the catalog does not know fall into a step.",
)
def backtest(as_json: bool, **parameters: Any) -> None:
    """Score every forecaster on history, the seasonal-naive bar first.

    \b
    foretide backtest --input samples.parquet --step 1h
    """
    from pipelines.backtesting import backtest as flow

    result = call(flow, as_json, **parameters)
    if not as_json:
        _table(
            result["rows"],
            [
                ("model", lambda r: r["model"]),
                ("series", lambda r: str(r["series"])),
                ("WAPE", lambda r: share(r["wape"])),
                ("mean", lambda r: share(r["wape_mean"])),
                ("MASE", lambda r: number(r["mase"])),
                ("pinball .5", lambda r: number(r["pinball_q50_vs_bar"])),
                (".9", lambda r: number(r["pinball_q90_vs_bar"])),
                (".99", lambda r: number(r["pinball_q99_vs_bar"])),
                ("q90 covers", lambda r: share(r["coverage_q90"])),
                ("at peaks", lambda r: share(r["peak_coverage_q90"])),
                ("live for", lambda r: _count(r["champion_for"])),
                ("seconds", lambda r: number(r["seconds"])),
            ],
        )
        lines(
            [
                "WAPE and MASE: median over series; pinball: beside the bar's, median over "
                "series; coverage: mean over series"
            ]
        )


@click.command()
@options()
@click.option(
    "--hpa",
    type=click.Path(),
    help="File of HPA manifests, as `kubectl get hpa -o yaml` prints them: one is taken for every "
    "load, several for those that they scale.",
)
@click.option(
    "--weeks",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many of the last weeks, each by models learned at its start; from 3 on with a "
    "verdict on each workload.",
)
def replay(as_json: bool, **parameters: Any) -> None:
    """Replay pre-scaling over the last weeks, beside a reactive HPA, simple rules and an oracle.

    \b
    foretide replay --input samples.parquet
    foretide replay --input samples.parquet --weeks 4 --hpa hpa.yaml
    """
    from pipelines.replaying import replay as flow

    result = call(flow, as_json, **parameters)
    if not as_json:
        _table(
            [row for row in result["rows"] if row["workload"] == "*"],
            [
                ("policy", lambda r: r["policy"]),
                ("over target", lambda r: number(r["over_target_core_h"])),
                ("cut", lambda r: share(r["over_target_cut_share"])),
                ("unserved", lambda r: number(r["unserved_core_h"])),
                ("cut", lambda r: share(r["unserved_cut_share"])),
                ("replica-hours", lambda r: number(r["replica_hours"])),
                ("× reactive", lambda r: number(r["replica_hours_ratio"])),
            ],
        )
        lines(["Demand over target and unserved in core-hours; cuts beside the reactive HPA"])


def _table(rows: list[dict[str, Any]], cells: list[Cell]) -> None:
    columns = [Column(heading, is_right=i > 0) for i, (heading, _) in enumerate(cells)]
    table(columns, [[show(row) for _, show in cells] for row in rows])


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


JUDGES = (backtest, replay)
