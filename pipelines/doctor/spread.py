"""Whether the Dask cluster that shards are sent to is there, and is of the same release."""

from __future__ import annotations

from typing import cast

from pipelines.dask_clusters import connected, unlike_versions
from pipelines.doctor.check import Check
from pipelines.errors import ConfigError
from pipelines.settings import ShardSettings

__all__ = ["check_dask"]


def check_dask(shards: ShardSettings, timeout_s: float = 5.0) -> Check | None:
    """Nothing to check where shards stay on this machine."""
    if shards.backend != "dask" or not shards.dask_address:
        return None
    try:
        with connected(shards.dask_address, timeout_s) as client:
            threads = cast("dict[str, int]", client.nthreads())
            unlike = unlike_versions(client)
    except ConfigError as error:
        remedy = "start the scheduler, or correct shards.dask_address"
        return Check("dask", "fail", str(error), remedy)
    if not threads:
        detail = f"{shards.dask_address} has no worker"
        remedy = f"start some: `dask worker {shards.dask_address} --nthreads 1`"
        return Check("dask", "fail", detail, remedy)
    if unlike:
        return Check("dask", "fail", unlike, "install the same release everywhere")
    detail = (
        f"{shards.dask_address}: {len(threads)} workers, {sum(threads.values())} shards at once"
    )
    return Check("dask", "ok", detail)
