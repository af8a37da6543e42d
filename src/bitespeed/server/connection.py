"""One HTTP/1.1 connection: uvicorn's, changed where that is too strict, too lax or too abrupt."""

import asyncio
import math
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from bitespeed.api.calls import Backend
from bitespeed.api.http import declared_length, error_reply
from bitespeed.api.operations import IDENTIFY
from bitespeed.errors import BitespeedError, InvalidInput, Overloaded
from bitespeed.server.exchange import Exchange
from bitespeed.telemetry import metrics
from bitespeed.telemetry.requests import HEADER, Request

MAX_HEAD = 64 * 1024  # bytes of a request's head; eight times what browsers and proxies send
MAX_HEADERS = 100  # lines of the head; clients and proxies together send about 30
CLIENT_TIMEOUT = 20.0  # seconds for the head to arrive, for the body, and for the client to read
MAX_CONNECTIONS = 4000  # of a process; each may hold a body of the largest size
IDLE_TIMEOUT = 75.0  # seconds between requests; longer than the 60 of common load balancers
ROOM = 0.05  # share of the connections that are closed together when the process is full
SHUTDOWN_DELAY = 1.0  # seconds in which requests that were on their way at a shutdown arrive

NO_HTTP = "This is not a valid HTTP request"

assert IDENTIFY.scope is not None  # noqa: S101 - anybody else could write
_SCOPE = IDENTIFY.scope


