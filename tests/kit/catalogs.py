"""The shipped metric catalogs, read as the product reads them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from features.metrics import Catalog
from pipelines.adapters.catalog import load_catalog

CONFIG = Path(__file__).parents[2] / "config" / "metrics"


@cache
def shipped(name: str) -> Catalog:
    """The catalog of that name, e.g. ``prometheus``."""
    return load_catalog(text_of(name), where=f"{name}.yaml", read=text_of)


def text_of(name: str) -> str:
    path = Path(name) if name.endswith(".yaml") else CONFIG / f"{name}.yaml"
    return path.read_text(encoding="utf-8")
