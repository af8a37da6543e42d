"""Redis and Valkey over one connection, on which commands are sent without waiting for replies.

A batch needs one command. redis-py takes 58 µs of processor time for it, and hiredis, which is its
parser, 12 µs; see docs/decisions/0009-cache.md.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import hiredis
import msgspec

from bitespeed.caches.engine import Reply, UnknownScript, Word
from bitespeed.caches.refusals import UNREACHABLE, Refusals, reason_of
from bitespeed.errors import CacheUnavailable, InvalidInput

CONNECT_TIMEOUT = 1.0  # seconds until the server has accepted and sent its id
RECONNECT_DELAY = 0.25  # seconds between attempts to connect
MAX_UNANSWERED = 1000  # commands on the connection; beyond it, a new one is opened
EXPIRY_INTERVAL = 0.005  # seconds between checks for overdue commands; a timer for each costs more

_pack = cast("Callable[[tuple[Word, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType] - hiredis is partly typed

_FORM = "REDIS_URL must look like redis://host:6379/0 or rediss://user:password@host:6379/0"


class RedisEngine:
    """An `Engine` that connects in the background, and raises while there is no connection."""

    read_timeout = 0.02
    write_timeout = 0.25

    def __init__(self, url: str) -> None:
        self._target = _Target(url)
        self._connection: _Connection | None = None
        self._server: str | None = None
        self._refusals = Refusals()
        self._has_connected = asyncio.Event()
        self._connecting = asyncio.get_running_loop().create_task(self._stay_connected())

    @property
    def server(self) -> str | None:
        """See `Engine.server`."""
        return self._server

    async def wait_until_connected(self) -> None:
        """See `Engine.wait_until_connected`."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._has_connected.wait()
        except TimeoutError:
            raise CacheUnavailable(self._refusals.latest) from None

    def look_up(self, keys: Sequence[bytes], on_reply: Callable[[Reply], None]) -> None:
        """See `Engine.look_up`."""
        if self._connection is None:
            asyncio.get_running_loop().call_soon(on_reply, CacheUnavailable(UNREACHABLE))
        else:
            self._connection.send(("MGET", *keys), self.read_timeout, on_reply)

    def call(self, *command: Word, timeout: float | None = None) -> asyncio.Future[Any]:
        """See `Engine.call`."""
        if self._connection is None:
            return _failed(CacheUnavailable(UNREACHABLE))
        return self._connection.request(command, timeout or self.write_timeout)

    async def close(self) -> None:
        """See `Engine.close`."""
        self._connecting.cancel()
        await asyncio.gather(self._connecting, return_exceptions=True)

    async def _stay_connected(self) -> None:
        while True:
            connection = None
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    connection = await self._target.connect()
                    self._server = await _run_id(connection)
                self._connection = connection
                self._has_connected.set()
                self._refusals.forget()
                await connection.lost
            except (OSError, TimeoutError) as error:
                self._refusals.report(reason_of(error))
            except CacheUnavailable as refusal:
                self._refusals.report(str(refusal))
            finally:
                self._connection = self._server = None
                if connection is not None:
                    connection.close()
            await asyncio.sleep(RECONNECT_DELAY)


class _Target:
    """The server, user and database of a URL like ``rediss://user:password@host:6379/0``."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port or 6379
        except ValueError:
            raise InvalidInput(_FORM) from None
        if parts.scheme not in {"redis", "rediss"} or not self._host:
            raise InvalidInput(_FORM)
        self._tls = ssl.create_default_context() if parts.scheme == "rediss" else None
        self._greeting: list[tuple[Word, ...]] = []
        if parts.password:
            user = [unquote(parts.username)] if parts.username else []
            self._greeting.append(("AUTH", *user, unquote(parts.password)))
        if database := parts.path.strip("/"):
            self._greeting.append(("SELECT", database))

    async def connect(self) -> "_Connection":
        """A connection that is logged in. Raises `OSError` and `CacheUnavailable`."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            _Connection, self._host, self._port, ssl=self._tls
        )
        try:
            for command in self._greeting:
                await connection.request(command, CONNECT_TIMEOUT)
        except BaseException:
            connection.close()
            raise
        return connection


