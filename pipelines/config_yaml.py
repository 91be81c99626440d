"""The configuration's YAML: as YAML 1.2 reads it, where `off` and `no` are words and not false."""

from __future__ import annotations

import re
from typing import Any

import yaml

__all__ = ["read_yaml"]

_BOOL = "tag:yaml.org,2002:bool"
_TRUTH = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")


class _Loader(yaml.SafeLoader):
    """PyYAML's, but for the words that YAML 1.1 takes for truth values."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, _TRUTH, list("tTfF"))


def read_yaml(text: str) -> Any:
    """What a document says; ``mode: off`` is the mode, ``on: true`` is a key of that name.

    Raises
    ------
    yaml.YAMLError
        It is not valid YAML.
    """
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
