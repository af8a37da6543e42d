"""Clients that mean a server no good, eight kinds of them, all on one event loop.

`python -m bench.hostile_clients PORT KEY SECONDS KIND...` prints what each kind got, as JSON.
"""

import asyncio
import json
import os
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import msgspec

PHONE = "5550100"  # of the large identity
CONTACTS = 20_000  # of the large identity
BATCH = 1000  # observations

_ONE_READ = 256 * 1024  # bytes
_ANSWER_TIMEOUT = 10.0  # seconds for a whole answer; beyond every deadline of the server
_NARROW = 4096  # bytes that a client which reads slowly has room for
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_STATUS_LENGTH = len(b"HTTP/1.1 200 ")

_HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Hostile(msgspec.Struct, frozen=True):
    """What the clients of each kind were answered, and what they cost."""

    statuses: dict[str, dict[int, int]]
    """How often each kind got each status."""
    cpu: float
    """Share of one core that all of them together used."""


class Clients:
    """The clients of all kinds, until the end on the clock of the loop."""

    def __init__(self, port: int, key: str, end: float) -> None:
        self._port = port
        self._key = key
        self._end = end
        self._loop = asyncio.get_running_loop()
        self.statuses: dict[str, Counter[int]] = {kind: Counter() for kind in KINDS}

    def post(self, body: bytes, path: str = "/identify", *lines: str, key: str = "") -> bytes:
        """A request with a valid key, or with the one given."""
        head = [
            f"POST {path} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {key or self._key}",
            *(lines or (f"Content-Length: {len(body)}",)),
        ]
        return "\r\n".join([*head, "", ""]).encode() + body

    async def again_and_again(self, kind: str, number: int) -> None:
        """The client from its beginning until the end, whatever the server does to it."""
        while self._loop.time() < self._end:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout_at(self._end):
                    await KINDS[kind].behave(self, number)
            await asyncio.sleep(0.01)  # also where the server accepts nobody

    @asynccontextmanager
    async def connection(self, *, is_narrow: bool = False) -> AsyncIterator[socket.socket]:
        with socket.socket() as connection:
            connection.setblocking(False)
            if is_narrow:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW)
            await self._loop.sock_connect(connection, ("127.0.0.1", self._port))
            yield connection

    async def read(self, kind: str, connection: socket.socket, answers: int = 0) -> None:
        """Count the statuses of so many answers; without a number, of all until the end."""
        found, rest = 0, b""
        async with asyncio.timeout(_ANSWER_TIMEOUT if answers else None):
            while piece := await self._loop.sock_recv(connection, _ONE_READ):
                text = rest + piece
                statuses = _STATUS.findall(text)
                self.statuses[kind].update(map(int, statuses))
                found += len(statuses)
                # What was counted is not counted again.
                rest = text[-_STATUS_LENGTH + 1 :] if len(piece) >= _STATUS_LENGTH else text
                if answers and found >= answers and text.endswith((b"}", b"]")):
                    return

    async def pipelining(self, _: int) -> None:
        """Send without end, and take the answers."""
        burst = (_HEALTH * 9 + self.post(b'{"email":"pipelined@x.zz"}')) * 100
        with suppress(OSError):
            async with self.connection() as connection:
                reader = asyncio.ensure_future(self.read("pipelining", connection))
                try:
                    while not reader.done():
                        await self._loop.sock_sendall(connection, burst)
                finally:
                    reader.cancel()
                    await asyncio.wait({reader})

    async def slow(self, number: int) -> None:
        """Send a head or a body slowly, or read a large answer slowly."""
        async with self.connection(is_narrow=True) as connection:
            if number % 6 == 0:
                drops = self.post(b"", "/identify", "Content-Length: 1000")
            elif number % 6 == 1:
                head = self.post(b"", "/identify/batch", "Content-Length: 1000000")
                await self._loop.sock_sendall(connection, head)
                drops = b"[" + b" " * 100_000
            else:
                # More than the system's buffers take, so that the server has to keep the rest.
                await self._loop.sock_sendall(connection, self.post(self.large(number)) * 20)
                drops = b""
            for start in range(200):
                if drops:
                    size = max(1, len(drops) // 100)
                    piece = drops[start * size : (start + 1) * size]
                    await self._loop.sock_sendall(connection, piece)
                else:
                    piece = await self._loop.sock_recv(connection, 1024)
                    self.statuses["slow"].update(map(int, _STATUS.findall(piece)))
                    if not piece:
                        return
                await asyncio.sleep(0.5)

    async def half_closed(self, number: int) -> None:
        """Send that nothing more comes, behind requests or within one."""
        whole = self.post(self.large(number)) if number == 0 else _HEALTH * 5
        async with self.connection() as connection:
            await self._loop.sock_sendall(connection, whole + self.post(b"{}")[:-1])
            connection.shutdown(socket.SHUT_WR)
            await self.read("half-closed", connection)
        await asyncio.sleep(0.05)

    async def batches(self, number: int) -> None:
        """Name the large identity in every observation of a batch, by names not used before."""
        first = (self.statuses["batches"].total() * BATCH + number * 7) % (CONTACTS - BATCH)
        names = [{"email": f"l{name}@x.zz"} for name in range(first, first + BATCH)]
        async with self.connection() as connection:
            request = self.post(json.dumps(names).encode(), "/identify/batch")
            await self._loop.sock_sendall(connection, request)
            await self.read("batches", connection, answers=1)

    async def heads(self, number: int) -> None:
        """Send a head that is too long, has too many lines or never ends."""
        line = [b"X-Long: " + b"x" * 100_000, b"X: y\r\n" * 3000, b"X" * 1_000_000][number % 3]
        async with self.connection() as connection:
            with suppress(ConnectionError):
                request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + line + b"\r\n\r\n"
                await self._loop.sock_sendall(connection, request)
            await self.read("heads", connection)
        await asyncio.sleep(0.05)

    async def trailers(self, _: int) -> None:
        """Send thousands of trailers."""
        async with self.connection() as connection:
            with suppress(ConnectionError):
                request = self.post(b"", "/identify", "Transfer-Encoding: chunked")
                request += b"2\r\n{}\r\n0\r\n" + b"X-Trailer: y\r\n" * 5000 + b"\r\n"
                await self._loop.sock_sendall(connection, request)
            await self.read("trailers", connection)
        await asyncio.sleep(0.05)

    async def unknown_keys(self, _: int) -> None:
        """Guess keys, each of another id."""
        async with self.connection() as connection:
            while True:
                key = f"bsk_{os.urandom(6).hex()}_{os.urandom(32).hex()}"
                body = b'{"email":"guessed@x.zz"}'
                await self._loop.sock_sendall(connection, self.post(body, key=key))
                await self.read("unknown keys", connection, answers=1)
                await asyncio.sleep(0.005)

    async def connections(self, number: int) -> None:
        """Connect, send one request, and wait to be thrown out; at last leave."""
        async with self.connection() as connection:
            await self._loop.sock_sendall(connection, _HEALTH)
            await self.read("connections", connection, answers=1)
            with suppress(TimeoutError):
                async with asyncio.timeout(5 + number % 10):
                    await self._loop.sock_sendall(connection, _HEALTH[:-2])
                    await self.read("connections", connection)

    def large(self, number: int) -> bytes:
        """An observation of the large identity, by a name that few others use."""
        return json.dumps({"email": f"l{number * 31 % CONTACTS}@x.zz"}).encode()


class Kind(NamedTuple):
    """Clients that behave alike."""

    behave: Callable[[Clients, int], Awaitable[None]]
    """What one does on a connection, of the clients and its number; then it does it again."""
    count: int
    usual: int
    """A status that some of its answers must have."""


KINDS = {
    "pipelining": Kind(Clients.pipelining, 2, 200),
    "slow": Kind(Clients.slow, 120, 200),
    "half-closed": Kind(Clients.half_closed, 8, 200),
    "batches": Kind(Clients.batches, 4, 200),
    "heads": Kind(Clients.heads, 6, 400),
    "trailers": Kind(Clients.trailers, 4, 400),
    "unknown keys": Kind(Clients.unknown_keys, 8, 401),
    "connections": Kind(Clients.connections, 1000, 200),
}


async def attack(port: int, key: str, seconds: float, kinds: Sequence[str]) -> Hostile:
    """All clients of these kinds at once, for so many seconds."""
    clients = Clients(port, key, asyncio.get_running_loop().time() + seconds)
    began, cpu = time.monotonic(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for kind in kinds:
            for number in range(KINDS[kind].count):
                group.create_task(clients.again_and_again(kind, number))
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    return Hostile({kind: dict(clients.statuses[kind]) for kind in kinds}, share)


def main() -> None:
    port, key, seconds, *kinds = sys.argv[1:]
    found = asyncio.run(attack(int(port), key, float(seconds), kinds))
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
