"""One HTTP/1.1 connection: uvicorn's, changed where that is too strict, too lax or too abrupt."""

import asyncio
import math
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import (
    HttpToolsProtocol,
    RequestResponseCycle,
)

from bitespeed.api.calls import Backend
from bitespeed.api.http import declared_length
from bitespeed.api.operations import IDENTIFY
from bitespeed.errors import BitespeedError, InvalidInput, Overloaded
from bitespeed.server.exchange import Exchange
from bitespeed.server.heads import check_head, expects_continue, with_path, without_offer
from bitespeed.server.reading import MAX_PIPELINED, PIECE, PIPELINED_PIECE, ReadingControl
from bitespeed.server.refusals import NothingMore, reason_of, refusal

MAX_HEAD = 64 * 1024  # bytes of a request's head; eight times what browsers and proxies send
MAX_HEADERS = 100  # lines of the head, and of trailers; clients and proxies together send about 30
CLIENT_TIMEOUT = 20.0  # seconds for the head to arrive, for the body, and for the client to read
MAX_CONNECTIONS = 4000  # of a process; each may hold a body of the largest size
IDLE_TIMEOUT = 75.0  # seconds between requests; longer than the 60 of common load balancers
ROOM = 0.05  # share of the connections that are closed together when the process is full
SHUTDOWN_DELAY = 1.0  # seconds in which requests that were on their way at a shutdown arrive

_TOO_MANY_HEADERS = f"A request may have at most {MAX_HEADERS} headers"

assert IDENTIFY.scope is not None  # noqa: S101 - anybody else could write
_SCOPE = IDENTIFY.scope


