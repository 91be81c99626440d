"""What the registry says of one version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CHALLENGER", "CHAMPION", "ModelVersion", "version_of"]

CHAMPION = "champion"
CHALLENGER = "challenger"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of one family, and where its files were put."""

    family: str
    version: str
    run_id: str
    source: str
    tags: Mapping[str, str]

    @property
    def label(self) -> str:
        """``forecaster/3``: how tables name the version."""
        return f"{self.family}/{self.version}"


def version_of(family: str, found: Any) -> ModelVersion:
    """MLflow's own record, as ours."""
    return ModelVersion(
        family, str(found.version), str(found.run_id), str(found.source), dict(found.tags)
    )
