"""What each endpoint does. `openapi.yaml` beside this file is what it promises."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from bitespeed.api.access import SCOPES, Access
from bitespeed.api.asgi import (
    NDJSON,
    REQUEST,
    Handler,
    Headers,
    Receive,
    Scope,
    Send,
    content_type,
    read_body,
    send_json,
    send_nothing,
)
from bitespeed.api.keyring import Caller
from bitespeed.errors import (
    BitespeedError,
    InvalidInput,
    NotConfigured,
    TooLarge,
    UnsupportedMediaType,
)
from bitespeed.model.identifiers import Observation, observe
from bitespeed.model.identity import Answer
from bitespeed.queues import Queue
from bitespeed.queues.messages import MAX_MESSAGE, MAX_OBSERVATIONS
from bitespeed.service.batching import Outcome
from bitespeed.service.tenants import Tenants
from bitespeed.telemetry.requests import Request
from bitespeed.wire.answers import encode_answer, encode_outcomes
from bitespeed.wire.observations import decode_array, decode_observation
from bitespeed.wire.subjects import MAX_ID, decode_subject, encode_receipt, parse_contact_id

MAX_BODY = 64 * 1024  # bytes; two values of 255 characters, and room for members we ignore
MAX_BATCH_BODY = 1024 * 1024  # bytes; a kilobyte for each observation

_NO_STORE = (b"cache-control", b"no-store")  # or a proxy may answer what is out of date, to others

GuardedHandler = Callable[[Caller, Scope, Receive, Send], Awaitable[None]]


class Route(NamedTuple):
    """What answers at a path, and what it is called in the metrics."""

    path: str
    name: str
    handler: Handler
    methods: list[str]


class Endpoints:
    """The endpoints over the services of all tenants; ``access`` says who may use which."""

    def __init__(
        self, tenants: Tenants, access: Access, region: str | None, queue: Queue | None = None
    ) -> None:
        self.access = access
        self._tenants = tenants
        self._region = region
        self._queue = queue

    def routes(self) -> list[Route]:
        """Everything that can be asked."""

        def guarded(path: str, name: str, handler: GuardedHandler, *methods: str) -> Route:
            return Route(path, name, self.guarded(path, handler), [*methods])

        return [
            guarded("/identify", "identify", self.identify, "POST"),
            guarded("/identify/batch", "identify_batch", self.identify_batch, "POST"),
            guarded("/observations", "enqueue", self.enqueue, "POST"),
            guarded("/contacts", "look_up", self.look_up, "GET"),
            guarded("/contacts/{id}", "contact", self.contact, "GET", "DELETE"),
            guarded("/erase", "erase", self.erase, "POST"),
            guarded("/metrics", "metrics", self.metrics, "GET"),
            Route("/health", "health", self.health, ["GET"]),
            Route("/ready", "ready", self.ready, ["GET"]),
        ]

    def guarded(self, path: str, handler: GuardedHandler) -> Handler:
        """A handler for those whose key has the scope that it takes."""

        async def admitted(scope: Scope, receive: Receive, send: Send) -> None:
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            caller = await self.access.admit(dict(scope["headers"]), SCOPES[method, path])
            await handler(caller, scope, receive, send)

        return admitted

    async def identify(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /identify"""
        body = await read_body(scope, receive, MAX_BODY)
        asked = self._asked(dict(scope["headers"]), body)
        answer = await self._tenants.of(caller.tenant).identify(asked, scope[REQUEST])
        await send_json(send, 200, encode_answer(answer))

    def ask(
        self,
        caller: Caller,
        headers: Headers,
        body: bytes,
        tell: Callable[[Outcome], None],
        request: Request,
    ) -> None:
        """POST /identify, see `Service.submit`. Raises what can be told at once."""
        self._tenants.of(caller.tenant).submit(self._asked(headers, body), tell, request)

    def _asked(self, headers: Headers, body: bytes) -> Observation:
        if content_type(headers) is NDJSON:
            raise UnsupportedMediaType(
                "Send one observation as application/json, or many to /identify/batch"
            )
        return decode_observation(body, self._region)

    async def identify_batch(
        self, caller: Caller, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """POST /identify/batch"""
        is_ndjson = content_type(dict(scope["headers"])) is NDJSON
        items = _items(await read_body(scope, receive, MAX_BATCH_BODY), is_ndjson=is_ndjson)
        _charge(caller, items)
        outcomes = encode_outcomes(await self._identify_all(caller, items, scope[REQUEST]))
        if is_ndjson:
            body = b"".join(line + b"\n" for line in outcomes)
            await send_json(send, 200, body, content_type=NDJSON)
        else:
            await send_json(send, 200, b"[" + b",".join(outcomes) + b"]")

    async def enqueue(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /observations"""
        if self._queue is None:
            raise NotConfigured("No queue is configured here; POST /identify answers at once")
        is_ndjson = content_type(dict(scope["headers"])) is NDJSON
        body = await read_body(scope, receive, MAX_MESSAGE)
        is_one = not is_ndjson and not body.lstrip().startswith(b"[")
        items = [body] if is_one else _items(body, is_ndjson=is_ndjson)
        if not items:
            raise InvalidInput("There is no observation in the body")
        _charge(caller, items)
        for item in items:
            decode_observation(item, self._region)
        message = b"[" + b",".join(bytes(item) for item in items) + b"]"
        id_ = await self._queue.send(caller.tenant, message.decode())
        await send_json(send, 202, msgspec.json.encode({"messageId": id_}))

    async def _identify_all(
        self, caller: Caller, items: Sequence[bytes | msgspec.Raw], request: Request
    ) -> list[Answer | BitespeedError]:
        """An outcome for each item; those that cannot be understood take no part."""
        decoded = [self._decode(item) for item in items]
        good = [item for item in decoded if isinstance(item, Observation)]
        answers = iter(await self._tenants.of(caller.tenant).identify_all(good, request))
        return [next(answers) if isinstance(item, Observation) else item for item in decoded]

    def _decode(self, item: bytes | msgspec.Raw) -> Observation | BitespeedError:
        try:
            return decode_observation(item, self._region)
        except InvalidInput as refusal:
            return refusal

    async def look_up(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /contacts?email=…&phoneNumber=…"""
        asked = observe(*_in_query(scope["query_string"]), self._region)
        answer = await self._tenants.of(caller.tenant).look_up(asked.email, asked.phone)
        await send_json(send, 200, encode_answer(answer), _NO_STORE)

    async def contact(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        """GET and DELETE /contacts/{id}"""
        contact_id = _contact_id(scope["path_params"]["id"])
        service = self._tenants.of(caller.tenant)
        if scope["method"] == "DELETE":
            await service.delete(contact_id, scope[REQUEST])
            await send_nothing(send)
        else:
            answer = await service.contact(contact_id)
            await send_json(send, 200, encode_answer(answer), _NO_STORE)

    async def erase(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /erase"""
        if content_type(dict(scope["headers"])) is NDJSON:
            raise UnsupportedMediaType("Name one person as application/json")
        subject = decode_subject(await read_body(scope, receive, MAX_BODY), self._region)
        receipt = await self._tenants.of(caller.tenant).erase(subject, scope[REQUEST])
        await send_json(send, 200, encode_receipt(receipt))

    async def health(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /health: the process lives."""
        await send_json(send, 200, json.dumps({"status": "alive"}).encode())

    async def ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /ready: the store answers and requests are accepted."""
        await self._tenants.ping()
        await send_json(send, 200, json.dumps({"status": "ready"}).encode())

    async def metrics(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /metrics: what all workers have counted."""
        from bitespeed.telemetry import (
            exposition,  # a tenth of the time that a command takes to start
        )

        await send_json(send, 200, exposition.text(), content_type=exposition.CONTENT_TYPE)


def _items(body: bytes, *, is_ndjson: bool) -> Sequence[bytes | msgspec.Raw]:
    """The undecoded observations of a batch, up to `MAX_OBSERVATIONS`."""
    items: Sequence[bytes | msgspec.Raw]
    if is_ndjson:
        items = [line for line in body.split(b"\n") if line.strip()]
    else:
        items = decode_array(body)
    if len(items) > MAX_OBSERVATIONS:
        raise TooLarge(f"A batch may have at most {MAX_OBSERVATIONS} observations")
    return items


def _charge(caller: Caller, items: Sequence[object]) -> None:
    """Take from the rate of the key what many observations in one request take beyond one."""
    if caller.bucket is not None:
        caller.bucket.charge(max(0, len(items) - 1))


def _contact_id(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput("A contact id is a whole number")
    # Python refuses to read a number of thousands of digits.
    is_short = len(text) <= len(str(MAX_ID))
    return parse_contact_id(int(text) if is_short else MAX_ID + 1)


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
    from urllib.parse import unquote, unquote_plus  # not at each start of a Lambda function

    email = phone = None
    for pair in query.decode().split("&"):
        name, _, value = pair.partition("=")
        if name == "email":
            email = unquote(value, errors="strict")
        elif name == "phoneNumber":
            phone = ("+" if value.startswith("+") else "") + unquote_plus(value, errors="strict")
    return email, phone
