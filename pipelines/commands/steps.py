"""One verb a step of the way, each one call of its flow."""

from __future__ import annotations

from typing import Any

import click

from pipelines.commands.explain import explains
from pipelines.commands.options import call, options, prepared, show
from pipelines.commands.progress import progress

__all__ = ["STEPS"]


@click.command()
@options(inputs=False)
@click.option("--start", help="Back-fill from here on, instead of from history.days before now.")
@click.option("--again", is_flag=True, help="Pull also what the store has already.")
@click.option("--dry-run", is_flag=True, help="Only say what would be pulled, and its price.")
def ingest(as_json: bool, **parameters: Any) -> None:
    """Pull into the store what it lacks, saying first how much that is and what it costs.

    \b
    foretide ingest --config config/foretide.yaml --dry-run
    foretide ingest --config config/foretide.yaml
    """
    from pipelines.ingest import ingest as flow

    call(flow, as_json, **parameters)


@click.command()
@options()
@click.option(
    "--drifted",
    is_flag=True,
    help="Train anew only the workloads that evaluate found drifted or demoted; keep the others.",
)
def train(as_json: bool, **parameters: Any) -> None:
    """Learn a baseline for every workload and log it to MLflow.

    \b
    foretide train --input samples.parquet --as-of 2026-06-01T00:00Z --out out
    foretide train --drifted
    """
    from pipelines.train import train as flow

    call(flow, as_json, **parameters)


@click.command()
@options()
@explains("score")
@click.option(
    "--train-until", help="Train on what is before, score the rest as it would have come."
)
@click.option("--start", help="Score from here on, instead of from where the scores end.")
def score(as_json: bool, **parameters: Any) -> None:
    """Score what is new; find leaks and incidents.

    \b
    foretide score --input samples.parquet --train-until 2026-06-01T00:00Z --out out
    foretide score --explain prod/shop/Deployment/checkout
    """
    from pipelines.score import score as flow

    call(flow, as_json, **parameters)


@click.command()
@options()
@explains("forecast")
@click.option("--horizon", help="How far, e.g. 168h.")
@click.option("--step", help="Step of a file's forecast, e.g. 1h; by default the file's own.")
@click.option("--quantiles", help="e.g. 0.05,0.5,0.9,0.95,0.99")
@click.option(
    "--aggregate",
    type=click.Choice(["mean", "sum", "max"]),
    help="How samples of metrics that the catalog does not know fall into a step.",
)
def forecast(as_json: bool, **parameters: Any) -> None:
    """Forecast demand, and the capacity it asks for.

    \b
    foretide forecast --input samples.parquet --as-of 2026-06-01T00:00Z --horizon 168h --step 1h
    foretide forecast --explain prod/shop/Deployment/checkout --metric requests_per_second
    """
    from pipelines.forecast import forecast as flow

    call(flow, as_json, **parameters)


@click.command()
@options()
@explains("floor")
def plan(as_json: bool, **parameters: Any) -> None:
    """Turn the newest capacity forecast into floors and manifests. Nothing is applied.

    \b
    foretide plan
    foretide plan --explain prod/shop/Deployment/checkout
    """
    from pipelines.prescale import prescale as flow

    call(flow, as_json, **parameters)


@click.command()
@options()
def evaluate(as_json: bool, **parameters: Any) -> None:
    """Hold issued forecasts and floors against what then came; say whose model has drifted.

    \b
    foretide evaluate
    foretide evaluate --as-of 2026-06-08T00:00Z --json
    """
    from pipelines.evaluate import evaluate as flow

    call(flow, as_json, **parameters)


@click.command()
@options()
def report(as_json: bool, **parameters: Any) -> None:
    """Render the tables as one self-contained HTML file.

    \b
    foretide report
    foretide report --config foretide-demo/foretide.yaml --out foretide-demo
    """
    from pipelines.clock import now
    from pipelines.report.fill import write_report

    with progress("report", quiet=as_json):
        result = write_report(**prepared(parameters), now=now())
    show(result, as_json)


@click.command()
@options(inputs=False)
def run(as_json: bool, as_of: str | None, **parameters: Any) -> None:
    """Ingest, train, score, forecast, plan, evaluate and report, with one clock.

    With --json one object a step, a line each.

    \b
    foretide run --config config/foretide.yaml
    foretide run --as-of 2026-06-08T00:00Z --json
    """
    from pipelines.clock import now
    from pipelines.evaluate import evaluate as evaluate_flow
    from pipelines.forecast import forecast as forecast_flow
    from pipelines.ingest import ingest as ingest_flow
    from pipelines.prescale import prescale
    from pipelines.report.fill import write_report
    from pipelines.score import score as score_flow
    from pipelines.train import train as train_flow

    clock = now()
    common = {**parameters, "as_of": as_of or clock.isoformat()}
    flows = (ingest_flow, train_flow, score_flow, forecast_flow, prescale, evaluate_flow)
    for flow in flows:
        call(flow, as_json, **common)
    with progress("report", quiet=as_json):
        result = write_report(**prepared(common), now=clock)
    show(result, as_json)


STEPS = (ingest, train, score, forecast, plan, evaluate, report, run)
