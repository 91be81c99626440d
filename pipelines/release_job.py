"""The release CronJob: what gives back while no apply runs. Is it there, and does it succeed?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from pipelines.adapters.kube import Kind, Kube
from pipelines.errors import ClusterError
from pipelines.rungs.reading import Object, dig, meta, text

__all__ = ["CRON_JOB", "RELEASE_LABEL", "ReleaseJob", "release_job"]

CRON_JOB: Final = Kind("batch", "v1", "cronjobs", "CronJob")
RELEASE_LABEL: Final = "app.kubernetes.io/name=foretide-release"
_DEPLOY = "install it before anything may act: kubectl apply -k config/deploy"
_LOOK = "look at its pods' logs: `foretide release --expired` has to succeed there"


@dataclass(frozen=True, slots=True)
class ReleaseJob:
    """``runs``: whether it gives back; None where nobody knows."""

    runs: bool | None
    detail: str
    remedy: str = ""


def release_job(kube: Kube, namespace: str, now: pd.Timestamp, ttl: pd.Timedelta) -> ReleaseJob:
    """The job in a namespace; one that did not succeed within ``ttl`` does not run."""
    try:
        if not kube.serves(CRON_JOB):
            return ReleaseJob(None, "the cluster serves no CronJobs", _DEPLOY)
        jobs = list(kube.list(CRON_JOB, namespace, RELEASE_LABEL))
    except ClusterError as error:
        remedy = "let this account list cronjobs.batch there"
        return ReleaseJob(None, f"the release CronJob cannot be read: {error}", remedy)
    if not jobs:
        return ReleaseJob(
            False, f"no CronJob in namespace {namespace} is labelled {RELEASE_LABEL}", _DEPLOY
        )
    if all(_suspended(job) for job in jobs):
        return ReleaseJob(False, "the release CronJob is suspended", "resume it")
    active = [job for job in jobs if not _suspended(job)]
    ends = [at for job in active if (at := _succeeded(job)) is not None]
    name = f"CronJob {meta(active[0], 'namespace')}/{meta(active[0], 'name')}"
    if not ends:
        return ReleaseJob(False, f"{name} has not succeeded yet", _LOOK)
    if now - max(ends) > ttl:
        detail = f"{name} succeeded last at {max(ends):%Y-%m-%d %H:%M} UTC"
        return ReleaseJob(False, detail, _LOOK)
    return ReleaseJob(True, f"{name} succeeded at {max(ends):%Y-%m-%d %H:%M} UTC")


def _suspended(job: Object) -> bool:
    return dig(job, "spec", "suspend") is True


def _succeeded(job: Object) -> pd.Timestamp | None:
    at: Any = pd.to_datetime(text(job, "status", "lastSuccessfulTime"), utc=True, errors="coerce")
    return at if isinstance(at, pd.Timestamp) else None
