"""Where ``make up`` listens: on this machine alone."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.errors import ForetideError

__all__ = ["HOST", "Ports"]

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where to listen; 0 takes the last one, or the usual one, or any that is free."""

    prefect: int = 0
    mlflow: int = 0
    worker: int = 0

    def of(self, name: str, before: Mapping[str, int]) -> int:
        """A port to listen on.

        Raises
        ------
        ForetideError
            The one that was asked for is taken.
        """
        asked: int = getattr(self, name)
        if asked:
            if not _is_free(asked):
                raise ForetideError(f"port {asked} is taken; give --{name}-port another one")
            return asked
        usual = {"prefect": 4200, "mlflow": 5000, "worker": 8080}[name]
        wanted = (before.get(name, usual), usual)
        return next((p for p in wanted if _is_free(p)), 0) or _any_port()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
