"""A Dask cluster for the shards of a run: found or made, and looked at before it gets work."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from pipelines.errors import ConfigError
from pipelines.spreading import Where, sees, signed

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["check_workers", "cluster_at", "connected", "is_killed", "unlike_versions"]

_CONNECT_S = 30.0
_WORKERS_S = 120.0
"""For a first worker to come, or for one to come back when all are gone."""
_NEVER = "10000 h"
"""A local cluster gives a worker up for good that is away so long after it was once killed, also
where it had come back in between and was killed again: its nanny starts it anew in any case."""
_ALIKE = (
    "foretide", "numba", "numpy", "pandas", "prefect", "pyarrow", "scikit-learn", "scipy",
    "statsmodels",
)  # fmt: skip
"""Packages that figures, tables and what is sent around depend on."""


@contextmanager
def cluster_at(address: str, workers: int) -> Generator[str]:
    """The address of a scheduler: as given, or that of a local cluster, gone afterwards.

    Its workers are processes of one thread without a limit of memory: a worker that pauses because
    it has much in memory would wait for ever.
    """
    if address:
        yield address
        return
    from dask import config
    from distributed import LocalCluster

    knobs = {
        "distributed.scheduler.no-workers-timeout": f"{_WORKERS_S:g}s",
        "distributed.deploy.lost-worker-timeout": _NEVER,
    }
    with (
        _quiet(),
        tempfile.TemporaryDirectory(prefix="foretide-dask-", ignore_cleanup_errors=True) as folder,
        config.set(knobs),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=None,
            dashboard_address="127.0.0.1:0",  # of its HTTP server: its default port may be taken
            scheduler_kwargs={"dashboard": False},
            local_directory=folder,
            silence_logs=logging.ERROR,
        ) as cluster,
    ):
        yield str(cast("Any", cluster).scheduler_address)


@contextmanager
def _quiet() -> Generator[None]:
    """The scheduler and the nannies tell of every connection, where Prefect shows all logs."""
    log = logging.getLogger("distributed")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


@contextmanager
def connected(address: str, timeout_s: float = _CONNECT_S) -> Generator[Client]:
    """A client of a scheduler.

    Raises
    ------
    ConfigError
        Nobody answers there, or it is no address.
    """
    from distributed import Client

    try:
        client = Client(address, timeout=timeout_s, set_as_default=False)
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"shards.dask_address: no Dask scheduler at {address}: {why}") from error
    with client:
        yield client


def check_workers(address: str, where: Where) -> None:
    """Whether there are workers, of the same versions, that see what this process sees.

    Raises
    ------
    ConfigError
        Which do not, and what to do.
    """
    with connected(address) as client, signed(where) as sign:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_S)
        except TimeoutError:
            raise ConfigError(
                f"shards.dask_address: {address} has no worker, after {_WORKERS_S:g} s; start some "
                f"with `dask worker {address} --nthreads 1`"
            ) from None
        if unlike := unlike_versions(client):
            raise ConfigError(f"{unlike}; install the same release everywhere")
        found = cast("Mapping[str, str]", client.run(sees, where, sign))
        if wrong := {worker: what for worker, what in found.items() if what}:
            worker, what = next(iter(sorted(wrong.items())))
            raise ConfigError(f"{len(wrong)} of {len(found)} Dask workers: {worker} {what}")


def unlike_versions(client: Client) -> str:
    """Packages of which workers have other versions than this process, in words; empty: none."""
    told = cast("Mapping[str, Any]", client.get_versions(packages=list(_ALIKE)))
    own = _versions(told["client"])
    names = ("python", "dask", "distributed", *_ALIKE)
    wrong = {
        f"{name} {theirs.get(name)} on {worker}, here {own.get(name)}"
        for worker, versions in told["workers"].items()
        for theirs in (_versions(versions),)
        for name in names
        if theirs.get(name) != own.get(name)
    }
    if not wrong:
        return ""
    return f"{len(wrong)} differences of versions on Dask workers: {', '.join(sorted(wrong)[:5])}"


def is_killed(error: object) -> bool:
    """Whether a shard's workers were killed, by it or by another shard that was with it; of a pool
    of processes one death loses the shards of all.
    """
    return type(error).__name__ in {"KilledWorker", "BrokenProcessPool"}


def _versions(told: Mapping[str, Any]) -> Mapping[str, str | None]:
    return told["packages"]
