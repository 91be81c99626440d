"""Anomalies, leaks, causes and incidents, each held against what is known: tables, then figures.

``python tests/eval/detect.py [DIR] [--only points,leaks,causes,noise,budget]``. Every part is a
module beside this one that can be run alone.
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
import time
import warnings
from pathlib import Path

PARTS = {
    "points": "detect_points",
    "leaks": "detect_leaks",
    "causes": "detect_causes",
    "noise": "detect_noise",
    "budget": "detect_budget",
}


def main() -> None:
    """Run the parts; one that fails is named, and the others go on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", default=",".join(PARTS), help="parts, parted by commas")
    args = parser.parse_args()
    parts = [part.strip() for part in args.only.split(",") if part.strip()]
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        parser.error(f"--only: expected some of {', '.join(PARTS)}, got {unknown[0]!r}")
    if not args.data.is_dir():
        sys.exit(f"{args.data} is no directory of samples files")
    figures: list[tuple[str, float, str]] = []
    failed: list[str] = []
    for part in parts:
        clock = time.perf_counter()
        print(f"\n== {part}", flush=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                figures += importlib.import_module(PARTS[part]).evaluate(args.data)
        except Exception as error:  # noqa: BLE001 - the other parts' figures are still wanted
            failed.append(f"{part}: {type(error).__name__}: {error}")
        print(f"   {part} took {time.perf_counter() - clock:.0f} s", flush=True)
    print()
    for name, value, unit in figures:
        if math.isfinite(value):
            print(f"figure {name} {value:.3f} {unit}")
        else:
            print(f"no figure {name}: nothing in these files to measure it by")
    if failed:
        sys.exit("no figures of " + "; ".join(failed))


if __name__ == "__main__":
    main()
