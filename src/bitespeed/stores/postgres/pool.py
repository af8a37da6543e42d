"""The connections of a process: made when needed, kept, and never more than so many."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from bitespeed.errors import AccessRefused, StoreUnavailable
from bitespeed.stores.options import Renew
from bitespeed.stores.postgres.statement_connection import StatementConnection
from bitespeed.telemetry.metrics import pool_connections, pool_limit

MAX_AGE = 1800.0  # seconds; the server's memory for a connection grows, and a fail-over moves on

_USED, _IDLE, _WAITING = (pool_connections[state] for state in ("used", "idle", "waiting"))


class Pool:
    """Up to ``size`` connections; the one used last is used next, so that a lull needs few."""

    def __init__(self, url: str, size: int, timeout: float, renew: Renew | None = None) -> None:
        self._url = url
        self._timeout = timeout
        self._size = size
        pool_limit.set(size)
        self._renew = renew
        self._free = asyncio.Semaphore(size)
        self._idle: list[StatementConnection] = []
        self._loop = asyncio.get_running_loop()
        self._is_closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[StatementConnection]:
        """A connection for one statement. Raises `StoreUnavailable` when none is free in time."""
        _WAITING.add(1)
        try:
            async with asyncio.timeout(self._timeout):
                await self._free.acquire()
        except TimeoutError:
            raise StoreUnavailable("All connections to the database are busy; try again") from None
        finally:
            _WAITING.add(-1)
        _USED.add(1)
        try:
            connection = self._kept() or await self._opened()
            try:
                yield connection
            finally:
                self._keep(connection)
        finally:
            _USED.add(-1)
            self._free.release()

    async def _opened(self) -> StatementConnection:
        try:
            return await StatementConnection.open(self._url, self._timeout)
        except AccessRefused:
            if self._renew is None:
                raise
            self._url, _ = await self._renew()
            return await StatementConnection.open(self._url, self._timeout)

    def _kept(self) -> StatementConnection | None:
        while self._idle:
            connection = self._idle.pop()
            _IDLE.set(len(self._idle))
            if connection.is_usable:
                return connection
            connection.close()
        return None

    def _keep(self, connection: StatementConnection) -> None:
        is_too_old = self._loop.time() >= connection.made_at + MAX_AGE
        if self._is_closed or is_too_old or not connection.is_usable:
            connection.close()
        else:
            self._idle.append(connection)
            _IDLE.set(len(self._idle))

    async def close(self) -> None:
        """Wait for what is under way, as long as for an answer, and close all connections."""
        if self._is_closed:
            return
        self._is_closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                for _ in range(self._size):
                    await self._free.acquire()
        while self._idle:
            self._idle.pop().close()
