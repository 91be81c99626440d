"""What a page holds beside its tables: style, scripts, and data that no browser reads as markup.

The library of charts and every chart stand in the file as base64 of zlib's format: small,
without a character that markup knows, and unpacked by the browser only when a chart is opened.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup

__all__ = ["TEMPLATES", "library", "packed", "policy", "script", "style"]

TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("core", "charts", "tables", "workload", "start")
_STYLES = ("report", "workload")


def packed(value: Any) -> Markup:
    """A value as JSON that can stand inside a script element."""
    return _squeezed(msgspec.json.encode(value), 6)


@cache
def script() -> Markup:
    """The page's script: its parts share one scope, in the order in which they build on another."""
    parts = "\n".join(_read(f"{name}.js") for name in _SCRIPTS)
    return Markup(f'(() => {{\n"use strict";\n{parts}}})();\n')  # noqa: S704 - our own files


@cache
def style() -> Markup:
    """The page's style."""
    return Markup("\n".join(_read(f"{name}.css") for name in _STYLES))  # noqa: S704 - our own files


@cache
def library() -> Markup:
    """Plotly's own script, packed."""
    return _squeezed(_plotly().encode(), 9)


@cache
def policy() -> str:
    """The two scripts that may run, for a content security policy."""
    return f"{_digest(script())} {_digest(_plotly())}"


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # late: only who renders a report pays for it

    return get_plotlyjs()


def _squeezed(raw: bytes, level: int) -> Markup:
    text = base64.b64encode(zlib.compress(raw, level)).decode()
    return Markup(text)  # noqa: S704 - letters, digits, +, / and = alone


def _digest(text: str) -> str:
    """The script's name in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
