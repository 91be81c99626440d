"""Detection at speed: isolation forests beside scikit-learn, a tick of 10,000 workloads, diagnose.

``python tests/bench/detect.py [--parts forest,tick,causes]`` prints the environment, a table a part
(``detect_PART.py``; each runs by itself too) and a line for each figure.
"""

from __future__ import annotations

import os

# of this process and of those that it starts, and before anything numeric is imported
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import importlib
import importlib.metadata
import platform
from pathlib import Path

PARTS = ("forest", "tick", "causes")
PACKAGES = ("numpy", "scipy", "numba", "pandas", "pyarrow", "scikit-learn")


def environment() -> str:
    """The machine and the versions, in two lines."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cpu = found[0] if found else platform.processor() or "unknown processor"
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    return (
        f"{os.cpu_count()} cores, {cpu}, {platform.machine()}, Python {platform.python_version()}, "
        f"native threads {os.environ['OMP_NUM_THREADS']}\n{', '.join(versions)}"
    )


def load() -> str:
    """Load average: what else the machine was doing."""
    return "load average " + " ".join(f"{one:.1f}" for one in os.getloadavg())


def main() -> None:
    """Print the table and the figures of every part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS))
    parts = parser.parse_args().parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--parts: expected some of {','.join(PARTS)}, got {','.join(unknown)}")
    print(f"{environment()}\n{load()}\n", flush=True)
    for part in parts:
        for name, value, unit in importlib.import_module(f"detect_{part}").run():
            print(f"figure {name} {value:.4g} {unit}", flush=True)
        print(f"({part}: {load()})\n", flush=True)


if __name__ == "__main__":
    main()
