"""A refusal that belongs to no request: of bytes that are not HTTP, or of a whole connection."""

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from bitespeed.api.http import error_reply
from bitespeed.errors import BitespeedError
from bitespeed.telemetry import metrics
from bitespeed.telemetry.requests import HEADER, Request


def refusal(error: BitespeedError) -> bytes:
    """The whole response, after which the connection is closed. Counts it as a request."""
    request = Request({})
    status, body, headers = error_reply(error, request)
    request.answered(metrics.OTHER, status)
    head = [STATUS_LINE[status], b"connection: close\r\n", HEADER, b": ", request.id, b"\r\n"]
    for name, value in (*headers, (b"content-length", b"%d" % len(body))):
        head += name, b": ", value, b"\r\n"
    return b"".join([*head, b"\r\n", body])
