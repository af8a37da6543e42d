"""`POST /identify` on its connection, without ASGI in between: two thirds of the time of a request
went there. Everything else takes the usual way.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from bitespeed.api.asgi import CLOSE, JSON, Headers, refused
from bitespeed.api.endpoints import MAX_BODY, Endpoints
from bitespeed.api.keyring import Caller
from bitespeed.errors import TooLarge
from bitespeed.service.batching import Outcome
from bitespeed.telemetry.requests import HEADER, Request
from bitespeed.wire.answers import encode_answer

Lines = list[tuple[bytes, bytes]]

_JSON: Lines = [(b"content-type", JSON)]


class Exchange:
    """One request and its answer; stands where uvicorn has its `RequestResponseCycle`."""

    message_event = asyncio.Event()  # uvicorn sets it to wake the application; there is none

    def __init__(
        self,
        connection: HttpToolsProtocol,
        endpoints: Endpoints,
        caller: Caller,
        headers: Headers,
        *,
        keep_alive: bool,
    ) -> None:
        self.keep_alive = keep_alive
        self._request = Request(headers)
        self.disconnected = False
        self.response_complete = False
        self._connection = connection
        self._endpoints = endpoints
        self._caller = caller
        self._headers = headers
        self._body: bytes | bytearray = b""

    def take(self, piece: bytes) -> None:
        """Keep a piece of the body, up to its limit."""
        if not self._body:
            self._body = piece  # mostly it is the only one
        elif isinstance(self._body, bytes):
            self._body = bytearray(self._body + piece)  # which need not be copied with each piece
        else:
            self._body += piece
        if len(self._body) > MAX_BODY and not self.response_complete:
            self._refuse(TooLarge(f"The body may have at most {MAX_BODY} bytes"))

    def ask(self) -> None:
        """Begin to answer; the request has been received to its end."""
        if self.response_complete:
            return
        try:
            self._endpoints.ask(
                self._caller, self._headers, bytes(self._body), self._on_outcome, self._request
            )
        except Exception as error:  # noqa: BLE001 - answered and logged as one place knows how
            self._refuse(error)

    def _on_outcome(self, outcome: Outcome) -> None:
        if isinstance(outcome, Exception):
            self._refuse(outcome)
        else:
            self._respond(200, encode_answer(outcome), _JSON)

    def _refuse(self, error: BaseException) -> None:
        self._respond(*refused(error, self._request))

    def _respond(self, status: int, body: bytes, headers: Lines) -> None:
        self.response_complete = True
        self._request.answered("identify", status)
        if self.disconnected:
            return
        connection = self._connection
        head = [STATUS_LINE[status], HEADER, b": ", self._request.id, b"\r\n"]
        for name, value in (*connection.server_state.default_headers, *headers):
            head += name, b": ", value, b"\r\n"
        if CLOSE in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            head.append(b"connection: close\r\n")
        head += b"content-length: %d\r\n\r\n" % len(body), body
        connection.transport.write(b"".join(head))
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()
