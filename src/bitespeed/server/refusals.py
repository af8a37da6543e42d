"""A refusal that belongs to no request: of bytes that are not HTTP, or of a whole connection."""

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from bitespeed.api.http import error_reply
from bitespeed.errors import BitespeedError, InvalidInput
from bitespeed.telemetry import metrics
from bitespeed.telemetry.requests import HEADER, Request

NO_HTTP = "This is not a valid HTTP request"


class NothingMore(Exception):
    """The client has sent a request behind one that it, or the server, had called the last."""


def reason_of(error: Exception) -> BitespeedError | None:
    """Why to refuse what the parser stopped at; None after the last request, where all that comes
    is passed over.
    """
    cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
    if isinstance(cause, httptools.HttpParserError):
        return InvalidInput(NO_HTTP)
    if isinstance(cause, NothingMore):
        return None
    if not isinstance(cause, BitespeedError):
        raise error
    return cause


def refusal(error: BitespeedError) -> bytes:
    """The whole response, after which the connection is closed. Counts it as a request."""
    request = Request({})
    status, body, headers = error_reply(error, request)
    request.answered(metrics.OTHER, status)
    head = [STATUS_LINE[status], b"connection: close\r\n", HEADER, b": ", request.id, b"\r\n"]
    for name, value in (*headers, (b"content-length", b"%d" % len(body))):
        head += name, b": ", value, b"\r\n"
    return b"".join([*head, b"\r\n", body])
