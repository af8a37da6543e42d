"""The few lines between ASGI and the endpoints: bodies in, JSON out, errors in one place."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from bitespeed.errors import (
    BitespeedError,
    CallerLeft,
    MethodNotAllowed,
    TooLarge,
    Unauthorized,
    UnsupportedMediaType,
)
from bitespeed.telemetry import metrics
from bitespeed.telemetry.failures import failed
from bitespeed.telemetry.requests import Request
from bitespeed.wire.errors import encode_error

# As ASGI has them; Lambda, which has these lines as well, is spared the import of Starlette.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]

Headers = Mapping[bytes, bytes]
"""Of a request, by their names in lower case; of those sent twice the last."""

REQUEST = "bitespeed.request"  # where a scope has it
JSON = b"application/json"
CLOSE = (b"connection", b"close")
NDJSON = b"application/x-ndjson"
_NDJSON_NAMES = {NDJSON, b"application/ndjson", b"application/jsonl", b"application/jsonlines"}


def content_type(headers: Headers) -> bytes:
    """`JSON` or `NDJSON`; JSON when nothing is said. Raises `UnsupportedMediaType` for others."""
    value = headers.get(b"content-type", JSON)
    return JSON if value == JSON else _kind(value)


def _kind(value: bytes) -> bytes:
    kind = value.partition(b";")[0].strip().lower()
    if kind in _NDJSON_NAMES:
        return NDJSON
    if kind in {b"", JSON} or (kind.startswith(b"application/") and kind.endswith(b"+json")):
        return JSON
    raise UnsupportedMediaType("Send the body as application/json")


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises `TooLarge` at more than ``limit`` bytes, before keeping more, and
    before any of it is read where the head tells its length.
    """
    if declared_length(dict(scope["headers"])) > limit:
        raise TooLarge(f"The body may have at most {limit} bytes")
    message = await receive()
    body = _chunk(message)
    if message.get("more_body", False):
        chunks = [body]
        size = len(body)
        while size <= limit and message.get("more_body", False):
            message = await receive()
            chunks.append(_chunk(message))
            size += len(chunks[-1])
        body = b"".join(chunks)
    if len(body) > limit:
        raise TooLarge(f"The body may have at most {limit} bytes")
    return body


def declared_length(headers: Headers) -> int:
    """The length that a request says its body has; 0 when it says nothing."""
    return int(headers.get(b"content-length", 0))


def _chunk(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise CallerLeft
    return message.get("body", b"")


async def send_json(
    send: Send,
    status: int,
    body: bytes,
    *headers: tuple[bytes, bytes],
    content_type: bytes = JSON,
) -> None:
    """Send a whole response."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", content_type),
                (b"content-length", b"%d" % len(body)),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_nothing(send: Send) -> None:
    """Send a response that has no content (204)."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def send_error(send: Send, error: Exception, request: Request) -> None:
    """Send any failure as the contract has it."""
    status, body, headers = refused(error, request)
    await send_json(send, status, body, *headers[1:])


def refused(error: BaseException, request: Request) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """The status, body and headers of the response to a failure; the body's type comes first.

    An error that is not a `BitespeedError` is logged and becomes a 500 without details.
    """
    if not isinstance(error, BitespeedError):
        failed("request.failed", error, request)
        error = BitespeedError("Internal error")
    headers = [(b"content-type", JSON)]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if error.reason is not None:
        metrics.unavailable[error.reason].add()
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b"Bearer"))
    elif isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allowed.encode()))
    elif isinstance(error, TooLarge):
        headers.append(CLOSE)  # the rest of the body is not read
    return error.status, encode_error(error), headers
