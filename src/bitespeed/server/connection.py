"""One HTTP/1.1 connection: uvicorn's, where it is too strict, too lax or too abrupt for us."""

import asyncio
import math
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from bitespeed.api.access import SCOPES
from bitespeed.api.asgi import declared_length, refused
from bitespeed.api.endpoints import MAX_BODY, Endpoints
from bitespeed.errors import BitespeedError, InvalidInput, Overloaded
from bitespeed.server.exchange import Exchange
from bitespeed.telemetry import metrics
from bitespeed.telemetry.requests import HEADER, Request

MAX_HEAD = 64 * 1024  # bytes of a request's head; eight times what browsers and proxies send
MAX_HEADERS = 100  # lines of it; what clients and proxies add together are 30 or so
PATIENCE = 20.0  # seconds for a head to come, for a body, and for an answer to be taken
CONNECTIONS = 4000  # of a process; each may hold as much as a body of `MAX_BODY`
IDLE = 75.0  # seconds a connection is kept between requests; load balancers keep it for 60
ROOM = 0.05  # of all connections, that are closed together when there is no room for another
LAST_REQUESTS = 1.0  # seconds in which a request that was on its way at a shutdown is answered

NO_HTTP = "This is not a valid HTTP request"


class Connection(HttpToolsProtocol):
    """Answers what is under way at a shutdown, passes over offers to upgrade, and bounds what a
    caller may send, how long it may take, and how many there may be.
    """

    _is_parting = False
    _is_receiving = False  # the rest of a request
    _answering: RequestResponseCycle | None = None  # by way of ASGI
    _without_progress = 0  # bytes received since a head or a piece of a body was complete

    def __init__(
        self, *args: Any, patience: float = PATIENCE, most: int = CONNECTIONS, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._patience = patience
        self._most = most
        self.late_at = math.inf
        """When the caller has taken too long for what is its turn to do, on the loop's clock."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - uvicorn's
        """Wait for a request, if there is room for one more connection."""
        is_full = len(self.connections) >= self._most and not self._make_room()
        super().connection_made(transport)
        self.late_at = self.loop.time() + self._patience
        if is_full:
            self._refuse(Overloaded("Too many connections; try again in a moment"))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever answers; uvicorn tells only the last of several requests in a row."""
        if self._answering is not None:
            self._answering.disconnected = True
        super().connection_lost(exc)

    def _make_room(self) -> bool:
        """Close some connections that wait for a request, or for the rest of one: first those that
        have never sent one, of these the oldest. Whether there were any.
        """
        others = cast("set[Connection]", self.connections)
        waiting = [other for other in others if other.is_waiting]
        waiting.sort(key=lambda other: (other.has_asked, other.late_at))
        for other in waiting[: math.ceil(ROOM * self._most)]:
            other.transport.abort()
            self.connections.discard(other)
        return bool(waiting)

    @property
    def has_asked(self) -> bool:
        """Whether a request has ever come here."""
        return cast("RequestResponseCycle | None", self.cycle) is not None

    @property
    def is_waiting(self) -> bool:
        """Whether it is the caller's turn."""
        return self._is_receiving or self._is_its_turn()

    def look(self, now: float) -> None:
        """Close the connection if its caller is late."""
        if now < self.late_at:
            return
        if self.flow.write_paused:
            self.transport.abort()  # what is still to be sent, nobody takes
        else:
            self.transport.close()

    def is_in_use(self, since: float) -> bool:
        """Whether a request is under way, or was since then, and more may come."""
        if self._is_parting or not self.has_asked:
            return False
        return not self._is_its_turn() or self.late_at >= since + IDLE

    def part(self) -> None:
        """Ask the caller to leave with the next answer."""
        self._is_parting = True

    def pause_writing(self) -> None:
        """The caller takes its answer slowly."""
        super().pause_writing()
        self.late_at = self.loop.time() + self._patience

    def resume_writing(self) -> None:
        """It has taken it."""
        super().resume_writing()
        self.late_at = self.loop.time() + IDLE

    def on_message_begin(self) -> None:
        """A request begins to come."""
        super().on_message_begin()
        self._is_receiving = True
        self.late_at = self.loop.time() + self._patience

    def on_response_complete(self) -> None:
        """Wait for the next request, or go on with the one that waits already.

        As uvicorn does, without a timer for each request.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if not self._is_receiving and not self.flow.write_paused:
            self.late_at = self.loop.time() + IDLE
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def shutdown(self) -> None:
        """Answer what has arrived, perhaps unread, and ask the caller to leave.

        uvicorn would close the connection at once when nothing is being answered.
        """
        self.part()
        self.loop.call_later(LAST_REQUESTS, super().shutdown)

    def data_received(self, data: bytes) -> None:
        """Take what has arrived; refuse what is no HTTP, or a head without end."""
        self._without_progress += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._pass_over(data[offer.args[0] :])
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

    def _pass_over(self, rest: bytes) -> None:
        """Take the request as if it had not offered to upgrade, which a server may (RFC 9110, 7.8).

        The parser has given up on its body; a new one is told the head without the offer.
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
        """Begin to answer; for the last time on this connection when it is parting."""
        self._without_progress = 0
        self.late_at = self.loop.time() + self._patience
        if len(self.headers) > MAX_HEADERS:
            raise InvalidInput(f"A request may have at most {MAX_HEADERS} headers")
        if self.parser.should_upgrade():
            return
        exchange = self._exchange()
        if exchange is None:
            super().on_headers_complete()
        else:
            self.cycle = cast("RequestResponseCycle", exchange)
        if self._is_parting:
            self.cycle.keep_alive = False

    def _exchange(self) -> Exchange | None:
        """Where the request may be answered at once, without ASGI, and nothing is against it."""
        if (
            self.url != b"/identify"
            or self.parser.get_method() != b"POST"
            or not self._is_its_turn()
            or self.expect_100_continue
            or self.flow.write_paused
        ):
            return None
        headers = dict(self.headers)
        if declared_length(headers) > MAX_BODY:
            return None
        endpoints: Endpoints | None = getattr(cast("object", self.app), "endpoints", None)
        caller = endpoints and endpoints.access.known(headers, SCOPES["POST", "/identify"])
        if endpoints is None or caller is None:
            return None
        is_old = self.parser.get_http_version() == "1.0"  # which would have to be told
        keep_alive = not is_old and self.parser.should_keep_alive()
        return Exchange(self, endpoints, caller, headers, keep_alive=keep_alive)

    def _is_its_turn(self) -> bool:
        """Whether the requests before it have been answered."""
        last = cast("RequestResponseCycle | None", self.cycle)
        return last is None or last.response_complete

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body on."""
        self._without_progress = 0
        if isinstance(cycle := cast("object", self.cycle), Exchange):
            cycle.take(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has been received to its end; now it is our turn."""
        self._without_progress = 0
        if self.parser.should_upgrade():
            return
        self._is_receiving = False
        self.late_at = math.inf
        if isinstance(cycle := cast("object", self.cycle), Exchange):
            cycle.ask()
        else:
            super().on_message_complete()
            if self._is_its_turn():  # it was refused by its head
                self.late_at = self.loop.time() + IDLE

    def send_400_response(self, msg: str) -> None:
        """Refuse in the contract's form, and close."""
        self._refuse(InvalidInput(msg))

    def _refuse(self, error: BitespeedError) -> None:
        request = Request({})
        status, body, headers = refused(error, request)
        request.answered(metrics.OTHER, status)
        head = [STATUS_LINE[status], b"connection: close\r\n", HEADER, b": ", request.id, b"\r\n"]
        for name, value in (*headers, (b"content-length", b"%d" % len(body))):
            head += name, b": ", value, b"\r\n"
        self.transport.write(b"".join([*head, b"\r\n", body]))
        self.transport.close()
