"""How we come to a cluster: a kubeconfig, or the account of the pod that we run in.

The ``kubernetes`` package reads both: client certificates, tokens and files of them, exec plugins
(which it asks again when what they gave expires), a service account's token (read again every
minute). Nothing of it goes into a log or a message.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pipelines.adapters.kube.client import Kube
from pipelines.adapters.kube.wire import RetryParams, Wire
from pipelines.errors import ClusterForbidden, ConfigError

__all__ = ["connect"]

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SECRET = re.compile(r"[\w+=.-]{40,}")


def connect(
    connect: Literal["kubeconfig", "in_cluster"],
    kubeconfig: str = "",
    context: str = "",
    timeout_s: float = 30.0,
    *,
    retry: RetryParams | None = None,
    folder: Path = _ACCOUNT,
    environ: Mapping[str, str] = os.environ,
) -> Kube:
    """A client; nothing is asked of the server yet. Whoever connects closes it.

    Parameters
    ----------
    connect : ``kubeconfig``: as kubectl does; ``in_cluster``: as the pod's account
    kubeconfig : a file; empty: ``KUBECONFIG`` of ``environ``, else ~/.kube/config
    context : of the kubeconfig; empty: its current one
    timeout_s : until a connection stands (at most 10 s), and between two pieces of an answer
    retry : how often, and how long
    folder : where a pod's ``token`` and ``ca.crt`` are
    environ : where a pod's KUBERNETES_SERVICE_HOST and _PORT are, and KUBECONFIG

    Raises
    ------
    ConfigError
        The files are not there or say something else; an exec plugin gave nothing.
    """
    if connect == "in_cluster":
        load, who = _account(folder, environ), "the pod's service account"
    else:
        path = kubeconfig or environ.get("KUBECONFIG", "") or "~/.kube/config"
        load, who = _file(path, context), f"{_named(context)} of {path}"
    wire = Wire(lambda: _opened(load), who=who, timeout_s=timeout_s, retry=retry or RetryParams())
    return Kube(wire)


def _named(context: str) -> str:
    return f"context {context}" if context else "the current context"


def _opened(load: Callable[[Any], None]) -> Any:
    """An ApiClient with a configuration of its own."""
    from kubernetes.client import ApiClient, Configuration

    config = Configuration()
    load(config)
    config.retries = False  # ours: what may be repeated is known one level up
    api = ApiClient(config)
    api.user_agent = "foretide"
    return api


def _account(folder: Path, environ: Mapping[str, str]) -> Callable[[Any], None]:
    def load(config: Any) -> None:
        from kubernetes.config import ConfigException
        from kubernetes.config.incluster_config import InClusterConfigLoader

        loader = InClusterConfigLoader(
            token_filename=str(folder / "token"),
            cert_filename=str(folder / "ca.crt"),
            environ=environ,
        )
        try:
            loader.load_and_set(config)
        except (ConfigException, OSError) as error:
            raise ConfigError(
                f"in_cluster: {_line(error)} Expected a pod with a service account's token in "
                f"{folder}; set cluster.connect to kubeconfig outside of a cluster"
            ) from None
        _trim(config)

    return load


def _file(path: str, context: str) -> Callable[[Any], None]:
    def load(config: Any) -> None:
        import yaml
        from kubernetes.config import ConfigException
        from kubernetes.config.kube_config import load_kube_config

        if not any(Path(part).expanduser().exists() for part in path.split(os.pathsep) if part):
            raise ConfigError(f"kubeconfig {path}: no such file; set cluster.kubeconfig")
        with _plugin_words() as said:
            try:
                load_kube_config(
                    config_file=path,
                    context=context or None,
                    client_configuration=config,
                    persist_config=False,
                )
            except (ConfigException, OSError, yaml.YAMLError, ValueError) as error:
                raise ConfigError(f"kubeconfig {path}: {_line(error)}") from None
            except (TypeError, AttributeError, KeyError):
                raise ConfigError(f"kubeconfig {path}: this is not a kubeconfig") from None
        if said:
            raise ConfigError(f"kubeconfig {path}: no credentials: {said[0]}")
        _trim(config)

    return load


def _trim(config: Any) -> None:
    """Tokens without the line's end that files have, at first and whenever they are read again."""
    renew = config.refresh_api_key_hook

    def trimmed(given: Any) -> None:
        if renew is not None:
            with _plugin_words() as said:
                renew(given)
            if said:
                raise ClusterForbidden(f"no fresh credentials: {said[0]}")
        given.api_key = {key: value.strip() for key, value in given.api_key.items()}
        given.refresh_api_key_hook = trimmed

    config.refresh_api_key_hook = trimmed
    config.api_key = {key: value.strip() for key, value in config.api_key.items()}


class _Words(logging.Handler):
    """Keeps what the kubeconfig's reader logs about an exec plugin, and shows it to nobody."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.module == "kube_config":
            self.said.append(_line(record.getMessage()))


@contextmanager
def _plugin_words() -> Generator[list[str]]:
    """What the reader says about an exec plugin that failed: it logs that and goes on as nobody."""
    root, words = logging.getLogger(), _Words()
    others = list(root.handlers)

    def hidden(record: logging.LogRecord) -> bool:
        return record.module != "kube_config"

    for handler in others:
        handler.addFilter(hidden)
    root.addHandler(words)
    try:
        yield words.said
    finally:
        root.removeHandler(words)
        for handler in others:
            handler.removeFilter(hidden)


def _line(error: object) -> str:
    """One line of an error's text, without what may be a secret."""
    text = _SECRET.sub("…", " ".join(str(error).split()))
    return text if len(text) <= 300 else text[:299] + "…"
