"""Spans to an OpenTelemetry collector, where one is configured.

A request with a ``traceparent`` is a span of its caller's trace. A batch has many callers, so it is
a trace of its own, with links to the spans of its requests.
"""

import os
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

from bitespeed.extras import extra

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

CLOSE_TIMEOUT = 2.0  # seconds to send the remaining spans when the process ends
SEND_TIMEOUT = 5  # seconds for the collector to accept a batch of spans

_provider: "TracerProvider | None" = None
_tracer: "Tracer | None" = None


def open_(endpoint: str) -> None:
    """Start a thread that sends spans, from a queue of 2,048. Raises `InvalidInput`.

    The SDK's own variables apply (``OTEL_SERVICE_NAME``, ``OTEL_TRACES_SAMPLER`` ...).
    """
    global _provider, _tracer
    with extra("otel"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    os.environ.setdefault("OTEL_SERVICE_NAME", "bitespeed-identity")
    _provider = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=SEND_TIMEOUT)
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = _provider.get_tracer("bitespeed")


def is_on() -> bool:
    """Whether spans are sent."""
    return _tracer is not None


def request(traceparent: bytes) -> "Span | None":
    """A new span for a request, in its caller's trace; None when spans are not sent."""
    if _tracer is None:
        return None
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {"traceparent": traceparent.decode("latin-1")}
    caller = TraceContextTextMapPropagator().extract(carrier)
    return _tracer.start_span("request", caller, SpanKind.SERVER)


def answered(span: "Span", endpoint: str, status: int) -> None:
    """End the span of a request."""
    span.update_name(endpoint)
    span.set_attribute("http.response.status_code", status)
    span.end()


@contextmanager
def batch(
    spans: "Iterable[Span | None]", came: float, lookup_began: float | None
) -> Generator[None]:
    """A span for a batch, with spans inside it for the stages that are already over."""
    assert _tracer is not None  # noqa: S101 - called only when tracing is on
    from opentelemetry import context, trace

    links = [trace.Link(span.get_span_context()) for span in spans if span is not None]
    now, clock = time.time_ns(), time.monotonic()

    def at(instant: float) -> int:
        return now - int((clock - instant) * 1e9)

    begun = at(came)
    span = _tracer.start_span("batch", links=links, start_time=begun)
    token = context.attach(trace.set_span_in_context(span))
    try:
        gathered = now if lookup_began is None else at(lookup_began)
        _tracer.start_span("gather", start_time=begun).end(gathered)
        if lookup_began is not None:
            _tracer.start_span("cache", start_time=gathered).end(now)
        yield
    finally:
        context.detach(token)
        span.end()


def begin(stage: str) -> "Span | None":
    """A span for a stage of the current batch; None when spans are not sent."""
    return None if _tracer is None else _tracer.start_span(stage)


def end(span: "Span", error: type[BaseException] | None) -> None:
    """End the span, with the type of the error if there was one."""
    if error is not None:
        span.set_attribute("error.type", error.__name__)
    span.end()


def close() -> None:
    """Send the remaining spans, for `CLOSE_TIMEOUT` seconds at most."""
    if _provider is not None:
        last = Thread(target=_provider.shutdown, daemon=True)  # it may take far longer
        last.start()
        last.join(CLOSE_TIMEOUT)
