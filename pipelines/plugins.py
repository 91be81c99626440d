"""Classes of a user's own, named in the configuration as ``package.module:Class``.

Where a module is found: it is an installed package, or a file in the folder that
``extensions_path`` of the configuration names. That folder is searched last, so that nothing in it
stands in for an installed package. A name in the configuration is trusted, as the configuration is;
no name that comes with data (a store, a registered model, a label) is ever imported.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from pipelines.errors import ConfigError, ForetideError

__all__ = ["Made", "is_spec", "load"]

_SPEC = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class Made(str):
    """A spec whose class was made by the caller: wherever a name stands, an instance can."""

    __slots__ = ("instance",)
    instance: Any

    @classmethod
    def of(cls, instance: Any) -> Made:
        """Named after its class."""
        made = cls(f"{type(instance).__module__}:{type(instance).__name__}")
        made.instance = instance
        return made


def is_spec(text: str) -> bool:
    """Whether a text is of the form ``package.module:Class``."""
    return _SPEC.fullmatch(text) is not None


def load(spec: str, what: type, folder: str = "", /, **kwargs: Any) -> Any:
    """An instance of the class that ``spec`` names, made with ``kwargs``.

    Parameters
    ----------
    spec : ``package.module:Class``
    what : the protocol that it must satisfy; its public attributes and their arguments count
    folder : the configuration's ``extensions_path``; empty: installed packages only

    Raises
    ------
    ConfigError
        There is no such module or class, it cannot be made so, or it is not what was expected. What
        the class itself raises as a ``ForetideError`` is passed on.
    """
    if not is_spec(spec):
        raise ConfigError(f"{spec!r}: expected package.module:Class, for {what.__name__}")
    module, _, name = spec.partition(":")
    if isinstance(spec, Made):
        made = spec.instance
    else:
        made = _made(_class(spec, module, name, folder), spec, kwargs)
    lacking = [f for f in _public(what) if not hasattr(made, f)]
    if lacking:
        raise ConfigError(
            f"{spec}: expected a {what.__name__} with {', '.join(_public(what))}; "
            f"got one without {', '.join(lacking)}"
        )
    for method in _public(what):
        _check_arguments(spec, made, what, method)
    return made


def _class(spec: str, module: str, name: str, folder: str) -> Any:
    where = "an installed package"
    if folder:
        where += f" or a file in extensions_path, {folder!r}"
        _make_importable(folder)
    else:
        where += " (extensions_path names no folder to look into)"
    try:
        found = importlib.import_module(module)
    except Exception as error:  # whatever a user's module raises while it is imported
        got = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{spec}: expected module {module} of {where}; got {got}") from error
    there = getattr(found, name, None)
    if not inspect.isclass(there):
        got = "nothing of that name" if there is None else type(there).__name__
        raise ConfigError(f"{spec}: expected a class {name} in {found.__file__}; got {got}")
    return there


def _make_importable(folder: str) -> None:
    path = Path(folder)
    if not path.is_dir():
        raise ConfigError(f"extensions_path: expected a folder, got {folder!r}")
    text = str(path.resolve())
    if text not in sys.path:
        sys.path.append(text)
    importlib.invalidate_caches()  # a file that was just written is found too


def _made(cls: Any, spec: str, kwargs: dict[str, Any]) -> Any:
    told = ", ".join(kwargs) or "no arguments"
    try:
        return cls(**kwargs)
    except ForetideError:
        raise
    except Exception as error:
        got = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{spec}: expected to be made with {told}; got {got}") from error


def _public(what: type) -> list[str]:
    return [name for name in vars(what) if not name.startswith("_")]


def _check_arguments(spec: str, made: Any, what: type, method: str) -> None:
    """Refuse a method that cannot be called as the protocol's is."""
    protocol = vars(what)[method]
    if not inspect.isfunction(protocol):
        return
    given = getattr(made, method)
    wanted = list(inspect.signature(protocol).parameters)[1:]
    try:
        inspect.signature(given).bind(*wanted)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{spec}: expected {method}({', '.join(wanted)}); got {method} that is no such "
            f"function: {error}"
        ) from None
