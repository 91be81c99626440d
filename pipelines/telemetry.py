"""OpenTelemetry traces: a span a run, one a task (a shard) below it; and whose log a line is.

Spans are kept until a run ends and sent at once, over OTLP/HTTP, where ``watch.otlp_endpoint`` or
``OTEL_EXPORTER_OTLP_ENDPOINT`` names a collector; a collector that does not answer costs the run
its patience (``watch.otlp_timeout_s``) and nothing else. In a Prefect flow run the trace's id is
that of the flow run.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from uuid import UUID

from pipelines.errors import ForetideError
from pipelines.logs import Whose, as_json, whose
from pipelines.settings import load_settings
from pipelines.settings_watch import WatchSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.trace import Span, Tracer

__all__ = ["RunTrace", "carried", "carrier", "collector", "run_trace", "send", "traced"]

P = ParamSpec("P")
R = TypeVar("R")
_log = logging.getLogger(__name__)
_told = logging.getLogger("foretide")
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_PATH = "/v1/traces"


@dataclass(slots=True)
class RunTrace:
    """The trace of the run that is going on; without a tracer it says nothing.

    ``tracer`` and ``span`` are of this run, ``kept`` its spans that have ended.
    """

    verb: str
    watch: WatchSettings = field(default_factory=WatchSettings)
    tracer: Tracer | None = None
    span: Span | None = None
    kept: list[ReadableSpan] = field(default_factory=list["ReadableSpan"])
    trace_id: str = ""

    def ended(self, facts: Mapping[str, str | int]) -> None:
        """What the run came to; said as a line too where logs are JSON."""
        if self.watch.log_format == "json":
            _told.info("%s", " ".join(f"{k}={v}" for k, v in facts.items()))
        if self.span is not None:
            self.span.set_attributes({f"foretide.{k}": v for k, v in facts.items()})

    def broke(self, text: str) -> None:
        """Why the run failed; said as a line too where logs are JSON."""
        if self.watch.log_format == "json":
            _told.error("%s", text)
        from opentelemetry.trace import Status, StatusCode

        if self.span is not None:
            self.span.set_status(Status(StatusCode.ERROR, text))


_turn = threading.Lock()
_running: list[RunTrace] = []
"""The runs of this process, the newest last: tasks on its threads belong to that one."""


def collector(watch: WatchSettings) -> str:
    """The address that traces go to; empty where nobody named one."""
    if not watch.otlp_endpoint and (whole := os.environ.get(_TRACES)):
        return whole
    base = (watch.otlp_endpoint or os.environ.get(_ENDPOINT, "")).rstrip("/")
    return base if not base or base.endswith(_PATH) else base + _PATH


@contextmanager
def run_trace(
    verb: str, config: str | None, run_id: Callable[[], str] = str
) -> Generator[RunTrace]:
    """The span of one run, sent when it is over; its logs say whose they are.

    ``run_id`` is asked only where somebody will see it.
    """
    trace = RunTrace(verb, _watch(config))
    if trace.watch.log_format == "json":
        as_json()
    address = collector(trace.watch)
    if not address and trace.watch.log_format == "text":
        yield trace
        return
    name = _quietly(run_id)
    if address:
        _begin(trace, name)
    with _turn:
        _running.append(trace)
    try:
        with whose(Whose(verb, name, trace.trace_id)):
            yield trace
    finally:
        with _turn:
            _running.remove(trace)
        if trace.span is not None:
            trace.span.end()
            send(trace.kept, trace.watch)


def traced(function: Callable[P, R]) -> Callable[P, R]:
    """A span for each call of a task, below its run's; put between ``@task`` and the function.

    In another process than its run's it works inside ``carried``.
    """

    @functools.wraps(function)
    def observed(*args: P.args, **kwargs: P.kwargs) -> R:
        return _observed(function, args, kwargs)

    return observed


def _observed(function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
    # no part of the closure above: a task's function travels to other machines by value
    with _turn:
        trace = _running[-1] if _running else None
    if trace is None or trace.tracer is None or trace.span is None:
        return function(*args, **kwargs)
    from opentelemetry.trace import set_span_in_context

    parent = set_span_in_context(trace.span)
    with trace.tracer.start_as_current_span(function.__name__, parent) as span:
        shard = next((s for a in args if (s := _shard(a)) is not None), None)
        span.set_attribute("foretide.verb", trace.verb)
        if shard is not None:
            span.set_attribute("foretide.shard", shard)
        result = function(*args, **kwargs)
        span.set_attributes(_counts(result))
        return result


def carrier() -> str:
    """The run that is going on, for a task that is sent to another process; empty for no trace."""
    with _turn:
        trace = _running[-1] if _running else None
    if trace is None or trace.span is None:
        return ""
    at = trace.span.get_span_context()
    return f"{trace.verb} {at.trace_id:032x} {at.span_id:016x}"


@contextmanager
def carried(text: str, config: str | None) -> Generator[None]:
    """In another process: spans meanwhile belong to the run of a ``carrier``, and are then sent."""
    watch = _watch(config)
    if watch.log_format == "json":
        as_json()
    if not text or not collector(watch):
        yield
        return
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

    verb, trace_id, span_id = text.split()
    sampled = TraceFlags(TraceFlags.SAMPLED)
    context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=sampled)
    trace = RunTrace(verb, watch, span=NonRecordingSpan(context), trace_id=trace_id)
    trace.tracer = _provider(trace.kept, None).get_tracer("foretide")
    with _turn:
        _running.append(trace)
    try:
        with whose(Whose(verb, "", trace_id)):
            yield
    finally:
        with _turn:
            _running.remove(trace)
        send(trace.kept, watch)


def send(spans: list[ReadableSpan], watch: WatchSettings) -> bool:
    """Send what has ended; whether the collector took it. It never raises."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    headers = {name: value.get_secret_value() for name, value in watch.otlp_headers.items()}
    chatty = logging.getLogger("opentelemetry")
    level = chatty.level
    chatty.setLevel(logging.CRITICAL)  # it is said once, below
    began = time.monotonic()
    try:
        out = OTLPSpanExporter(collector(watch), headers=headers, timeout=watch.otlp_timeout_s)
        taken = out.export(spans) is SpanExportResult.SUCCESS
        out.shutdown()
    except Exception as error:  # noqa: BLE001 - a trace is worth no run
        _log.debug("traces were not sent", exc_info=error)
        taken = False
    finally:
        chatty.setLevel(level)
    if not taken:
        _log.warning(
            "%d spans were not taken by %s within %.1f s: is a collector there?",
            len(spans), collector(watch).split("@")[-1], time.monotonic() - began,
        )  # fmt: skip
    return taken