class Connection(HttpToolsProtocol):
    """A connection to one client.

    It answers requests that are under way at a shutdown, ignores offers to upgrade, and limits how
    much a client may send, how long it may take, and how many clients there may be.
    """

    _is_closing = False  # after the next response
    _is_ending = False  # nothing more is read; closed once all that was accepted is answered
    _is_half_closed = False  # the client sends nothing more
    _reason: BitespeedError | None = None  # why it ends, which the last response says
    _is_receiving = False  # a request has begun and is not complete
    _has_head = False  # of the request that is received
    _body_left = 0  # bytes of its body that are to come, if it has declared the length
    _trailers = 0  # lines after its body
    _host = b""  # of the last head that was checked, which most heads of a client resemble
    _current: RequestResponseCycle | None = None  # the request that is answered, or was last
    _unparsed = b""  # what came behind too many pipelined requests
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
        self.flow = self._reading = ReadingControl(transport, self.pipeline)
        self.deadline = self.loop.time() + self._timeout
        if is_full:
            self._end(Overloaded("Too many connections; try again in a moment"))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._current = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """Mark the request being answered as disconnected, also when it is not the last of several
        pipelined requests, which is the only one that uvicorn marks.
        """
        if self._current is not None:
            self._current.disconnected = True
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
        return self._is_its_turn() or (self._is_receiving and self.cycle is self._current)

    def close_if_overdue(self, now: float) -> None:
        """Close the connection if the client has not acted by the deadline."""
        if now < self.deadline:
            return
        if self.flow.write_paused or self.transport.is_closing():
            self.transport.abort()  # the client does not read the rest of the response
        elif self.is_waiting:
            self._close()

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
        """Start the clock for the head of a request. Raises `NothingMore` after the last one."""
        last = self.cycle
        # There is none before the first request, whatever uvicorn declares.
        if last is not None and not last.keep_alive:  # pyright: ignore[reportUnnecessaryComparison]
            raise NothingMore
        super().on_message_begin()
        self._is_receiving = True
        self._has_head = False
        self.deadline = self.loop.time() + self._timeout

    def on_response_complete(self) -> None:
        """Answer the next pipelined request, or wait for one.

        As in uvicorn, but without a timer for each request, and reading again only when no request
        waits.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self.deadline = self.loop.time() + self._timeout  # to read the response
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._is_ending:
            self._close()
            return
        elif not self._is_receiving and not self.flow.write_paused:
            self.deadline = self.loop.time() + IDLE_TIMEOUT
        if self.flow.read_paused and not self.pipeline:
            if self._is_receiving:  # what the client has sent since then was not read
                self.deadline = self.loop.time() + self._timeout
            if self._unparsed:
                self._parse_in_pieces()
            self.flow.resume_reading()

    def shutdown(self) -> None:
        """Answer requests that have arrived, even unread, and close after the response.

        uvicorn would close the connection at once when no request is being answered.
        """
        self.close_after_response()
        self.loop.call_later(SHUTDOWN_DELAY, super().shutdown)

    def data_received(self, data: bytes) -> None:
        """Parse the bytes, as far as there is room for the requests in them."""
        if self._is_ending:
            return
        if len(data) <= PIECE and not self._unparsed:
            self._parse(data)
        else:
            self._unparsed += data
            self._parse_in_pieces()

    def eof_received(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride] - uvicorn's
        """Answer what was accepted, then close: a client may say first that it sends no more."""
        self._is_half_closed = True
        if not self._unparsed and not self._is_ending:
            self._end()
        return not self.transport.is_closing()

    def _parse_in_pieces(self) -> None:
        """Parse what is unparsed until enough requests wait. The parser cannot stop between two
        requests, so it gets pieces with few requests in each; the body of one is one piece.
        """
        data, self._unparsed = memoryview(self._unparsed), b""
        start = 0
        while start < len(data) and not self._is_ending:
            if len(self.pipeline) >= MAX_PIPELINED:
                self._unparsed = bytes(data[start:])
                return
            size = PIECE if self._is_its_turn() else PIPELINED_PIECE
            end = start + max(size, self._body_left)
            self._parse(data[start:end])
            start = end
        if self._is_half_closed and not self._is_ending:
            self._end()

    def _parse(self, data: bytes | memoryview) -> None:
        """Parse the bytes. Refuse them with 400 if they are not HTTP, or too long a head."""
        self._without_progress += len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                self._feed_after_offer(data[offer.args[0] :])
        except (httptools.HttpParserError, BitespeedError) as error:
            self._end(reason_of(error))
        else:
            if self._without_progress > MAX_HEAD:
                self._end(InvalidInput(f"The head of a request may have at most {MAX_HEAD} bytes"))

    def _feed_after_offer(self, data: bytes | memoryview) -> None:
        """Go on as if the client had not offered to upgrade, as a server may (RFC 9110, 7.8).

        The parser stops before the body. So a new one gets the head without the offer, then `data`.
        """
        while True:
            method = self.parser.get_method()
            if method == b"CONNECT":
                raise InvalidInput("This server is no proxy")
            head = [b"%s %s HTTP/%s" % (method, self.url, self.parser.get_http_version().encode())]
            head += [b"%s: %s" % line for line in without_offer(self.headers)]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
            self.parser.feed_data(b"\r\n".join([*head, b"", b""]))
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
            else:
                return

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a line of the head. A trailer comes too late for that and is only counted: nobody
        checks keys, lengths or hosts that come after the body (RFC 9110, 6.5.1).
        """
        if not self._has_head:
            self.headers.append((name.lower(), value))
            return
        self._trailers += 1
        if len(self.headers) + self._trailers > MAX_HEADERS:
            raise InvalidInput(_TOO_MANY_HEADERS)

    def on_headers_complete(self) -> None:
        """Begin to answer; for the last time if the connection is closing."""
        self._without_progress = 0
        self.deadline = self.loop.time() + self._timeout
        if len(self.headers) > MAX_HEADERS:
            raise InvalidInput(_TOO_MANY_HEADERS)
        if self.parser.should_upgrade():
            return
        version = self.parser.get_http_version()
        headers = dict(self.headers)
        host = headers.get(b"host")
        if (
            host != self._host
            or version != "1.1"
            or len(headers) < len(self.headers)
            or b"transfer-encoding" in headers
        ):
            check_head(version, headers, self.headers)
            self._host = host or b""
        if b"expect" in headers:
            self.expect_100_continue = expects_continue(version, self.headers)
        self._body_left = declared_length(headers)
        exchange = self._exchange(version, headers)
        if exchange is None:
            if not self.url.startswith(b"/"):
                self.url = with_path(self.url)
            super().on_headers_complete()
        else:
            # It has what uvicorn uses of a cycle.
            self.cycle = self._current = exchange  # pyright: ignore[reportAttributeAccessIssue]
        self._has_head = True
        self._trailers = 0
        if self._is_closing:
            self.cycle.keep_alive = False

    def _exchange(self, version: str, headers: dict[bytes, bytes]) -> Exchange | None:
        """An exchange that answers the request without ASGI; None where it must go through ASGI."""
        if (
            self.url != b"/identify"
            or self.parser.get_method() != b"POST"
            or not self._is_its_turn()
            or self.expect_100_continue
            or self.flow.write_paused
            or self._body_left > IDENTIFY.max_body
        ):
            return None
        backend: Backend | None = getattr(cast("object", self.app), "backend", None)
        caller = backend and backend.access.admit_at_once(headers, _SCOPE)
        if backend is None or caller is None:
            return None
        # A client of HTTP/1.0 keeps the connection only where the response says so; ours do not.
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        return Exchange(self, backend, caller, headers, keep_alive=keep_alive)

    def _is_its_turn(self) -> bool:
        """Whether all requests so far have been answered."""
        return self._current is None or self._current.response_complete

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body on."""
        self._without_progress = 0
        self._body_left -= len(body)
        if isinstance(cycle := self.cycle, Exchange):
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
        if isinstance(cycle := self.cycle, Exchange):
            cycle.submit()
        else:
            super().on_message_complete()
            if self._is_its_turn():  # its head was enough to refuse it
                self.deadline = self.loop.time() + IDLE_TIMEOUT

    def send_400_response(self, msg: str) -> None:
        """Refuse with 400 and a body like that of any other error, and close."""
        self._end(InvalidInput(msg))

    def _end(self, reason: BitespeedError | None = None) -> None:
        """Read no more. Close when all that was accepted is answered; say why last, if anything."""
        if self.transport.is_closing():
            return
        self._is_ending = True
        self._reason = reason
        self._reading.stop_reading()
        if self._is_receiving and self._has_head:
            self._abandon()
        if self._is_its_turn():
            self._close()
        elif reason is None:
            last = self.pipeline[0][0] if self.pipeline else self._current
            cast("RequestResponseCycle", last).keep_alive = False

    def _abandon(self) -> None:
        """Drop the request that was accepted by its head and cannot become complete."""
        cycle = self.cycle
        if cycle.response_started:  # the head was enough to refuse it
            self._reason = None
            cycle.keep_alive = False
            return
        cycle.disconnected = True
        cycle.message_event.set()
        if cycle is self._current:
            self._current = None
        else:
            self.pipeline.popleft()  # the one that came last

    def _close(self) -> None:
        """Close when the client has read everything, which it must in time."""
        if self._reason is not None:
            self.transport.write(refusal(self._reason))
        self.transport.close()
        self.deadline = self.loop.time() + self._timeout
