"""The command line in this process, with settings of the test's own, and all that it says.

Whatever a verb says (stdout, stderr, logs at DEBUG) is searched for the secrets that it was given.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import prefect.main  # noqa: F401 - its log handler keeps the stderr of its first import: no test's
import pytest
import yaml

from pipelines.cli import _run_cli

__all__ = ["CommandLine", "Told", "no_aws_of_the_machine"]


_SERVERS = ("moto", "werkzeug")
"""They run in this process, and log what they are sent."""


_LOGGED = re.compile(r"ingest: |\d\d:\d\d:\d\d\.\d{3} \| ")
"""What the run says while it works, and what Prefect's handler shows at DEBUG."""


@dataclass(frozen=True)
class Told:
    """``result`` is what ``--json`` printed, nothing where the verb was red."""

    code: int
    result: Any
    err: str

    @property
    def line(self) -> str:
        """The one line of a red run."""
        lines = [x for x in self.err.splitlines() if not _LOGGED.match(x)]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("foretide: ")
        return lines[0]

    @property
    def notes(self) -> str:
        return "\n".join(self.result["notes"])

    @property
    def figures(self) -> dict[str, float]:
        return self.result["figures"]

    @property
    def checks(self) -> dict[str, dict[str, str]]:
        """Of ``doctor``, by name."""
        return {check["name"]: check for check in self.result}


@dataclass
class CommandLine:
    """``settings`` are the sections of the configuration file."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    caplog: pytest.LogCaptureFixture
    settings: dict[str, Any] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()

    def run(self, *args: str) -> Told:
        """A verb with its options; the configuration and ``--json`` are added."""
        config = self.folder / "foretide.yaml"
        config.write_text(yaml.safe_dump(self.settings))
        self.caplog.clear()
        self.caplog.set_level(logging.DEBUG)
        with pytest.MonkeyPatch.context() as patch:
            # libraries have handlers on streams of tests that are over
            patch.setattr(logging, "raiseExceptions", False)
            code = _run_cli([*args, "--config", str(config), "--json"])
        out, err = self.capsys.readouterr()
        records = [r for r in self.caplog.records if not r.name.startswith(_SERVERS)]
        logged = [f"{r.getMessage()} {vars(r)}" for r in records]
        for secret in self.secrets:
            for text in (out, err, *logged):
                beginning = secret[:10]  # an error that is cut may not cut a secret that it hides
                assert beginning not in text, text[max(0, text.index(beginning) - 200) :][:400]
        assert "Traceback" not in err, err
        return Told(code, json.loads(out) if out else None, err)

    def done(self, *args: str) -> Told:
        """The same, and it must not be red."""
        told = self.run(*args)
        assert told.code == 0, told.err
        return told


@contextmanager
def no_aws_of_the_machine(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """No AWS configuration or credentials of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith(("AWS_", "DD_", "FORETIDE_"))]:
            patch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, str(folder / name))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield patch
