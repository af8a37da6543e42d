"""Takes whatever is posted, as an OpenTelemetry collector and as Sentry, and keeps it."""

import gzip
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

TIMEOUT = 15.0  # seconds until what must come has come, on a busy machine
POLL_INTERVAL = 0.02  # seconds between two polls


class Posted(NamedTuple):
    """One request; its body as it was before it was compressed."""

    path: str
    headers: str
    body: bytes


class Receiver:
    """``port`` is where it listens."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.posted: list[Posted] = []
        self.hung = Event()
        """Set when somebody waits for an answer that does not come."""

    @property
    def otlp(self) -> str:
        """The base address of the collector."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def dsn(self) -> str:
        """The address of a project at Sentry."""
        return f"http://key@127.0.0.1:{self.port}/1"

    def spans(self) -> list[Span]:
        """All spans that have come, decoded as a collector does."""
        return [
            span
            for posted in self.posted
            if posted.path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(posted.body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def errors(self) -> list[dict[str, Any]]:
        """All events that have come, taken from their envelopes."""
        found = []
        for posted in self.posted:
            if posted.path == "/api/1/envelope/":
                _, head, *rest = posted.body.split(b"\n")
                assert json.loads(head)["type"] == "event"
                found.append(json.loads(rest[0]))
        return found

    def wait(self, come: Callable[[], bool]) -> None:
        """Return when it has come."""
        deadline = time.monotonic() + TIMEOUT
        while not come():
            assert time.monotonic() < deadline, self.posted
            time.sleep(POLL_INTERVAL)


@contextmanager
def receiver(*, hangs: bool = False) -> Iterator[Receiver]:
    """A receiver; one that hangs takes what is posted and never answers."""
    over = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if hangs:
                received.hung.set()
                over.wait()
                return
            if self.headers["content-encoding"] == "gzip":
                body = gzip.decompress(body)
            received.posted.append(Posted(self.path, str(self.headers), body))
            is_otlp = self.path == "/v1/traces"
            answer = ExportTraceServiceResponse().SerializeToString() if is_otlp else b"{}"
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    received = Receiver(server.server_port)
    thread = Thread(target=server.serve_forever, args=[POLL_INTERVAL])
    thread.start()
    try:
        yield received
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()
