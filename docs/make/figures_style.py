"""Colours and settings that all figures share."""

from __future__ import annotations

from typing import Any

__all__ = ["BLUE", "GREY", "ORANGE", "PALE", "PLAIN", "RED"]

BLUE, ORANGE, GREY, RED, PALE = "#1f5fa8", "#d9730d", "#6b7280", "#b42318", "#9ec5f0"
PLAIN: dict[str, Any] = {
    "svg.hashsalt": "foretide",
    "svg.fonttype": "path",  # the same letters wherever it is opened
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
}
