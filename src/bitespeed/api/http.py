"""Headers and replies, apart from how they travel."""

from collections.abc import Mapping
from typing import NamedTuple

from bitespeed.errors import (
    BitespeedError,
    MethodNotAllowed,
    TooLarge,
    Unauthorized,
    Unexpected,
    UnsupportedMediaType,
)
from bitespeed.telemetry import metrics
from bitespeed.telemetry.failures import failed
from bitespeed.telemetry.metrics import OTHER
from bitespeed.telemetry.refusals import report_refusal
from bitespeed.telemetry.requests import Request
from bitespeed.wire.errors import encode_error

Headers = Mapping[bytes, bytes]
"""The headers of a request, by their names in lower case; of one sent twice, the last."""

JSON = b"application/json"
NDJSON = b"application/x-ndjson"
_NDJSON_NAMES = {NDJSON, b"application/ndjson", b"application/jsonl", b"application/jsonlines"}

_MAX_DIGITS = 20  # of a length; a body of more bytes than these can count is too large anyway

CLOSE = (b"connection", b"close")
NO_STORE = (b"cache-control", b"no-store")
"""For replies to GET: a cache on the way could answer out of date, or to somebody else."""


class HttpReply(NamedTuple):
    """A whole reply. Its headers lack the length, and begin with the type if there is a body."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]]


NO_CONTENT = HttpReply(204, b"", [])


def reply(
    body: bytes, *headers: tuple[bytes, bytes], status: int = 200, content_type: bytes = JSON
) -> HttpReply:
    """A reply that has a body."""
    return HttpReply(status, body, [(b"content-type", content_type), *headers])


def error_reply(error: BaseException, request: Request, endpoint: str = OTHER) -> HttpReply:
    """The reply to a request that failed, which is logged. Counts a 503 by its reason.

    An error that is not a `BitespeedError` becomes a 500 without details.
    """
    if isinstance(error, BitespeedError):
        report_refusal(error, endpoint, request)
    else:
        failed("request.failed", error, request)
        error = Unexpected()
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
    return HttpReply(error.status, encode_error(error), headers)


def body_too_large(limit: int) -> TooLarge:
    """The error for a body of more than ``limit`` bytes."""
    return TooLarge(f"The body may have at most {limit} bytes")


def declared_length(headers: Headers) -> int:
    """The length that a request declares for its body; 0 when it declares none."""
    digits = headers.get(b"content-length", b"0")
    if len(digits) > _MAX_DIGITS:  # RFC 9110, 8.6: any number of digits, also of zeros
        digits = digits.lstrip(b"0")[:_MAX_DIGITS] or b"0"
    return int(digits)


def content_type(headers: Headers) -> bytes:
    """`JSON` or `NDJSON`; JSON when the request has none. Raises `UnsupportedMediaType`."""
    value = headers.get(b"content-type", JSON)
    return JSON if value == JSON else _kind(value)


def _kind(value: bytes) -> bytes:
    kind = value.partition(b";")[0].strip().lower()
    if kind in _NDJSON_NAMES:
        return NDJSON
    if kind in {b"", JSON} or (kind.startswith(b"application/") and kind.endswith(b"+json")):
        return JSON
    raise UnsupportedMediaType("Send the body as application/json")
