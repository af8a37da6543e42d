"""Redis and Valkey over one connection, on which commands follow each other without waiting.

A batch needs one command, and redis-py takes 58 µs of the processor for it where hiredis, which
parses for it, takes 12; see docs/decisions/0009-cache.md.
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
from bitespeed.errors import CacheUnavailable, InvalidInput
from bitespeed.telemetry.logs import log

CONNECT_TIME = 1.0  # seconds until the server must have accepted and told who it is
RETRY_PAUSE = 0.25  # seconds between attempts to connect
MAX_UNANSWERED = 1000  # commands on the connection; a server that lags further behind is given up
LOOK = 0.005  # seconds between looks for commands whose time is over; a timer for each is dearer

_pack = cast("Callable[[tuple[Word, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType] - hiredis is partly typed

_AWAY = "The cache cannot be reached"
_FORM = "REDIS_URL must look like redis://host:6379/0 or rediss://..."


class RedisEngine:
    """An `Engine` that connects in the background and refuses while there is no connection."""

    read_time = 0.02
    write_time = 0.25

    def __init__(self, url: str) -> None:
        self._target = _Target(url)
        self._link: _Link | None = None
        self._server: str | None = None
        self._has_connected = asyncio.Event()
        self._connecting = asyncio.get_running_loop().create_task(self._stay_connected())

    @property
    def server(self) -> str | None:
        """See `Engine.server`."""
        return self._server

    async def connected(self) -> None:
        """See `Engine.connected`."""
        try:
            async with asyncio.timeout(CONNECT_TIME):
                await self._has_connected.wait()
        except TimeoutError:
            raise CacheUnavailable(_AWAY) from None

    def look_up(self, keys: Sequence[bytes], tell: Callable[[Reply], None]) -> None:
        """See `Engine.look_up`."""
        if self._link is None:
            asyncio.get_running_loop().call_soon(tell, CacheUnavailable(_AWAY))
        else:
            self._link.ask(("MGET", *keys), self.read_time, tell)

    def call(self, *command: Word, patience: float | None = None) -> asyncio.Future[Any]:
        """See `Engine.call`."""
        if self._link is None:
            return _failed(CacheUnavailable(_AWAY))
        return self._link.send(command, patience or self.write_time)

    async def close(self) -> None:
        """See `Engine.close`."""
        self._connecting.cancel()
        await asyncio.gather(self._connecting, return_exceptions=True)

    async def _stay_connected(self) -> None:
        told = ""  # why the server cannot be used, so that the log has it once
        while True:
            link = None
            try:
                async with asyncio.timeout(CONNECT_TIME):
                    link = await self._target.connect()
                    self._server = await _identity(link)
                self._link = link
                self._has_connected.set()
                told = ""
                await link.lost
            except (OSError, TimeoutError):
                pass
            except CacheUnavailable as refusal:
                if told != (told := str(refusal)):
                    log.warning("cache.refused", message=told)
            finally:
                self._link = self._server = None
                if link is not None:
                    link.close()
            await asyncio.sleep(RETRY_PAUSE)


class _Target:
    """Where a URL such as ``rediss://user:password@host:6379/0`` leads."""

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

    async def connect(self) -> "_Link":
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(_Link, self._host, self._port, ssl=self._tls)
        try:
            for command in self._greeting:
                await link.send(command, CONNECT_TIME)
        except BaseException:
            link.close()
            raise
        return link


class _Asked(msgspec.Struct, eq=False):
    """A command that waits for its reply, until ``late_at`` on the event loop's clock."""

    tell: Callable[[Any], None]
    late_at: float
    is_late: bool = False


class _Link(asyncio.Protocol):
    """One connection; replies come in the order of the commands."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: deque[_Asked] = deque()
        self._looking: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def send(self, command: tuple[Word, ...], patience: float) -> asyncio.Future[Any]:
        """Send a command; its reply, or `CacheUnavailable`, comes to the future in time."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        self.ask(command, patience, partial(_settle, answer))
        return answer

    def ask(self, command: tuple[Word, ...], patience: float, tell: Callable[[Any], None]) -> None:
        """`send`, whose outcome is told at a later turn of the event loop, straight from where it
        is received. ``tell`` must not raise.
        """
        if self._transport is None or self._transport.is_closing():
            self._loop.call_soon(tell, CacheUnavailable(_AWAY))
            return
        if len(self._waiting) >= MAX_UNANSWERED:
            self._transport.abort()
            self._loop.call_soon(tell, CacheUnavailable("The cache lags too far behind"))
            return
        self._waiting.append(_Asked(tell, self._loop.time() + patience))
        self._transport.write(_pack(command))
        if self._looking is None:
            self._looking = self._loop.call_later(LOOK, self._look)

    def _look(self) -> None:
        """Give up on replies that do not come in time; what comes later, nobody is told."""
        now = self._loop.time()
        for asked in tuple(self._waiting):
            if asked.late_at <= now and not asked.is_late:
                asked.is_late = True
                asked.tell(CacheUnavailable("The cache did not answer in time"))
        self._looking = self._loop.call_later(LOOK, self._look) if self._waiting else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                asked = self._waiting.popleft()
                if not asked.is_late:
                    asked.tell(_refusal(reply) if isinstance(reply, hiredis.ReplyError) else reply)
        except (hiredis.HiredisError, IndexError):
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol has it
        """See `asyncio.Protocol`."""
        waiting, self._waiting = self._waiting, deque()
        for asked in waiting:
            if not asked.is_late:
                asked.tell(CacheUnavailable(_AWAY))
        if not self.lost.done():
            self.lost.set_result(None)

    def close(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()


def _settle(answer: asyncio.Future[Any], outcome: Any) -> None:
    if answer.done():
        return  # nobody waits for it any more
    if isinstance(outcome, CacheUnavailable):
        answer.set_exception(outcome)
        answer.exception()  # perhaps nobody will look at it
    else:
        answer.set_result(outcome)


def _failed(error: CacheUnavailable) -> asyncio.Future[Any]:
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    _settle(answer, error)
    return answer


def _refusal(reply: Exception) -> CacheUnavailable:
    """The server's own words may quote a key and go nowhere; their first one is a code."""
    code = str(reply).partition(" ")[0]
    if code == "NOSCRIPT":
        return UnknownScript("The cache does not know a script yet")
    return CacheUnavailable(f"The cache refuses a command: {code}")


async def _identity(link: _Link) -> str:
    """The server's own name for itself since it was started.

    Raises `CacheUnavailable` for a server that may drop what nobody asked it to drop, since a
    fence that is dropped fences nothing.
    """
    told = await link.send(("INFO",), CONNECT_TIME)
    lines = told.decode().splitlines() if isinstance(told, bytes) else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    if not facts.get("run_id"):
        raise CacheUnavailable("The cache does not tell who it is")
    if facts.get("maxmemory", "0") != "0" and facts.get("maxmemory_policy") != "noeviction":
        raise CacheUnavailable("The cache must run with maxmemory-policy noeviction")
    if facts.get("role", "master") != "master":
        raise CacheUnavailable("The cache is a replica")
    return facts["run_id"]
