"""A catalog's query becomes the PromQL that is sent: its placeholders are filled in, all at once.

``$__interval`` is the step, ``$__rate_interval`` the step or the rate window, whichever is longer
(both as in Grafana), and ``$__select`` the matchers of the selection, each followed by a comma.
What a placeholder stands for is never looked at again, so a label value may look like one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipelines.adapters.series import NO_LABEL
from pipelines.errors import ConfigError

__all__ = ["fill_in", "matchers", "selects"]

_PLACEHOLDER = re.compile(r"\$__(rate_interval|interval|select)\b( ?)")
_SELECTABLE = ("cluster", "namespace")
_OF_RE2 = re.compile(r"[\\.+*?()|\[\]{}^$]")
_IN_STRING = re.compile(r'[\\"\x00-\x1f\x7f]')


def fill_in(
    query: str, *, step_ms: int, rate_ms: int, select: Mapping[str, tuple[str, ...]], cluster: str
) -> str:
    """The query with its placeholders filled in.

    Parameters
    ----------
    query : PromQL with placeholders
    step_ms, rate_ms : the step; the least window of a rate
    select : label → wanted values, as in ``Spec``
    cluster : whose series carry no ``cluster`` label

    Raises
    ------
    ConfigError
        The selection names another label than cluster or namespace, or no value.
    """
    text = {
        "interval": _duration(step_ms),
        "rate_interval": _duration(max(step_ms, rate_ms)),
        "select": matchers(select, cluster),
    }

    def put(found: re.Match[str]) -> str:
        word, blank = found[1], found[2]
        return text[word] if word == "select" and text[word] else text[word] + blank

    return _PLACEHOLDER.sub(put, query).strip()


def selects(query: str) -> bool:
    """Whether the query has a place for the selection."""
    return any(found[1] == "select" for found in _PLACEHOLDER.finditer(query))


def matchers(select: Mapping[str, tuple[str, ...]], cluster: str) -> str:
    """``namespace="shop", `` or ``namespace=~"a|b", `` for each label; empty for no selection.

    Series that lack the label count as of ``cluster`` and of the namespace ``default``, so where
    these are wanted the matcher takes an absent label too.

    Raises
    ------
    ConfigError
        Another label than cluster or namespace, or no value.
    """
    absent = {"cluster": cluster, **NO_LABEL}
    found: list[str] = []
    for label, values in select.items():
        if label not in _SELECTABLE or not values:
            raise ConfigError(
                f"a selection takes values of {' or '.join(_SELECTABLE)}, got {label!r} with "
                f"{len(values)} values"
            )
        wanted = list(dict.fromkeys(values))
        if len(wanted) == 1 and wanted[0] != absent[label]:
            found.append(f"{label}={_string(wanted[0], label)}, ")
            continue
        texts = [_OF_RE2.sub(r"\\\g<0>", value) for value in wanted]
        texts += [""] if absent[label] in wanted else []
        found.append(f"{label}=~{_string('|'.join(texts), label)}, ")
    return "".join(found)


def _string(text: str, label: str) -> str:
    """One PromQL string literal that means exactly the text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"the selection of {label} has {text!r}, which is no Unicode") from error
    inside = _IN_STRING.sub(
        lambda c: "\\" + c[0] if c[0] in '\\"' else f"\\x{ord(c[0]):02x}",
        text,
    )
    return f'"{inside}"'


def _duration(ms: int) -> str:
    return f"{ms}ms" if ms % 1000 else f"{ms // 1000}s"