class _PendingCommand(msgspec.Struct, eq=False):
    """A command that was sent, and waits for its reply."""

    on_reply: Callable[[Any], None]
    deadline: float
    """By the clock of the event loop."""
    is_overdue: bool = False
    """Whether ``on_reply`` was called with an error already, since the deadline has passed."""


class _Connection(asyncio.Protocol):
    """One connection; replies arrive in the order of the commands."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: deque[_PendingCommand] = deque()
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def request(self, command: tuple[Word, ...], timeout: float) -> asyncio.Future[Any]:
        """Send a command; the future gets its reply, or `CacheUnavailable` after the timeout."""
        reply: asyncio.Future[Any] = self._loop.create_future()
        self.send(command, timeout, partial(_resolve, reply))
        return reply

    def send(
        self, command: tuple[Word, ...], timeout: float, on_reply: Callable[[Any], None]
    ) -> None:
        """Send a command, and call ``on_reply`` with its reply or `CacheUnavailable`.

        The call, which must not raise, comes at a later turn of the event loop, directly from where
        the reply is received, and after the timeout at the latest.
        """
        if self._transport is None or self._transport.is_closing():
            self._loop.call_soon(on_reply, CacheUnavailable(UNREACHABLE))
            return
        if len(self._waiting) >= MAX_UNANSWERED:
            self._transport.abort()
            self._loop.call_soon(on_reply, CacheUnavailable("The cache lags too far behind"))
            return
        self._waiting.append(_PendingCommand(on_reply, self._loop.time() + timeout))
        self._transport.write(_pack(command))
        if self._expiry_timer is None:
            self._expiry_timer = self._loop.call_later(EXPIRY_INTERVAL, self._expire_overdue)

    def _expire_overdue(self) -> None:
        """Call ``on_reply`` with an error for each command whose deadline has passed.

        The command stays in the queue, since its reply may still arrive and must be skipped.
        """
        now = self._loop.time()
        for command in tuple(self._waiting):
            if command.deadline <= now and not command.is_overdue:
                command.is_overdue = True
                command.on_reply(CacheUnavailable("The cache did not answer in time"))
        self._expiry_timer = None
        if self._waiting:
            self._expiry_timer = self._loop.call_later(EXPIRY_INTERVAL, self._expire_overdue)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                command = self._waiting.popleft()
                if not command.is_overdue:
                    is_error = isinstance(reply, hiredis.ReplyError)
                    command.on_reply(_refusal(reply) if is_error else reply)
        except (hiredis.HiredisError, IndexError):
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol has it
        """See `asyncio.Protocol`."""
        waiting, self._waiting = self._waiting, deque()
        for command in waiting:
            if not command.is_overdue:
                command.on_reply(CacheUnavailable(UNREACHABLE))
        if not self.lost.done():
            self.lost.set_result(None)

    def close(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()


def _resolve(reply: asyncio.Future[Any], outcome: Any) -> None:
    """Complete a future with a reply or an error, unless its caller has cancelled it."""
    if reply.done():
        return
    if isinstance(outcome, CacheUnavailable):
        reply.set_exception(outcome)
        reply.exception()  # asyncio would log an error that no caller reads
    else:
        reply.set_result(outcome)


def _failed(error: CacheUnavailable) -> asyncio.Future[Any]:
    reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    _resolve(reply, error)
    return reply


def _refusal(reply: Exception) -> CacheUnavailable:
    """The error for the server's reply, of which it has the code only: the rest may have a key."""
    code = str(reply).partition(" ")[0]
    if code == "NOSCRIPT":
        return UnknownScript("The cache does not know a script yet")
    return CacheUnavailable(f"The cache refuses a command: {code}")


async def _run_id(connection: _Connection) -> str:
    """The id that the server took when it was started.

    Raises `CacheUnavailable` for a replica, and for a server that may evict keys: an evicted fence
    protects nothing.
    """
    info = await connection.request(("INFO",), CONNECT_TIMEOUT)
    lines = info.decode().splitlines() if isinstance(info, bytes) else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    if not facts.get("run_id"):
        raise CacheUnavailable("The cache server does not send its run_id")
    if facts.get("maxmemory", "0") != "0" and facts.get("maxmemory_policy") != "noeviction":
        raise CacheUnavailable("The cache must run with maxmemory-policy noeviction")
    if facts.get("role", "master") != "master":
        raise CacheUnavailable("The cache is a replica")
    return facts["run_id"]
