"""One metric family at one moment: what is sent to a metrics store or shown by one."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["WORKLOAD_LABELS", "Gauge"]

WORKLOAD_LABELS = ("cluster", "namespace", "kind", "name")
_NAME = re.compile(r"foretide_[a-z][a-z0-9_]*")
_LABEL = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Gauge:
    """All series of one name.

    Attributes
    ----------
    name : ``foretide_…``, the unit last
    help : one sentence for whoever meets the name
    labels : text columns, one a label, (n,); their values are data
    values : float64, (n,); the unit is in the name

    Raises
    ------
    ValueError
        A name that no metrics store takes, labels and values of different length, a series twice.
    """

    name: str
    help: str
    labels: pd.DataFrame
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Refuse what a store would refuse."""
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no metric name; expected foretide_ and [a-z0-9_]")
        wrong = [c for c in self.labels.columns if not _LABEL.fullmatch(str(c))]
        if wrong:
            raise ValueError(f"{self.name}: {wrong[0]!r} is no label name; expected [a-z0-9_]")
        if len(self.labels) != len(self.values):
            raise ValueError(f"{self.name}: {len(self.labels)} labels, {len(self.values)} values")
        if len(self.labels.columns) and self.labels.duplicated().any():
            raise ValueError(f"{self.name}: a series comes twice")
