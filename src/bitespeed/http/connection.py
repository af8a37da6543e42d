"""One HTTP/1.1 connection: uvicorn's, where it is too strict, too lax or too abrupt for us."""

from typing import cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from bitespeed import wire
from bitespeed.errors import InvalidInput
from bitespeed.http.endpoints import Endpoints
from bitespeed.http.exchange import Exchange
from bitespeed.watch import metrics

MAX_HEAD = 64 * 1024  # bytes of a request's head; eight times what browsers and proxies send
LAST_REQUESTS = 1.0  # seconds in which a request that was on its way at a shutdown is answered


class Connection(HttpToolsProtocol):
    """Answers what is under way at a shutdown, passes over offers to upgrade, bounds the head."""

    _is_parting = False
    _without_progress = 0  # bytes received since a head or a piece of a body was complete

    def shutdown(self) -> None:
        """Answer what has arrived, perhaps unread, and ask the caller to leave.

        uvicorn would close the connection at once when nothing is being answered.
        """
        self._is_parting = True
        self.loop.call_later(LAST_REQUESTS, super().shutdown)

    def data_received(self, data: bytes) -> None:
        """Take what has arrived; refuse what is no HTTP, or a head without end."""
        self._unset_keepalive_if_required()
        self._without_progress += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._pass_over(data[offer.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("This is not a valid HTTP request")
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
        if self.parser.should_upgrade():
            return
        endpoints = self._endpoints()
        if endpoints is None:
            super().on_headers_complete()
        else:
            is_old = self.parser.get_http_version() == "1.0"  # which would have to be told
            keep_alive = not is_old and self.parser.should_keep_alive()
            exchange = Exchange(self, endpoints, self.headers, keep_alive=keep_alive)
            self.cycle = cast("RequestResponseCycle", exchange)
        if self._is_parting:
            self.cycle.keep_alive = False

    def _endpoints(self) -> Endpoints | None:
        """Where the request may be answered at once, without ASGI."""
        if (
            self.url == b"/identify"
            and self.parser.get_method() == b"POST"
            and self._is_its_turn()
            and not self.expect_100_continue
            and not self.flow.write_paused
        ):
            return getattr(cast("object", self.app), "endpoints", None)
        return None

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
        """The request has been received to its end."""
        self._without_progress = 0
        if self.parser.should_upgrade():
            return
        if isinstance(cycle := cast("object", self.cycle), Exchange):
            cycle.ask()
        else:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse in the contract's form, and close."""
        metrics.requests[metrics.OTHER, 400].add()
        body = wire.encode_error(InvalidInput(msg))
        head = [
            b"HTTP/1.1 400 Bad Request",
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"connection: close",
        ]
        self.transport.write(b"\r\n".join([*head, b"", body]))
        self.transport.close()
