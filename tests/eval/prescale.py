"""Pre-scaling held beside the reactive HPA, one-line rules, EC2's way and an oracle: tables, then
figures.

``python tests/eval/prescale.py [DIR] [--only traces,demo,monday]``. Every part is a module beside
this one. A trace is a case, and the demo cluster is one.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import sys
import time
import warnings
from pathlib import Path

import pandas as pd
from prescale_cases import PRODUCT, Outcome, means, show

PARTS = {"traces": "prescale_traces", "demo": "prescale_demo", "monday": "prescale_monday"}
NAMES = {
    "over_target_cut_share": ("over_target_cut_share", "share"),
    "unserved_demand_cut_share": ("unserved_cut_share", "share"),
    "replica_hours_vs_reactive": ("replica_hours_ratio", "ratio"),
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
    found: list[Outcome] = []
    failed: list[str] = []
    for part in parts:
        clock = time.perf_counter()
        print(f"\n== {part}", flush=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(importlib.import_module(PARTS[part]).evaluate(args.data))
        except Exception as error:  # noqa: BLE001 - the other parts' figures are still wanted
            failed.append(f"{part}: {type(error).__name__}: {error}")
        print(f"   {part} took {time.perf_counter() - clock:.0f} s", flush=True)
    print(f"\nload of the machine: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    for name, value, unit in [*over_cases(found), *(f for part in found for f in part.figures)]:
        if math.isfinite(value):
            print(f"figure {name} {value:.3f} {unit}")
        else:
            print(f"no figure {name}: nothing in these files to measure it by")
    if failed:
        sys.exit("no figures of " + "; ".join(failed))


def over_cases(found: list[Outcome]) -> list[tuple[str, float, str]]:
    """The figures that are means over all cases."""
    tables = [part.cases for part in found if not part.cases.empty]
    if not tables:
        return []
    cases = pd.concat(tables, ignore_index=True)
    every = means(cases)
    mine = cases[cases["policy"] == PRODUCT]
    show(f"mean of all {len(mine)} cases", every)
    short = int(mine["unserved_cut_share"].notna().sum())
    print(f"  the reactive HPA left something unserved in {short} of {len(mine)} cases")
    row = every.set_index("policy").loc[PRODUCT]
    return [(name, float(row[column]), unit) for name, (column, unit) in NAMES.items()]


if __name__ == "__main__":
    main()
