"""Metric catalogs by name: those of config/metrics, or a file of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from features.metrics import Catalog
from pipelines.adapters.catalog import load_catalog
from pipelines.errors import ConfigError
from pipelines.settings import CONFIG_DIR

__all__ = ["open_catalog"]


def open_catalog(name: str, over: Mapping[str, object] | None = None) -> Catalog:
    """The catalog of that name, shipped or the user's own, with the settings' ``metrics`` over it.

    Raises
    ------
    ConfigError
        There is none, or it or an entry of ``over`` is broken.
    """
    path = _catalog_path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        known = ", ".join(
            sorted(p.stem for p in (CONFIG_DIR / "metrics").glob("*.yaml") if p.stem != "base")
        )
        raise ConfigError(
            f"source.catalog: {path} cannot be read ({error.strerror}); known: {known}, "
            "or give the path of a .yaml file"
        ) from None
    return load_catalog(
        text,
        where=str(path),
        read=lambda name: _catalog_path(name).read_text(encoding="utf-8"),
        over=over,
        over_from="configuration, metrics",
    )


def _catalog_path(name: str) -> Path:
    """A shipped catalog by its name; whatever ends as a YAML file does is a path."""
    is_path = name.endswith((".yaml", ".yml"))
    return Path(name) if is_path else CONFIG_DIR / "metrics" / f"{name}.yaml"