def _watch(config: str | None) -> WatchSettings:
    """Nothing is watched where the configuration is wrong: the run itself says that it is."""
    try:
        return load_settings(config).watch
    except ForetideError:
        return WatchSettings()


def _quietly(run_id: Callable[[], str]) -> str:
    try:
        return run_id()
    except (ForetideError, OSError):
        return ""


def _begin(trace: RunTrace, run_id: str) -> None:
    """Start the run's span: in a Prefect flow run, with ids that can be told from its name."""
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    known = _flow_run_ids()
    random = RandomIdGenerator()
    ids = known or (random.generate_trace_id(), random.generate_span_id())
    trace.tracer = _provider(trace.kept, ids).get_tracer("foretide")
    trace.span = trace.tracer.start_span(
        f"foretide {trace.verb}", attributes={"foretide.verb": trace.verb}
    )
    if run_id:
        trace.span.set_attribute("foretide.run_id", run_id)
    trace.trace_id = f"{ids[0]:032x}"


def _flow_run_ids() -> tuple[int, int] | None:
    """Trace and span of the flow run that this code is part of; nothing outside Prefect."""
    from prefect.runtime import flow_run

    name: Any = flow_run.id
    if not name:
        return None
    digest = hashlib.sha256(str(name).encode()).digest()
    return UUID(str(name)).int, int.from_bytes(digest[:8], "big")


def _provider(kept: list[ReadableSpan], ids: tuple[int, int] | None) -> TracerProvider:
    """Spans go to ``kept``; the first one gets the given ids."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Keep(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            kept.append(span)

    class Ids(RandomIdGenerator):
        first = ids

        def generate_trace_id(self) -> int:
            return super().generate_trace_id() if ids is None else ids[0]

        def generate_span_id(self) -> int:
            given, self.first = self.first, None
            return super().generate_span_id() if given is None else given[1]

    resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "foretide")})
    provider = TracerProvider(id_generator=Ids(), resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(Keep())
    return provider


def _shard(argument: Any) -> int | None:
    """Which shard a task's argument is: a ``RunRef``, or what holds one as ``run``."""
    shard = getattr(getattr(argument, "run", argument), "shard", None)
    return shard if isinstance(shard, int) else None


def _counts(result: Any) -> dict[str, int]:
    """What a shard did and left out, as far as it says."""
    done, skipped = getattr(result, "series", None), getattr(result, "skipped", None)
    found: dict[str, int] = {}
    if isinstance(done, int):
        found["foretide.done"] = done
    if isinstance(skipped, Mapping):
        found["foretide.skipped"] = sum(int(n) for n in skipped.values())
    return found
