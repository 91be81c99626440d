"""What the parts of the eval of pre-scaling share: a week that is replayed, told as tables."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from models.replay import compare, equal_cost
from pipelines.replay_weeks import PreparedWeek
from pipelines.settings import Settings

CUTS = ["over_target_cut_share", "unserved_cut_share"]
MEASURES = [*CUTS, "replica_hours_ratio"]
PRODUCT = "foretide"


@dataclass(slots=True)
class Outcome:
    """What a part has found.

    Attributes
    ----------
    cases : frame ``case, policy`` and ``MEASURES``; a share of nothing is NaN
    figures : name, value, unit
    """

    cases: pd.DataFrame = field(default_factory=pd.DataFrame)
    figures: list[tuple[str, float, str]] = field(default_factory=list)


def replayed(week: PreparedWeek, settings: Settings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every policy, and the one-line rules at what Foretide's floors cost."""
    step_s, given = week.week.step / pd.Timedelta(1, "s"), week.given(settings)
    return (
        week.named(compare(week.week.values, step_s, **given)),
        week.named(equal_cost(week.week.values, step_s, **given)),
    )


def show(title: str, rows: pd.DataFrame) -> None:
    """One table: a line a policy."""
    print(f"\n{title}")
    print(f"  {'policy':12s}{'over-target cut':>18s}{'unserved cut':>15s}{'× replica-hours':>18s}")
    for row in rows.to_dict("records"):
        over, unserved = (_share(row[cut]) for cut in CUTS)
        print(f"  {row['policy']:12s}{over:>18s}{unserved:>15s}{row['replica_hours_ratio']:18.3f}")


def show_equal(rows: pd.DataFrame) -> None:
    """Against each one-line rule at equal replica-hours; who is not beaten is named."""
    for rule, mine in rows.groupby("policy", sort=False):
        lost = mine[~mine["beaten"].astype(bool)]
        print(
            f"  at equal replica-hours {rule} is beaten on {len(mine) - len(lost)} of {len(mine)}"
        )
        for row in lost.to_dict("records"):
            print(
                f"    not on {row['workload']} {row['metric']}: it cuts over target by "
                f"{row['over_target_cut_share']:.3f}, Foretide by "
                f"{row['foretide_over_target_cut_share']:.3f} "
                f"(its floors × {row['factor']:.2f}; "
                f"{row['replica_hours'] / row['foretide_replica_hours']:.3f} × the replica-hours)"
            )


def means(cases: pd.DataFrame) -> pd.DataFrame:
    """A row a policy, over cases: where the reactive HPA missed nothing there is no cut."""
    return cases.groupby("policy", sort=False)[MEASURES].mean().reset_index()


def _share(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "nothing to cut"
