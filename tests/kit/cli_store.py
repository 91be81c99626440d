"""A small store on which every step has run once, and a terminal that is none."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from features.synthetic import simulate
from features.synthetic_fleet import ClusterSpec
from pipelines.cli import _run_cli

__all__ = ["AS_OF", "CliStore", "FakeTerminal", "filled"]

AS_OF = "2026-05-25T00:00Z"
_TRAINED = "2026-05-24T00:00Z"


class FakeTerminal(io.StringIO):
    """A stream that says that somebody looks at it."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class CliStore:
    """``samples`` is the file that the store was filled from."""

    config: Path
    out: Path
    samples: Path
    workloads: tuple[str, ...]

    @property
    def args(self) -> list[str]:
        return ["--config", str(self.config), "--out", str(self.out), "--as-of", AS_OF]

    def run(self, *args: str) -> int:
        return _run_cli([*args, *self.args])


def filled(folder: Path) -> CliStore:
    """Three weeks of four workloads with floors to raise; trained, scored, forecast, planned."""
    cluster = simulate(ClusterSpec(n_workloads=4, weeks=3, step_s=900))
    samples, config = folder / "samples.parquet", folder / "foretide.yaml"
    pq.write_table(cluster.samples, samples)
    settings = {
        "history": {"days": 21, "step_s": 900},
        "forecast": {"models": ["seasonal_naive", "seasonal_median"], "valid_for_h": 168},
        "source": {"kind": "files", "paths": [str(samples)]},
    }
    config.write_text(yaml.safe_dump(settings))
    out = folder / "store"
    for verb, at in (
        ("ingest", AS_OF), ("train", _TRAINED), ("forecast", _TRAINED), ("score", AS_OF),
        ("forecast", AS_OF), ("plan", AS_OF),
    ):  # fmt: skip
        code = _run_cli([verb, "--config", str(config), "--out", str(out), "--as-of", at])
        assert code == 0, verb
    names = cluster.samples.select(["cluster", "namespace", "kind", "name"]).to_pandas()
    found = sorted({"/".join(map(str, row)) for row in names.drop_duplicates().itertuples(False)})
    return CliStore(config, out, samples, tuple(w for w in found if "/Deployment/" in w))
