"""`POST /identify` answered by its connection, without ASGI, which took two thirds of the time of a
request. Every other operation goes through ASGI.

See docs/decisions/0008-identify-on-its-connection.md.
"""

import asyncio
from typing import Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from bitespeed.api.calls import Backend
from bitespeed.api.endpoints.identify import submit
from bitespeed.api.http import CLOSE, JSON, Headers, body_too_large, error_reply
from bitespeed.api.keyring import Caller
from bitespeed.api.operations import IDENTIFY
from bitespeed.service.batching import Outcome
from bitespeed.telemetry.requests import HEADER, Request
from bitespeed.wire.answers import encode_answer

_NAME = IDENTIFY.name
_MAX_BODY = IDENTIFY.max_body
_JSON = [(b"content-type", JSON)]


class Line(Protocol):
    """The connection, as far as an exchange needs it."""

    transport: asyncio.Transport
    server_state: ServerState

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        ...


class Exchange:
    """One request and its response.

    It stands where uvicorn has its `RequestResponseCycle`, and has what the protocol uses of that:
    `keep_alive`, `disconnected`, `response_complete`, `response_started` and `message_event`.
    """

    response_started = False  # a response is written at once
    message_event = asyncio.Event()  # uvicorn sets it to wake an application that reads a body

    def __init__(
        self,
        connection: Line,
        backend: Backend,
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
        self._backend = backend
        self._caller = caller
        self._headers = headers
        self._body: bytes | bytearray = b""

    def add_to_body(self, piece: bytes) -> None:
        """Keep a piece of the body. Beyond the limit of its operation, respond with 413."""
        if not self._body:
            self._body = piece  # mostly the only one
        elif isinstance(self._body, bytes):
            self._body = bytearray(self._body + piece)  # not copied with each piece
        else:
            self._body += piece
        if len(self._body) > _MAX_BODY and not self.response_complete:
            self._refuse(body_too_large(_MAX_BODY))

    def submit(self) -> None:
        """Submit the request, which is complete. The outcome becomes the response."""
        if self.response_complete:
            return
        try:
            submit(
                self._backend,
                self._caller,
                self._headers,
                bytes(self._body),
                self._on_outcome,
                self._request,
            )
        except Exception as error:  # noqa: BLE001 - `error_reply` logs it
            self._refuse(error)

    def _on_outcome(self, outcome: Outcome) -> None:
        if isinstance(outcome, Exception):
            self._refuse(outcome)
        else:
            self._respond(200, encode_answer(outcome), _JSON)

    def _refuse(self, error: BaseException) -> None:
        self._respond(*error_reply(error, self._request, _NAME))

    def _respond(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.response_complete = True
        self._request.answered(_NAME, status)
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
