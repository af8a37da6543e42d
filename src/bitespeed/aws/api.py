"""The API function: events of API Gateway (REST and HTTP APIs) and of function URLs.

They are answered by the endpoints of the HTTP server, without its framework.
"""

import time
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bitespeed.api.asgi import REQUEST, Handler, Message, refused
from bitespeed.api.endpoints import Endpoints
from bitespeed.aws.environment import Context, Environment, Opened
from bitespeed.aws.metrics import current_counts, emit
from bitespeed.errors import BitespeedError, MethodNotAllowed, UnknownPath
from bitespeed.telemetry.requests import HEADER
from bitespeed.telemetry.requests import Request as Told

MAX_ANSWER = 6 * 1024 * 1024  # bytes of what a function may return, which is JSON ...
ENVELOPE = 4096  # ... that has the answer as a text, and so much around it

Event = Mapping[str, Any]
Headers = list[tuple[bytes, bytes]]


class Request(NamedTuple):
    """A request, whatever kind of event it came in."""

    method: str
    path: str
    query: bytes
    headers: Headers
    body: bytes


class Reply(NamedTuple):
    """The answer to one."""

    status: int
    body: bytes
    headers: Headers


_environment = Environment()


def handler(event: Event, context: Context) -> dict[str, Any] | None:
    """What Lambda calls. An event that is no request only keeps the environment warm."""
    if "requestContext" not in event:
        return _environment.run(_ping, context)
    began, before = time.time(), current_counts()
    told = Told({HEADER: context.aws_request_id.encode()})

    async def work(opened: Opened) -> Reply:
        return await answer(opened, request, told)

    try:
        request = request_of(event)
        reply = _environment.run(work, context)
    except Exception as error:  # noqa: BLE001 - answered and logged as one place knows how
        reply = Reply(*refused(error, told))
    emit(
        context.aws_request_id,
        before,
        began,
        route=event.get("routeKey") or event.get("resource") or "",
        status=reply.status,
        Errors=int(reply.status >= 500),
    )
    return _response(reply, told)


async def _ping(opened: Opened) -> None:
    await opened.tenants.ping()


def request_of(event: Event) -> Request:
    """The request in an event of payload format 1.0 or 2.0."""
    body = event.get("body") or ""
    body = b64decode(body) if event.get("isBase64Encoded") else body.encode()
    if event.get("version") == "2.0":
        http = event["requestContext"]["http"]
        path = _below(event["requestContext"].get("stage", ""), event["rawPath"])
        query = event.get("rawQueryString", "").encode()
        return Request(http["method"], path, query, _headers(event.get("headers")), body)
    from urllib.parse import quote, urlencode  # events of this format alone have to wait for it

    asked: dict[str, list[str] | str] = (
        event.get("multiValueQueryStringParameters") or event.get("queryStringParameters") or {}
    )
    query = urlencode(asked, doseq=True, quote_via=quote).encode()
    return Request(event["httpMethod"], event["path"], query, _headers(event.get("headers")), body)


def _below(stage: str, path: str) -> str:
    """The path without the stage, which a path of payload format 2.0 begins with if it has a name;
    a domain of one's own may leave it out.
    """
    return path.removeprefix(f"/{stage}") if path.startswith(f"/{stage}/") else path


def _headers(headers: Mapping[str, str] | None) -> Headers:
    """Those of a request but for its length, since its body is whole."""
    return [
        (name.lower().encode(), value.encode(errors="replace"))
        for name, value in (headers or {}).items()
        if name.lower() != "content-length"
    ]


async def answer(opened: Opened, request: Request, told: Told) -> Reply:
    """What the endpoint answers; refusals are raised."""
    handler, path_params, methods = _route(opened.endpoints, request.path)
    if request.method == "OPTIONS":
        return Reply(204, b"", [(b"allow", methods.encode())])
    if request.method not in methods.split(", "):
        raise MethodNotAllowed(methods)
    scope = {
        "method": request.method,
        "path": request.path,
        "query_string": request.query,
        "headers": request.headers,
        "path_params": path_params,
        REQUEST: told,
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": request.body}

    async def send(message: Message) -> None:
        sent.append(message)

    await handler(scope, receive, send)
    start, body = sent
    text = b"" if request.method == "HEAD" else body["body"]
    return Reply(start["status"], text, start["headers"])


def _route(endpoints: Endpoints, path: str) -> tuple[Handler, dict[str, str], str]:
    """What answers at the path, the parts of the path that vary, and the methods allowed."""
    parts = _unquoted(path).split("/")
    for template, name, handler, methods in endpoints.routes():
        if name == "metrics":
            continue  # CloudWatch has them; one environment's would tell little
        varying = _varying(template.split("/"), parts)
        if varying is not None:
            allowed = ["HEAD", *methods] if "GET" in methods else methods
            return handler, varying, ", ".join(allowed)
    raise UnknownPath


def _unquoted(path: str) -> str:
    if "%" not in path:
        return path
    from urllib.parse import unquote  # few paths are worth the wait at a cold start

    return unquote(path)


def _varying(template: Sequence[str], parts: Sequence[str]) -> dict[str, str] | None:
    """The parts that the template has names for; None where the others differ."""
    if len(template) != len(parts):
        return None
    varying: dict[str, str] = {}
    for name, part in zip(template, parts, strict=True):
        if name.startswith("{") and part:
            varying[name[1:-1]] = part
        elif name != part:
            return None
    return varying


def _response(reply: Reply, told: Told) -> dict[str, Any]:
    """The reply as all kinds of events have it."""
    escaped = reply.body.count(b'"') + reply.body.count(b"\\")
    if len(reply.body) + escaped + ENVELOPE > MAX_ANSWER:
        too_large = BitespeedError("The answer is larger than a Lambda function may return")
        reply = Reply(*refused(too_large, told))
    headers = [*reply.headers, (HEADER, told.id)]
    return {
        "statusCode": reply.status,
        "headers": {name.decode(): value.decode() for name, value in headers},
        "body": reply.body.decode(),
        "isBase64Encoded": False,
    }
