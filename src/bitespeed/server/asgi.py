"""Requests and replies as ASGI messages."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from bitespeed.api.http import HttpReply, body_too_large, declared_length
from bitespeed.errors import CallerLeft
from bitespeed.telemetry.requests import HEADER, Request

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises `TooLarge` for more than ``limit`` bytes: by the declared length
    before any of it is read, else before more than a piece beyond the limit is kept. Raises
    `CallerLeft` when the connection closes before its end.
    """
    if declared_length(dict(scope["headers"])) > limit:
        raise body_too_large(limit)
    message = await receive()
    body = _piece(message)
    if message.get("more_body", False):
        pieces = [body]
        size = len(body)
        while size <= limit and message.get("more_body", False):
            message = await receive()
            pieces.append(_piece(message))
            size += len(pieces[-1])
        body = b"".join(pieces)
    if len(body) > limit:
        raise body_too_large(limit)
    return body


def _piece(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise CallerLeft
    return message.get("body", b"")


async def send_reply(send: Send, reply: HttpReply, request: Request) -> None:
    """Send a whole reply, with the id of its request."""
    headers = [*reply.headers, (HEADER, request.id)]
    if reply.status != 204:
        headers.insert(1, (b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
