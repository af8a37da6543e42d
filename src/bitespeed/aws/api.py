"""The API function: events of API Gateway (REST and HTTP APIs) and of function URLs.

The same operations answer them as answer requests to the HTTP server, without its framework.
"""

import re
import time
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, NamedTuple

from bitespeed.api.dispatch import Incoming, answer
from bitespeed.api.http import Headers, HttpReply, body_too_large, error_reply
from bitespeed.api.operations import OPERATIONS, Routes
from bitespeed.aws.environment import Context, Environment, Opened
from bitespeed.aws.metrics import current_counts, emit
from bitespeed.errors import AnswerTooLarge, BitespeedError
from bitespeed.telemetry.requests import HEADER, Request
from bitespeed.wire.errors import error_sentence

MAX_ANSWER = 6 * 1024 * 1024  # bytes that a function may return, as JSON ...
ENVELOPE = 4096  # ... of which so many are around the text of the answer

ROUTES = Routes(operation for operation in OPERATIONS if operation.served_by != "server")

Event = Mapping[str, Any]


class HttpRequest(NamedTuple):
    """A request, whatever kind of event it came in."""

    method: str
    path: str
    query: bytes
    headers: Headers
    body: bytes


_environment = Environment()


def handler(event: Event, context: Context) -> dict[str, Any] | None:
    """Answer an event. One that is not a request only keeps the environment warm."""
    if "requestContext" not in event:
        return _environment.run(_ping, context)
    began, before = time.time(), current_counts()
    request = Request({HEADER: context.aws_request_id.encode()})

    async def work(opened: Opened) -> HttpReply:
        return await _answer(opened, request_in(event), request)

    try:
        reply = _environment.run(work, context)
    except Exception as error:  # noqa: BLE001 - `error_reply` logs it
        reply = error_reply(error, request)
    reply = _within_limit(reply, request)
    emit(
        context.aws_request_id,
        before,
        began,
        error_sentence(reply.body) if reply.status >= 400 else None,
        route=event.get("routeKey") or event.get("resource") or "",
        status=reply.status,
        Errors=int(reply.status >= 500),
    )
    return _response(reply, request)


async def _ping(opened: Opened) -> None:
    await opened.backend.tenants.ping()


async def _answer(opened: Opened, given: HttpRequest, request: Request) -> HttpReply:
    async def read_body(limit: int) -> bytes:
        if len(given.body) > limit:
            raise body_too_large(limit)
        return given.body

    path = _unquoted(given.path)
    incoming = Incoming(given.method, path, given.query, given.headers, read_body)
    _, reply = await answer(opened.backend, ROUTES, incoming, request)
    return reply._replace(body=b"") if given.method == "HEAD" else reply


def request_in(event: Event) -> HttpRequest:
    """The request in an event of payload format 1.0 or 2.0."""
    body = event.get("body") or ""
    body = b64decode(body) if event.get("isBase64Encoded") else body.encode()
    if event.get("version") == "2.0":
        http = event["requestContext"]["http"]
        path = _without_stage(event["requestContext"].get("stage", ""), event["rawPath"])
        query = event.get("rawQueryString", "").encode()
        return HttpRequest(http["method"], path, query, _headers(event), body)
    from urllib.parse import quote, urlencode  # imported for events of this format only

    parameters: dict[str, list[str] | str] = (
        event.get("multiValueQueryStringParameters") or event.get("queryStringParameters") or {}
    )
    query = urlencode(parameters, doseq=True, quote_via=quote).encode()
    return HttpRequest(event["httpMethod"], event["path"], query, _headers(event), body)


def _without_stage(stage: str, path: str) -> str:
    """The path without the stage. In payload format 2.0 it begins with the stage if that has a
    name, except behind a custom domain.
    """
    return path.removeprefix(f"/{stage}") if path.startswith(f"/{stage}/") else path


def _headers(event: Event) -> Headers:
    """The headers of a request but for the length of its body, which is here whole."""
    headers: Mapping[str, str] = event.get("headers") or {}
    return {
        name.lower().encode(): value.encode(errors="replace")
        for name, value in headers.items()
        if name.lower() != "content-length"
    }


def _unquoted(path: str) -> str:
    if "%" not in path:
        return path
    from urllib.parse import unquote  # imported for the few paths that need it

    return unquote(path)


def _within_limit(reply: HttpReply, request: Request) -> HttpReply:
    """The reply, or an error in its place if a function may not return so much."""
    escaped = reply.body.count(b'"') + reply.body.count(b"\\")
    if len(reply.body) + escaped + ENVELOPE <= MAX_ANSWER:
        return reply
    return error_reply(_too_large(reply.body), request)


def _response(reply: HttpReply, request: Request) -> dict[str, Any]:
    """The reply in the form that every kind of event takes."""
    headers = [*reply.headers, (HEADER, request.id)]
    return {
        "statusCode": reply.status,
        "headers": {name.decode(): value.decode() for name, value in headers},
        "body": reply.body.decode(),
        "isBase64Encoded": False,
    }


def _too_large(body: bytes) -> BitespeedError:
    text = "The answer is larger than a Lambda function may return"
    primary = re.match(rb'{"contact":{"primaryContatctId":(\d+),', body)
    return BitespeedError(text) if primary is None else AnswerTooLarge(text, int(primary[1]))
