"""The few lines between ASGI and the endpoints: bodies in, JSON out, errors in one place."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from bitespeed import wire
from bitespeed.errors import (
    BitespeedError,
    Contention,
    DeadlineExceeded,
    Forbidden,
    InvalidInput,
    NotConfigured,
    NotFound,
    Overloaded,
    QueueUnavailable,
    StoreUnavailable,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from bitespeed.telemetry import metrics
from bitespeed.telemetry.failures import failed
from bitespeed.telemetry.requests import Request

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


class TooLarge(BitespeedError):
    """The body is larger than this endpoint takes."""


class WrongType(BitespeedError):
    """The body is of a type that this endpoint does not take."""


class Gone(BitespeedError):
    """The caller left before the body was complete; nobody reads the answer."""


_STATUS: tuple[tuple[type[BitespeedError], int], ...] = (
    (InvalidInput, 400),
    (Gone, 400),
    (Unauthorized, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (TooLarge, 413),
    (WrongType, 415),
    (TooManyRequests, 429),
    (NotConfigured, 501),
    (Unavailable, 503),
)

_REASON: dict[type[Unavailable], str] = {
    Overloaded: "overloaded",
    DeadlineExceeded: "deadline",
    Contention: "contention",
    StoreUnavailable: "store",
    QueueUnavailable: "queue",
    Unavailable: "shutdown",
}


def content_type(headers: Headers) -> bytes:
    """`JSON` or `NDJSON`; JSON when nothing is said. Raises `WrongType` for others."""
    value = headers.get(b"content-type", JSON)
    return JSON if value == JSON else _kind(value)


def _kind(value: bytes) -> bytes:
    kind = value.partition(b";")[0].strip().lower()
    if kind in _NDJSON_NAMES:
        return NDJSON
    if kind in {b"", JSON} or (kind.startswith(b"application/") and kind.endswith(b"+json")):
        return JSON
    raise WrongType("Send the body as application/json")


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
        raise Gone("The request was not sent to its end")
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
    """Status, body and headers, the type of the body first, that tell of a failure.

    What is not ours is logged and becomes a 500 without details.
    """
    if not isinstance(error, BitespeedError):
        failed("request.failed", error, request)
        error = BitespeedError("Internal error")
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    headers = [(b"content-type", JSON)]
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, Unavailable | TooManyRequests):
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if isinstance(error, Unavailable):
        reason = next(name for kind, name in _REASON.items() if isinstance(error, kind))
        metrics.unavailable[reason].add()
    if isinstance(error, TooLarge):
        headers.append(CLOSE)  # the rest of the body is not read
    return status, wire.encode_error(error), headers


def not_found() -> BitespeedError:
    """What is told of an unknown path."""
    return NotFound("There is nothing at this path; /docs shows what there is")


def not_allowed(methods: str) -> BitespeedError:
    """What is told of another method than a path has."""
    return BitespeedError(f"This path takes {methods}")
