"""Knobs of applying a plan."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ApplyParams"]


@dataclass(frozen=True, slots=True)
class ApplyParams:
    """How long what is applied stands, and what is looked at before."""

    enabled: bool = True
    """False writes nothing: what is held is given back when it expires."""
    ttl_min: float = 30.0
    """A floor that nobody renews is given back after this. It is renewed when less than half is
    left, so with a run every five minutes two may fail in a row before anything is given back."""
    every_min: float = 5.0
    """How often apply runs, as config/prefect.yaml has it: a floor is begun as many runs before it
    is due as its steps take."""
    pending_after_min: float = 10.0
    """A pod that waits so long for a node is pending; twice the default lead time."""
    error_window_min: float = 30.0
    """Errors are compared over so long, before and after: two pulls of the metrics."""
    run_max_s: float = 200.0
    """After this a run writes nothing more, and the next one goes on: they come every five minutes,
    and one write that is retried to its end takes a minute."""
    require_release: bool = True
    """Raise nothing new where the release CronJob is known to be missing, or not to run: what is
    raised has no way back then but apply. Where it cannot be read this is only said."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        for key in ("every_min", "pending_after_min", "error_window_min", "run_max_s"):
            value = getattr(self, key)
            if not 0 < value < float("inf"):
                raise ValueError(f"apply: {key} must be more than 0, got {value!r}")
        if not 10 <= self.ttl_min < float("inf"):
            raise ValueError(f"apply: ttl_min must be 10 or more, got {self.ttl_min!r}")
