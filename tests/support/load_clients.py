"""Load: seeded workloads, and many clients at several servers who record what they see.

All clients take their requests from one stream, so requests that are neighbours in it are under
way at the same time, mostly at different servers.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec
import uvloop

from support.history_checker import Answer, Operation

T = TypeVar("T")

CLIENTS = 32
TIMEOUT = 15.0  # seconds until an outcome counts as unknown; beyond every deadline of the server
BREATH = 0.02  # seconds that a client who was refused stays away; far less than the server wants
REMEMBERED = 200  # requests that may be repeated


class Request(NamedTuple):
    """What a client sends."""

    email: str | None
    phone: str | None


# Workloads. Each yields bursts: requests that are to be under way at the same time.

Bursts = Iterator[list[Request]]


class _World:
    """A few emails and phones that meet nothing outside, so that answers stay small."""

    def __init__(self, kind: int, number: int) -> None:
        self._name = f"{kind}-{number}.test"
        self._digits = f"+{kind}{number:07}"

    def __call__(self, email: int | None, phone: int | None) -> Request:
        return Request(
            None if email is None else f"e{email}@{self._name}",
            None if phone is None else f"{self._digits}{phone:02}",
        )


def _worlds(kind: int) -> Iterator[_World]:
    number = 0
    while True:
        number += 1
        yield _World(kind, number)


def random_pairs(rng: random.Random, size: int = 6, each: int = 30, at_once: int = 6) -> Bursts:
    """Any email with any phone; ``each`` requests until a world gives way to the next one."""
    worlds = _worlds(1)
    current = [(next(worlds), rng.randrange(each)) for _ in range(at_once)]
    while True:
        place = rng.randrange(at_once)
        world, left = current[place]
        yield [world(rng.randrange(size), rng.randrange(size)) for _ in range(2)]
        current[place] = (world, left - 2) if left > 2 else (next(worlds), each)


def hot_keys(rng: random.Random) -> Bursts:
    """Every client sends one email, with few phones, or without."""
    for world in _worlds(2):
        yield [world(0, rng.choice([None, 0, 1, 2, 3])) for _ in range(24)]


def chains(rng: random.Random, length: int = 6) -> Bursts:
    """Each identity is to be merged with the next one, in any order, twice over."""
    for world in _worlds(3):
        links = [world(n, n) for n in range(length)]
        links += [world(n + 1, n) for n in range(length - 1)]
        yield rng.sample(links * 2, 2 * len(links))


def stars(rng: random.Random, spokes: int = 6, lag: int = 3) -> Bursts:
    """Several identities, and a while later, all at once, one email that joins them."""
    waiting: deque[list[Request]] = deque()
    for world in _worlds(4):
        yield [world(n, n) for n in range(spokes)]
        waiting.append([world(99, n) for n in range(spokes)])
        if len(waiting) > lag:
            yield rng.sample(waiting.popleft() * 2, 2 * spokes)


def bridges(rng: random.Random, lag: int = 3) -> Bursts:
    """Two or three identities, and a while later a bridge between each two, from both sides."""
    waiting: deque[list[Request]] = deque()
    for world in _worlds(5):
        banks = range(rng.choice([2, 2, 3]))
        yield [world(n, n) for n in banks]
        waiting.append([world(one, other) for one in banks for other in banks if one != other])
        if len(waiting) > lag:
            crossing = waiting.popleft()
            yield rng.sample(crossing * 2, 2 * len(crossing))


WORKLOADS: dict[Callable[[random.Random], Bursts], int] = {
    random_pairs: 12,
    hot_keys: 1,
    chains: 1,
    stars: 2,
    bridges: 4,
}
"""The workloads of the mix with the number of bursts of each in proportion."""

REPEATS = 0.15  # of the requests are followed by a repeat ...
HALVES = 0.4  # ... and of these a part names the email or the phone alone


def mix(seed: int, length: int, repeats: float = REPEATS) -> Iterator[Request]:
    """All workloads at once, and repeats of recent requests."""
    return islice(_mix(random.Random(seed), repeats), length)


def _mix(rng: random.Random, repeats: float) -> Iterator[Request]:
    workloads = [workload(rng) for workload in WORKLOADS]
    weights = list(WORKLOADS.values())
    recent: deque[Request] = deque(maxlen=REMEMBERED)
    while True:
        (workload,) = rng.choices(workloads, weights)
        for request in next(workload):
            recent.append(request)
            yield request
            while rng.random() < repeats:
                yield (
                    _half(rng, rng.choice(recent)) if rng.random() < HALVES else rng.choice(recent)
                )


def _half(rng: random.Random, request: Request) -> Request:
    if request.email is None or request.phone is None:
        return request
    return request._replace(**{rng.choice(["email", "phone"]): None})


# Clients


class _Contact(msgspec.Struct):
    primary_id: int = msgspec.field(name="primaryContatctId")
    emails: tuple[str, ...]
    phones: tuple[str, ...] = msgspec.field(name="phoneNumbers")
    secondary_ids: tuple[int, ...] = msgspec.field(name="secondaryContactIds")


class _Body(msgspec.Struct):
    contact: _Contact


class _Refusal(msgspec.Struct):
    error: str


_decoder = msgspec.json.Decoder(_Body)
_refusals = msgspec.json.Decoder(_Refusal)


def drive(
    ports: Collection[int],
    requests: Iterable[Request],
    clients: int = CLIENTS,
    *,
    deletes: float = 0,
    erases: float = 0,
) -> list[Operation]:
    """Send all requests and return their history. See `send`."""
    return run(send(ports, requests, clients, deletes=deletes, erases=erases))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the fastest event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def send(
    ports: Collection[int],
    requests: Iterable[Request],
    clients: int = CLIENTS,
    *,
    look_up: bool = False,
    deletes: float = 0,
    erases: float = 0,
    history: list[Operation] | None = None,
) -> list[Operation]:
    """Send the requests by so many clients, each with one under way, each time at any server.

    Of the answers, a share of ``deletes`` is followed by the deletion of one of their contacts, and
    a share of ``erases`` by the erasure of who has one of their values. A
    client stays away from a server that closed or refused a connection, and stops when none is
    left; so the history may be shorter than the requests. A ``history`` that is given is added to,
    and may be looked at meanwhile.
    """
    history = [] if history is None else history
    stream = iter(requests)
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            client = _Client(number, ports, look_up=look_up, deletes=deletes, erases=erases)
            group.create_task(client.run(stream, history))
    return history


class _Client:
    def __init__(
        self,
        number: int,
        ports: Collection[int],
        *,
        look_up: bool,
        deletes: float,
        erases: float,
    ) -> None:
        self._number = number
        self._rng = random.Random(number)
        self._ports = list(ports)
        self._connections: dict[int, _Connection] = {}
        self._look_up = look_up
        self._deletes = deletes
        self._erases = erases

    async def run(self, requests: Iterator[Request], history: list[Operation]) -> None:
        try:
            while self._ports and (request := next(requests, None)) is not None:
                operation = await self._ask(request)
                if operation is not None:
                    history.append(operation)
                    await self._go_on_from(operation, history)
        finally:
            for connection in self._connections.values():
                await connection.close()

    async def _go_on_from(self, operation: Operation, history: list[Operation]) -> None:
        """Delete or erase something of what was answered, or draw breath after a refusal."""
        drawn = self._rng.random()
        removal = None
        if operation.status == 503:
            await asyncio.sleep(BREATH)
        elif operation.answer and self._ports and drawn < self._deletes:
            removal = await self._delete(self._rng.choice(operation.answer.ids()))
        elif operation.answer and self._ports and drawn < self._deletes + self._erases:
            values = operation.answer.emails + operation.answer.phones
            removal = await self._erase(self._rng.choice(values))
        if removal is not None:
            history.append(removal)

    async def _ask(self, request: Request) -> Operation | None:
        """What became of the request; None when it could not be sent."""
        message = _get(request) if self._look_up else _post(request)
        exchanged = await self._exchange(message)
        if exchanged is None:
            return None
        begin, end, response = exchanged
        answer = _answer(response.body) if response.status == 200 else None
        refusal = response.refusal()
        return Operation(
            self._number,
            begin,
            end,
            *request,
            answer,
            response.status,
            self._look_up,
            refusal=refusal,
        )

    async def _delete(self, contact: int) -> Operation | None:
        exchanged = await self._exchange(
            b"DELETE /contacts/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % contact
        )
        if exchanged is None:
            return None
        begin, end, response = exchanged
        refusal = response.refusal()
        return Operation(
            self._number,
            begin,
            end,
            None,
            None,
            None,
            response.status,
            deletes=contact,
            refusal=refusal,
        )

    async def _erase(self, value: str) -> Operation | None:
        name = "email" if "@" in value else "phoneNumber"
        exchanged = await self._exchange(_posted(b"/erase", {name: value}))
        if exchanged is None:
            return None
        begin, end, response = exchanged
        refusal = response.refusal()
        return Operation(
            self._number,
            begin,
            end,
            None,
            None,
            None,
            response.status,
            erases=value,
            refusal=refusal,
        )

    async def _exchange(self, message: bytes) -> "tuple[int, int, _Response] | None":
        """When it was sent, and what came when; None when it could not be sent."""
        port = self._rng.choice(self._ports)
        connection = await self._connection(port)
        if connection is None:
            return None
        begin = time.monotonic_ns()
        response = await connection.exchange(message)
        end = time.monotonic_ns()
        if connection.is_over:
            self._ports.remove(port)
        return begin, end, response

    async def _connection(self, port: int) -> "_Connection | None":
        connection = self._connections.get(port)
        if connection is None:
            try:
                connection = await _Connection.open(port)
            except OSError:
                self._ports.remove(port)
            else:
                self._connections[port] = connection
        return connection


def _answer(body: bytes) -> Answer:
    contact = _decoder.decode(body).contact
    return Answer(contact.primary_id, contact.emails, contact.phones, contact.secondary_ids)


def _post(request: Request) -> bytes:
    return _posted(b"/identify", {"email": request.email, "phoneNumber": request.phone})


def _posted(path: bytes, value: dict[str, str | None]) -> bytes:
    body = msgspec.json.encode(value)
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path, len(body))
    return head + body


def _get(request: Request) -> bytes:
    names = {"email": request.email, "phoneNumber": request.phone}
    query = "&".join(f"{name}={quote(value)}" for name, value in names.items() if value)
    return f"GET /contacts?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


class _Response(NamedTuple):
    """The head in lower case; status 0 when none came."""

    status: int
    head: bytes
    body: bytes

    def refusal(self) -> str | None:
        """The sentence of a refusal, which must be one; a 503 must say when to come back."""
        if self.status in {0, 200, 204}:
            return None
        refusal = _refusals.decode(self.body).error
        assert self.status != 503 or b"\r\nretry-after: 1\r\n" in self.head, self.head
        return refusal


class _Connection:
    """A connection that is kept from one request to the next."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.is_over = False

    @classmethod
    async def open(cls, port: int) -> "_Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def exchange(self, message: bytes) -> _Response:
        """What is answered."""
        try:
            async with asyncio.timeout(TIMEOUT):
                self._writer.write(message)
                head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
                body = await self._reader.readexactly(_length(head))
        except (OSError, EOFError, TimeoutError):
            self.is_over = True
            return _Response(0, b"", b"")
        self.is_over = b"\r\nconnection: close" in head
        return _Response(int(head[9:12]), head, body)

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


def _length(head: bytes) -> int:
    """Of the body; the server always sends it, but with 204."""
    if head.startswith(b"http/1.1 204 "):
        return 0
    _, _, rest = head.partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0])
