"""MLflow: one registered model a family, every version one folder of bundles."""

from __future__ import annotations

from pipelines.adapters.tracking.example import Example, score_example
from pipelines.adapters.tracking.tracking import Tracking, artifacts_place
from pipelines.adapters.tracking.version import CHALLENGER, CHAMPION, ModelVersion

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "Example",
    "ModelVersion",
    "Tracking",
    "artifacts_place",
    "score_example",
]
