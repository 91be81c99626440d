"""All checks in the order in which the steps need things.

Nothing is changed: no store is made, no database migrated, and no query reaches back further
than minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import httpx
import pandas as pd

from features.frames import CAPACITY, FORECASTS, SCORES
from features.metrics import Catalog
from features.silences import Silence, silence_notes
from pipelines.adapters.store import Store
from pipelines.clusters import Reach
from pipelines.doctor.check import Check
from pipelines.doctor.cluster import check_cluster
from pipelines.doctor.network import check_http
from pipelines.doctor.notify import check_channels
from pipelines.doctor.origin import check_origin
from pipelines.doctor.own import check_own
from pipelines.doctor.spread import check_dask
from pipelines.doctor.state import check_models, check_samples, check_store, check_table
from pipelines.doctor.watching import check_watching
from pipelines.errors import ConfigError, StoreError
from pipelines.run import Run, RunRef
from pipelines.settings import Settings, SourceSettings, load_settings

__all__ = ["examine"]

_HEALTH_S = 5.0
_NOT_SETTINGS = frozenset({"FORETIDE_HOME"})
"""Variables of config/prefect.yaml."""


def examine(
    config: str | None,
    out: str | None = None,
    as_of: str | None = None,
    *,
    now: pd.Timestamp,
    environ: Mapping[str, str],
    transport: httpx.BaseTransport | None = None,
) -> Iterator[Check]:
    """All checks, in the order in which the steps need things; each comes as soon as it is known.

    Parameters
    ----------
    config, out, as_of
        As every verb takes them.
    now
        The present: the source's clock is held against it.
    environ
        The environment: ``PREFECT_API_URL``, and the names of ``FORETIDE_…``.
    transport
        What carries HTTP; by default the network.
    """
    try:
        settings = load_settings(config)
        ref = RunRef.resolve(config, None, out, as_of, now)
    except ConfigError as error:
        yield Check("configuration", "fail", str(error), "correct it; nothing else was checked")
        return
    yield check_configuration(config, environ)
    try:
        store = Store(ref.out)
    except StoreError as error:
        yield Check("store", "fail", str(error), "correct store.path; nothing else was checked")
        return
    try:
        run = ref.open()
        yield check_catalog(run.catalog, settings.source)
    except ConfigError as error:
        run = Run(ref, settings, Catalog({}), store)
        yield Check("catalog", "fail", str(error), "correct it; its metrics were not asked")
    if settings.silences:
        yield check_silences(settings.silences, run.as_of)
    yield from check_own(settings)
    yield from check_origin(run, now, transport)
    yield check_store(store)
    yield from _tables(run)
    with httpx.Client(timeout=_HEALTH_S, transport=transport) as client:
        yield from _models(run, client)
        yield check_prefect(client, environ.get("PREFECT_API_URL"))
        yield from check_watching(run, client)
    if (spread := check_dask(settings.shards)) is not None:
        yield spread
    yield from _cluster(settings)
    yield from check_channels(settings.notify, transport)


def check_configuration(config: str | None, environ: Mapping[str, str]) -> Check:
    """Where the settings come from; variables that look like ours and set nothing."""
    ours = sorted(n for n in environ if n.upper().startswith("FORETIDE_"))
    stray = [
        n
        for n in ours
        if n not in _NOT_SETTINGS
        and n.upper().removeprefix("FORETIDE_").split("__")[0].lower() not in Settings.model_fields
    ]
    if stray:
        detail = f"{', '.join(stray)} in the environment sets nothing"
        remedy = "a section and its key have two underscores between them: FORETIDE_SOURCE__URL"
        return Check("configuration", "warn", detail, remedy)
    used = [n for n in ours if n not in _NOT_SETTINGS]
    over = f", with {', '.join(used)} from the environment" if used else ""
    return Check("configuration", "ok", f"{config or 'the defaults'}{over}")


def check_catalog(catalog: Catalog, source: SourceSettings) -> Check:
    """How many of the catalog's metrics can be asked for."""
    askable = [m.name for m in catalog.metrics.values() if m.query]
    detail = (
        f"{source.catalog_name!r} has {len(catalog.metrics)} metrics, {len(askable)} with a query"
    )
    if source.kind == "files":
        return Check("catalog", "ok", detail)
    unknown = [m for m in source.metrics if m not in askable]
    if unknown:
        detail = (
            f"source.metrics names {', '.join(unknown)}, and no query in {source.catalog_name!r}"
        )
        return Check("catalog", "fail", detail, f"it has {', '.join(askable)}")
    if not askable:
        return Check("catalog", "fail", detail, "give its metrics queries")
    return Check("catalog", "ok", detail)


def check_silences(silences: Sequence[Silence], as_of: pd.Timestamp) -> Check:
    """What nobody is told of now, and what was once and is still written down."""
    notes = silence_notes(silences, as_of)
    if not notes:
        return Check("silences", "ok", f"{len(silences)}, none is active")
    return Check("silences", "warn", "; ".join(notes), "take out of silences what is over")


def check_prefect(client: httpx.Client, url: str | None) -> Check:
    """Whether the Prefect server answers, where one is configured."""
    if not url:
        return Check("prefect", "ok", "not used: PREFECT_API_URL is not set")
    return check_http(client, "prefect", url, "PREFECT_API_URL")


def _cluster(settings: Settings) -> Iterator[Check]:
    s = settings.cluster
    name = s.name or settings.source.cluster
    there = Reach(s.connect, name, s.kubeconfig, s.context, s.timeout_s)
    yield from check_cluster(there, settings.prescale.rungs)


def _tables(run: Run) -> Iterator[Check]:
    s = run.settings
    score = pd.Timedelta(s.detect.valid_for_h, "h")
    forecast = pd.Timedelta(s.forecast.valid_for_h, "h")
    yield check_samples(run.store, run.as_of, s.history.days, score)
    yield check_table(run.store, SCORES, run.as_of, score, "score")
    yield check_table(run.store, FORECASTS, run.as_of, forecast, "forecast")
    yield check_table(run.store, CAPACITY, run.as_of, forecast, "forecast")


def _models(run: Run, client: httpx.Client) -> Iterator[Check]:
    uri = run.settings.tracking.uri
    if uri.startswith(("http://", "https://")):
        # MLflow's own client tries for minutes before it gives up.
        reached = check_http(client, "mlflow", uri, "tracking.uri")
        yield reached
        if reached.status == "fail":
            return
    try:
        tracking = run.tracking()
    except ConfigError as error:
        remedy = "set tracking.uri: the address of an MLflow server, or sqlite:///FILE"
        yield Check("models", "fail", str(error), remedy)
        return
    yield from check_models(tracking, run.as_of)
