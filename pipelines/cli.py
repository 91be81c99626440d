"""The command line: parse, call one flow, print what it says. Nothing is computed here.

Heavy imports happen inside the verbs, so that ``foretide --help`` answers at once. Exit codes: 0
done, 1 failed with one clear line, 2 bad usage.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = ["main"]

_DEFAULT_CONFIG = Path("config/foretide.yaml")
_FILE_OUT = "foretide-out"


def main() -> None:
    """Entry point of the ``foretide`` command."""
    sys.exit(_run_cli(sys.argv[1:]))


def _run_cli(args: list[str]) -> int:
    try:
        # Files give their own clock and need no server: nothing of Prefect's is started for a plain
        # command.
        code = cli.main(args, prog_name="foretide", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("foretide: stopped", err=True)
        return 130
    except Exception as error:
        if "--debug" in args:
            raise
        click.echo(f"foretide: {_sentence(error)}", err=True)
        return 1
    return code if isinstance(code, int) else 0


def _sentence(error: Exception) -> str:
    from features.frames import FrameError
    from pipelines.errors import ForetideError

    if isinstance(error, ForetideError | FrameError):
        return str(error)
    text = " ".join(str(error).split()) or "no message"
    return f"unexpected {type(error).__name__}: {text} (--debug shows where)"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="foretide", prog_name="foretide")
def cli() -> None:
    """See trouble and load coming in Kubernetes clusters.

    \b
    foretide demo                                   simulate a cluster, run everything, open the
    report foretide run --config config/foretide.yaml      ingest, train, score, forecast, plan,
    report foretide forecast --input samples.parquet       any step, on a file of your own
    """


_Command = Callable[..., None]


def _options(*, inputs: bool = True) -> Callable[[_Command], _Command]:
    """The options that every verb has."""
    options = [
        click.option(
            "--config", type=click.Path(), help="YAML file; FORETIDE_… variables override it."
        ),
        click.option("--out", type=click.Path(file_okay=False), help="Folder of the tables."),
        click.option(
            "--as-of", help="The run's clock, e.g. 2026-06-01T00:00Z; nothing after it is seen."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON."),
        click.option("--debug", is_flag=True, help="Show a traceback when something breaks."),
    ]
    if inputs:
        options.insert(
            1,
            click.option(
                "--input",
                "inputs",
                multiple=True,
                type=click.Path(),
                help="Samples file or folder, instead of the store; may be repeated.",
            ),
        )

    def decorate(command: _Command) -> _Command:
        @functools.wraps(command)
        def quiet(*args: Any, **kwargs: Any) -> None:
            kwargs.pop("debug", None)
            command(*args, **kwargs)

        wrapped: _Command = quiet
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _call(flow: Any, as_json: bool, **parameters: Any) -> dict[str, Any]:
    """Run one flow: watched by Prefect when a server is configured, plainly otherwise."""
    parameters["config"] = _config(parameters.get("config"))
    if "inputs" in parameters:
        parameters["inputs"] = list(parameters["inputs"]) or None
        if parameters["inputs"] and not parameters.get("out"):
            parameters["out"] = _FILE_OUT
    watched = bool(os.environ.get("PREFECT_API_URL"))
    result: dict[str, Any] = (flow if watched else flow.fn)(**parameters)
    _print(result, as_json)
    return result


def _config(path: str | None) -> str | None:
    if path is None and _DEFAULT_CONFIG.is_file():
        return str(_DEFAULT_CONFIG)
    return path


def _print(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(result, default=str))
        return
    from pipelines.outcome import Outcome

    outcome = Outcome(**result)
    click.echo(outcome.line())
    for note in outcome.notes:
        click.echo(note)
    for name, place in outcome.outputs.items():
        click.echo(f"  {name}: {place}")


@cli.command()
@_options(inputs=False)
@click.option("--start", help="Pull from here on, instead of from where the store ends.")
def ingest(as_json: bool, **parameters: Any) -> None:
    """Pull metrics into the store.

    \b
    foretide ingest --config config/foretide.yaml
    """
    from pipelines.ingest import ingest as flow

    _call(flow, as_json, **parameters)


@cli.command()
@_options()
def train(as_json: bool, **parameters: Any) -> None:
    """Learn a baseline for every workload and log it to MLflow.

    \b
    foretide train --input samples.parquet --as-of 2026-06-01T00:00Z --out out
    """
    from pipelines.train import train as flow

    _call(flow, as_json, **parameters)


@cli.command()
@_options()
@click.option(
    "--train-until", help="Train on what is before, score the rest as it would have come."
)
@click.option("--start", help="Score from here on, instead of from where the scores end.")
def score(as_json: bool, **parameters: Any) -> None:
    """Score what is new; find leaks and incidents.

    \b
    foretide score --input samples.parquet --train-until 2026-06-01T00:00Z --out out
    """
    from pipelines.score import score as flow

    _call(flow, as_json, **parameters)


@cli.command()
@_options()
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
    """
    from pipelines.forecast import forecast as flow

    _call(flow, as_json, **parameters)


@cli.command()
@_options()
def plan(as_json: bool, **parameters: Any) -> None:
    """Turn the newest capacity forecast into floors and manifests. Nothing is applied."""
    from pipelines.prescale import prescale as flow

    _call(flow, as_json, **parameters)


@cli.command()
@_options()
def evaluate(as_json: bool, **parameters: Any) -> None:
    """Hold issued forecasts and floors against what then came."""
    from pipelines.evaluate import evaluate as flow

    _call(flow, as_json, **parameters)


@cli.command()
@_options()
def report(as_json: bool, **parameters: Any) -> None:
    """Render the tables as one self-contained HTML file."""
    from pipelines.clock import now
    from pipelines.report.fill import write_report

    parameters["config"] = _config(parameters["config"])
    parameters["inputs"] = list(parameters["inputs"]) or None
    _print(write_report(**parameters, now=now()), as_json)


@cli.command()
@_options(inputs=False)
@click.option(
    "--seed", type=int, default=7, show_default=True, help="Which of all possible clusters."
)
def demo(as_json: bool, out: str | None, seed: int, **_: Any) -> None:
    """Run everything on a simulated cluster; no server, no network.

    \b
    foretide demo --out /tmp/demo
    """
    from rich.console import Console

    from pipelines.demo import run_demo

    result = run_demo(out or "foretide-demo", Console(stderr=as_json), seed=seed)
    if as_json:
        click.echo(json.dumps(result, default=str))


if __name__ == "__main__":
    main()