class Connection(HttpToolsProtocol):
    """A connection to one client.

    It answers requests that are under way at a shutdown, ignores offers to upgrade, and limits how
    much a client may send, how long it may take, and how many clients there may be.
    """

    _is_closing = False  # after the next response
    _is_receiving = False  # a request has begun and is not complete
    _answering: RequestResponseCycle | None = None  # through ASGI
    _without_progress = 0  # bytes received since the last complete head or piece of a body

    def __init__(
        self,
        *args: Any,
        timeout: float = CLIENT_TIMEOUT,
        limit: int = MAX_CONNECTIONS,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._timeout = timeout
        self._limit = limit
        self.deadline = math.inf
        """When to close the connection if the client has not acted, on the loop's clock."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - uvicorn's
        """Wait for a request, if there is room for one more connection; else refuse with 503."""
        is_full = len(self.connections) >= self._limit and not self._make_room()
        super().connection_made(transport)
        self.deadline = self.loop.time() + self._timeout
        if is_full:
            self._refuse(Overloaded("Too many connections; try again in a moment"))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """Mark the request being answered as disconnected, also when it is not the last of several
        pipelined requests, which is the only one that uvicorn marks.
        """
        if self._answering is not None:
            self._answering.disconnected = True
        super().connection_lost(exc)

    def _make_room(self) -> bool:
        """Close some connections whose clients have not sent a whole request: those that never sent
        one first, and of these the oldest. Return whether there were any.
        """
        others = cast("set[Connection]", self.connections)
        waiting = [other for other in others if other.is_waiting]
        waiting.sort(key=lambda other: (other.has_requested, other.deadline))
        for other in waiting[: math.ceil(ROOM * self._limit)]:
            other.transport.abort()
            self.connections.discard(other)
        return bool(waiting)

    @property
    def has_requested(self) -> bool:
        """Whether the client has ever sent the head of a request."""
        return cast("RequestResponseCycle | None", self.cycle) is not None

    @property
    def is_waiting(self) -> bool:
        """Whether the client has to act: to send a request, or the rest of one."""
        return self._is_receiving or self._is_its_turn()

    def close_if_overdue(self, now: float) -> None:
        """Close the connection if the client has not acted by the deadline."""
        if now < self.deadline:
            return
        if self.flow.write_paused:
            self.transport.abort()  # the client does not read the rest of the response
        else:
            self.transport.close()

    def is_in_use(self, since: float) -> bool:
        """Whether a request was answered since then, or is being answered, and more may come."""
        if self._is_closing or not self.has_requested:
            return False
        return not self._is_its_turn() or self.deadline >= since + IDLE_TIMEOUT

    def close_after_response(self) -> None:
        """Close the connection after the next response, which says so to the client."""
        self._is_closing = True

    def pause_writing(self) -> None:
        """Stop the clock for idle clients: this one reads its response slowly."""
        super().pause_writing()
        self.deadline = self.loop.time() + self._timeout

    def resume_writing(self) -> None:
        """Wait for the next request: the client has read enough of the response."""
        super().resume_writing()
        self.deadline = self.loop.time() + IDLE_TIMEOUT

    def on_message_begin(self) -> None:
        """Start the clock for the head of a request."""
        super().on_message_begin()
        self._is_receiving = True
        self.deadline = self.loop.time() + self._timeout

    def on_response_complete(self) -> None:
        """Answer the next pipelined request, or wait for one.

        As in uvicorn, but without a timer for each request.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if not self._is_receiving and not self.flow.write_paused:
            self.deadline = self.loop.time() + IDLE_TIMEOUT
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def shutdown(self) -> None:
        """Answer requests that have arrived, even unread, and close after the response.

        uvicorn would close the connection at once when no request is being answered.
        """
        self.close_after_response()
        self.loop.call_later(SHUTDOWN_DELAY, super().shutdown)

    def data_received(self, data: bytes) -> None:
        """Parse the bytes. Refuse them with 400 if they are not HTTP, or too long a head."""
        self._without_progress += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._ignore_upgrade(data[offer.args[0] :])
        except httptools.HttpParserCallbackError as error:
            refusal = error.__context__
            if isinstance(refusal, httptools.HttpParserInvalidURLError):
                refusal = InvalidInput(NO_HTTP)
            if not isinstance(refusal, InvalidInput):
                raise
            self._refuse(refusal)
            return
        except httptools.HttpParserError:
            self.send_400_response(NO_HTTP)
            return
        if self._without_progress > MAX_HEAD:
            self.send_400_response(f"The head of a request may have at most {MAX_HEAD} bytes")

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Go on as if the client had not offered to upgrade, as a server may (RFC 9110, 7.8).

        The parser stops before the body of such a request. So a new one gets the head without the
        offer, and then the rest.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("This server is no proxy")
            return
        head = [b"%s %s HTTP/%s" % (method, self.url, self.parser.get_http_version().encode())]
        head += [
            b"%s: %s" % (name, value)
            for name, value in self.headers
            if name not in {b"upgrade", b"connection", b"http2-settings"}
        ]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*head, b"", rest]))

    def on_headers_complete(self) -> None:
        """Begin to answer; for the last time if the connection is closing."""
        self._without_progress = 0
        self.deadline = self.loop.time() + self._timeout
        if len(self.headers) > MAX_HEADERS:
            raise InvalidInput(f"A request may have at most {MAX_HEADERS} headers")
        if self.parser.should_upgrade():
            return
        exchange = self._exchange()
        if exchange is None:
            super().on_headers_complete()
        else:
            self.cycle = cast("RequestResponseCycle", exchange)
        if self._is_closing:
            self.cycle.keep_alive = False

    def _exchange(self) -> Exchange | None:
        """An exchange that answers the request without ASGI; None where it must go through ASGI."""
        if (
            self.url != b"/identify"
            or self.parser.get_method() != b"POST"
            or not self._is_its_turn()
            or self.expect_100_continue
            or self.flow.write_paused
        ):
            return None
        headers = dict(self.headers)
        if declared_length(headers) > IDENTIFY.max_body:
            return None
        backend: Backend | None = getattr(cast("object", self.app), "backend", None)
        caller = backend and backend.access.admit_at_once(headers, _SCOPE)
        if backend is None or caller is None:
            return None
        # A client of HTTP/1.0 keeps the connection only where the response says so; ours do not.
        is_old = self.parser.get_http_version() == "1.0"
        keep_alive = not is_old and self.parser.should_keep_alive()
        return Exchange(self, backend, caller, headers, keep_alive=keep_alive)

    def _is_its_turn(self) -> bool:
        """Whether all requests so far have been answered."""
        last = cast("RequestResponseCycle | None", self.cycle)
        return last is None or last.response_complete

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body on."""
        self._without_progress = 0
        if isinstance(cycle := cast("object", self.cycle), Exchange):
            cycle.add_to_body(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Answer the request, which is complete."""
        self._without_progress = 0
        if self.parser.should_upgrade():
            return
        self._is_receiving = False
        self.deadline = math.inf
        if isinstance(cycle := cast("object", self.cycle), Exchange):
            cycle.submit()
        else:
            super().on_message_complete()
            if self._is_its_turn():  # its head was enough to refuse it
                self.deadline = self.loop.time() + IDLE_TIMEOUT

    def send_400_response(self, msg: str) -> None:
        """Refuse with 400 and a body like that of any other error, and close."""
        self._refuse(InvalidInput(msg))

    def _refuse(self, error: BitespeedError) -> None:
        request = Request({})
        status, body, headers = error_reply(error, request)
        request.answered(metrics.OTHER, status)
        head = [STATUS_LINE[status], b"connection: close\r\n", HEADER, b": ", request.id, b"\r\n"]
        for name, value in (*headers, (b"content-length", b"%d" % len(body))):
            head += name, b": ", value, b"\r\n"
        self.transport.write(b"".join([*head, b"\r\n", body]))
        self.transport.close()
