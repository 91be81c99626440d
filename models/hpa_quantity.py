"""Kubernetes quantities: ``100m``, ``2Gi``, ``1e3``.

Source: Kubernetes API reference, Quantity (apimachinery, resource.Quantity): a decimal number, then
one suffix of 1000 (n u m "" k M G T P E), of 1024 (Ki Mi Gi Ti Pi Ei), or a decimal exponent.
"""

from __future__ import annotations

import re
from decimal import Decimal

__all__ = ["quantity"]

_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i)?)")
_TENS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_TWOS = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def quantity(text: str | float) -> float:
    """The number that a quantity stands for; numbers come as they are.

    Raises
    ------
    ValueError
        It is none.
    """
    found = _NUMBER.fullmatch(str(text))  # a boolean is none: its text has letters
    if found is None:
        raise ValueError(f"expected a quantity like 500m or 2Gi, got {str(text)[:40]!r}")
    number, exponent, suffix = Decimal(found[1]), found[2], found[3] or ""
    if exponent is not None:
        return float(number.scaleb(int(exponent)))
    return float(number * 2 ** _TWOS[suffix] if suffix in _TWOS else number.scaleb(_TENS[suffix]))
