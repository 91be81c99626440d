"""Plans in the store: where they are, and the one that counts now."""

from __future__ import annotations

import json

from models.plan import Plan
from pipelines.errors import StoreError
from pipelines.run import Run

__all__ = ["newest_plan", "plan_clocks", "plan_file", "plan_folder", "read_plan"]

_FOLDER = "plans"
_FILE = "plan.json"


def plan_folder(run: Run) -> str:
    """Where in the store the plan of this run is."""
    return f"{_FOLDER}/{run.part}"


def plan_file(run: Run) -> str:
    """The plan of this run."""
    return f"{plan_folder(run)}/{_FILE}"


def plan_clocks(run: Run) -> list[str]:
    """The clocks of all plans in the store, as their folders are named, the oldest first."""
    files = run.store.files(_FOLDER)
    return sorted({f.split("/")[1] for f in files if f.endswith(f"/{_FILE}")})


def read_plan(run: Run, name: str) -> Plan | None:
    """The plan in a file; nothing where there is none.

    Raises
    ------
    StoreError
        It is damaged, was changed by hand, or is of another version.
    """
    text = run.store.get_file(name)
    if text is None:
        return None
    try:
        return Plan.from_dict(json.loads(text))
    except ValueError as error:
        raise StoreError(f"{name}: {error}; run `foretide plan` again") from error


def newest_plan(run: Run) -> Plan | None:
    """The newest plan that was made at the run's clock or before; nothing once it has expired.

    An older plan never stands in for it: it was replaced.

    Raises
    ------
    StoreError
        It is damaged, was changed by hand, or is of another version.
    """
    plans = [f for f in run.store.files(_FOLDER) if f.endswith(f"/{_FILE}")]
    for name in reversed(plans):  # folders are named by their clock
        if name.split("/")[1] > run.part:
            continue
        plan = read_plan(run, name)
        if plan is not None and plan.as_of <= run.as_of:
            return plan if run.as_of < plan.expires_at else None
    return None
