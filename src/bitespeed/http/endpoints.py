"""What each endpoint does. `openapi.yaml` beside this file is what it promises."""

import json
from collections.abc import Callable, Iterable
from urllib.parse import unquote, unquote_plus

import msgspec
from starlette.types import Receive, Scope, Send

from bitespeed import wire
from bitespeed.errors import BitespeedError, InvalidInput, NotFound
from bitespeed.http.asgi import (
    NDJSON,
    REQUEST,
    TooLarge,
    WrongType,
    content_type,
    read_body,
    send_json,
    send_nothing,
)
from bitespeed.identifiers import Observation, observe
from bitespeed.identity import Answer
from bitespeed.service import Outcome, Service
from bitespeed.watch.requests import Request

MAX_BODY = 64 * 1024  # bytes; two values of 255 characters, and room for members we ignore
MAX_BATCH_BODY = 1024 * 1024  # bytes; a kilobyte for each observation
MAX_OBSERVATIONS = 1000  # in one batch: a few hundred milliseconds of work
MAX_ID = 2**63 - 1

Headers = Iterable[tuple[bytes, bytes]]


class Endpoints:
    """The endpoints over one service."""

    def __init__(self, service: Service, region: str | None) -> None:
        self._service = service
        self._region = region

    async def identify(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /identify"""
        asked = self._asked(scope["headers"], await read_body(receive, MAX_BODY))
        await send_json(send, 200, wire.encode(await self._service.identify(asked, scope[REQUEST])))

    def ask(
        self, headers: Headers, body: bytes, tell: Callable[[Outcome], None], request: Request
    ) -> None:
        """POST /identify, see `Service.submit`. Raises what can be told at once."""
        self._service.submit(self._asked(headers, body), tell, request)

    def _asked(self, headers: Headers, body: bytes) -> Observation:
        if content_type(headers) is NDJSON:
            raise WrongType("Send one observation as application/json, or many to /identify/batch")
        return wire.decode(body, self._region)

    async def identify_batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /identify/batch"""
        is_ndjson = content_type(scope["headers"]) is NDJSON
        body = await read_body(receive, MAX_BATCH_BODY)
        items = body.split(b"\n") if is_ndjson else wire.decode_array(body)
        if is_ndjson:
            items = [line for line in items if line.strip()]
        if len(items) > MAX_OBSERVATIONS:
            raise TooLarge(f"A batch may have at most {MAX_OBSERVATIONS} observations")
        outcomes = wire.encode_outcomes(await self._identify_all(items, scope[REQUEST]))
        if is_ndjson:
            body = b"".join(line + b"\n" for line in outcomes)
            await send_json(send, 200, body, content_type=NDJSON)
        else:
            await send_json(send, 200, b"[" + b",".join(outcomes) + b"]")

    async def _identify_all(
        self, items: list[bytes] | list[msgspec.Raw], request: Request
    ) -> list[Answer | BitespeedError]:
        """An outcome for each item; those that cannot be understood take no part."""
        decoded = [self._decode(item) for item in items]
        good = [item for item in decoded if isinstance(item, Observation)]
        answers = iter(await self._service.identify_all(good, request))
        return [next(answers) if isinstance(item, Observation) else item for item in decoded]

    def _decode(self, item: bytes | msgspec.Raw) -> Observation | BitespeedError:
        try:
            return wire.decode(item, self._region)
        except InvalidInput as refusal:
            return refusal

    async def look_up(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /contacts?email=…&phoneNumber=…"""
        asked = observe(*_in_query(scope["query_string"]), self._region)
        answer = await self._service.look_up(asked.email, asked.phone)
        await send_json(send, 200, wire.encode(answer))

    async def contact(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET and DELETE /contacts/{id}"""
        contact_id = _contact_id(scope["path_params"]["id"])
        if scope["method"] == "DELETE":
            await self._service.delete(contact_id, scope[REQUEST])
            await send_nothing(send)
        else:
            answer = await self._service.contact(contact_id)
            await send_json(send, 200, wire.encode(answer))

    async def health(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /health: the process lives."""
        await send_json(send, 200, json.dumps({"status": "alive"}).encode())

    async def ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /ready: the store answers and requests are accepted."""
        await self._service.ping()
        await send_json(send, 200, json.dumps({"status": "ready"}).encode())

    async def metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /metrics: what all workers have counted."""
        from bitespeed.watch import exposition  # a tenth of the time that a command takes to start

        await send_json(send, 200, exposition.text(), content_type=exposition.CONTENT_TYPE)


def _contact_id(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput("A contact id is a whole number")
    if len(text) > len(str(MAX_ID)) or int(text) > MAX_ID:
        raise NotFound("There is no contact with this id")
    return int(text)


def _in_query(query: bytes) -> tuple[str | None, str | None]:
    """The email and the phone number in a query string.

    A plus sign is what it says in an email and at the head of a phone number, where
    callers rarely remember to write it as %2B; elsewhere it stands for a blank.
    Raises `InvalidInput` when it is not UTF-8.
    """
    try:
        return _decoded(query)
    except UnicodeDecodeError:
        raise InvalidInput("The query is not in UTF-8") from None


def _decoded(query: bytes) -> tuple[str | None, str | None]:
    email = phone = None
    for pair in query.decode().split("&"):
        name, _, value = pair.partition("=")
        if name == "email":
            email = unquote(value, errors="strict")
        elif name == "phoneNumber":
            phone = ("+" if value.startswith("+") else "") + unquote_plus(value, errors="strict")
    return email, phone
