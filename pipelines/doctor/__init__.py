"""doctor: what is missing before the steps can run, and what to do about it."""

from __future__ import annotations

from pipelines.doctor.check import Check
from pipelines.doctor.examine import examine

__all__ = ["Check", "examine"]
