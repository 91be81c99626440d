"""The command line: parse, call one flow, print what it says. Nothing is computed here.

Heavy imports happen inside the verbs, so that ``foretide --help`` answers at once. Exit codes: 0
done, 1 failed with one clear line, 2 bad usage, 130 stopped by the keyboard.
"""

from __future__ import annotations

import logging
import os
import sys

import click

from pipelines.commands.capacity import CAPACITY
from pipelines.commands.care import CARE
from pipelines.commands.diagnosis import DIAGNOSIS
from pipelines.commands.judge import JUDGES
from pipelines.commands.notifying import NOTIFYING
from pipelines.commands.publishing import PUBLISHING
from pipelines.commands.serving import SERVING
from pipelines.commands.shell import SHELL
from pipelines.commands.steps import STEPS
from pipelines.commands.tools import TOOLS
from pipelines.logs import JsonLines, as_json

__all__ = ["cli", "main"]


def main() -> None:
    """Entry point of the ``foretide`` command."""
    # Prefect tells a terminal that it counts users; nobody here asked to be counted
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    sys.exit(_run_cli(sys.argv[1:]))


def _run_cli(args: list[str]) -> int:
    _listen()
    if "--debug" not in args:
        # Retries are counted in the outcome; the log line of each says nothing more.
        logging.getLogger("stamina").setLevel(logging.ERROR)
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
        _tell(_sentence(error))
        return 1
    return code if isinstance(code, int) else 0


class _Teller(logging.Handler):
    """What runs say while they work goes to stderr: stdout is for outcomes."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


def _listen() -> None:
    teller = logging.getLogger("foretide")
    if not teller.handlers:
        teller.addHandler(_Teller())
        teller.setLevel(logging.INFO)
        teller.propagate = False
    if os.environ.get("FORETIDE_WATCH__LOG_FORMAT") == "json":
        as_json()  # also of a configuration that cannot be read


def _tell(sentence: str) -> None:
    """The last word on stderr; a line of JSON where logs are that."""
    teller = logging.getLogger("foretide")
    if any(isinstance(handler.formatter, JsonLines) for handler in teller.handlers):
        teller.error("%s", sentence)
    else:
        click.echo(f"foretide: {sentence}", err=True)


def _sentence(error: Exception) -> str:
    from features.frames import FrameError
    from pipelines.errors import ForetideError

    if isinstance(error, ForetideError | FrameError):
        return " ".join(str(error).split())
    text = " ".join(str(error).split()) or "no message"
    return f"unexpected {type(error).__name__}: {text} (--debug shows where)"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="foretide", prog_name="foretide")
def cli() -> None:
    """See trouble and load coming in Kubernetes clusters.

    \b
    foretide demo                                 simulate a cluster, run everything on it
    foretide run --config config/foretide.yaml    ingest, train, score, forecast, plan, report
    foretide forecast --input samples.parquet     any step, on a file of your own
    foretide score --explain WORKLOAD             why a score, a forecast, a floor is what it is

    Tables fit the terminal; piped, a row is a line. --json prints one document that `foretide
    schema VERB` describes. Exit codes: 0 done, 1 failed (the last line on stderr says why), 2 bad
    usage, 130 stopped.
    """


for group in (
    STEPS, CAPACITY, DIAGNOSIS, JUDGES, CARE, PUBLISHING, NOTIFYING, SERVING, TOOLS, SHELL,
):  # fmt: skip
    for command in group:
        cli.add_command(command)


if __name__ == "__main__":
    main()
