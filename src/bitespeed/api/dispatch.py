"""Answers a request: finds its operation, admits the caller, reads the body, calls the handler."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from bitespeed.api.access import Access
from bitespeed.api.calls import Backend, Call
from bitespeed.api.http import Headers, HttpReply, error_reply
from bitespeed.api.keyring import NOBODY, Caller
from bitespeed.api.operations import Operation, Routes, allowed, of_method
from bitespeed.telemetry.metrics import OTHER
from bitespeed.telemetry.requests import Request


class Incoming(NamedTuple):
    """A request as it came in. `read_body` returns the body or raises `TooLarge`; its argument is
    the number of bytes that the body may have. `is_mounted` where it came through an application
    around this one.
    """

    method: str
    path: str
    query: bytes
    headers: Headers
    read_body: Callable[[int], Awaitable[bytes]]
    is_mounted: bool = False


class OperationReply(NamedTuple):
    """The reply to a request, and the name of the operation for metrics."""

    endpoint: str
    reply: HttpReply


async def answer(
    backend: Backend, routes: Routes, incoming: Incoming, request: Request
) -> OperationReply:
    """Answer the request. Every failure becomes a reply; only cancellation is raised."""
    endpoint = OTHER
    try:
        methods, parameters = routes.at(incoming.path)
        if incoming.method == "OPTIONS":
            return OperationReply(
                OTHER, HttpReply(204, b"", [(b"allow", allowed(methods).encode())])
            )
        operation = of_method(methods, incoming.method)
        endpoint = operation.name
        caller = await _admit(backend.access, operation, incoming)
        body = await incoming.read_body(operation.max_body) if operation.max_body else b""
        call = Call(caller, incoming.headers, parameters, incoming.query, body, request)
        return OperationReply(endpoint, await operation.load_handler()(backend, call))
    except Exception as error:  # noqa: BLE001 - answered and logged here, once for all operations
        return OperationReply(endpoint, error_reply(error, request, endpoint))


async def _admit(access: Access, operation: Operation, incoming: Incoming) -> Caller:
    """The caller of the operation. Raises what `Access.admit` raises."""
    scope = operation.scope_for(incoming.query)
    if scope is not None:
        return await access.admit(incoming.headers, scope, is_mounted=incoming.is_mounted)
    if not operation.is_open:
        await access.admit_to_page(
            incoming.headers,
            opens_in_browser=operation.opens_in_browser,
            is_mounted=incoming.is_mounted,
        )
    return NOBODY
