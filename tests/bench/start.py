"""How long ``foretide --help`` takes, beside an interpreter that does nothing.

Prints the median of the runs, wall time of a whole process; compares in one run.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time

RUNS = 15
_CASES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "foretide --help": [sys.executable, "-m", "pipelines.cli", "--help"],
    "foretide forecast --help": [sys.executable, "-m", "pipelines.cli", "forecast", "--help"],
}


def seconds(command: list[str]) -> list[float]:
    """Of each run; the first, which fills the caches, is left out."""
    found = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - began)
    return found[1:]


def main() -> None:
    print(f"Python {platform.python_version()}, {platform.machine()}, {RUNS} runs each")
    took = {name: seconds(command) for name, command in _CASES.items()}
    for name, each in took.items():
        print(f"{name:<26} median {statistics.median(each):.3f} s, slowest {max(each):.3f} s")
    print(f"figure help_seconds {statistics.median(took['foretide --help']):.3f} s")


if __name__ == "__main__":
    main()
