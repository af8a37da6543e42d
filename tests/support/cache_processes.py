"""Server processes with a cache, in one test, and what each of them does."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from bitespeed.caches import CacheOptions, open_cache
from bitespeed.caches.answers import AnswerCache, Lookup
from bitespeed.model.identifiers import Observation, observe
from bitespeed.model.identity import Answer, Snapshot
from bitespeed.service.service import Service
from bitespeed.stores.postgres.store import PostgresStore
from bitespeed.tenant import DEFAULT_TENANT
from support.invariants import assert_clean

TIMEOUT = 20.0  # seconds to wait for a change, such as the end of a suspension
POLL_INTERVAL = 0.02  # seconds
MOMENT = 0.2  # seconds in which a task that does not wait would have finished

MARTY = observe("marty@hillvalley.edu", "111")
JENNIFER = observe("jennifer@hillvalley.edu", "111")


class Counting(PostgresStore):
    """A store that counts the reads for batches."""

    reads = 0

    async def read(self, tenant: str, **wanted: Any) -> Snapshot:
        self.reads += 1
        return await super().read(tenant, **wanted)


class Process:
    """The store, cache and service of one server process."""

    def __init__(self, store: Counting, cache: AnswerCache) -> None:
        self.store = store
        self.cache = cache
        self.service = Service(store, cache=cache)

    async def knows(self, *sent: str | None) -> Answer:
        """The answer to a repeat, which must come from the cache."""
        before = self.store.reads
        answer = await self.service.identify(observe(*sent))
        assert self.store.reads == before, "The store was read."
        return answer

    async def is_filled(self) -> None:
        """Return when the work in the background is done."""
        await asyncio.gather(*self.cache._background)

    async def miss(self, *sent: str | None) -> Lookup:
        """The look-up of an observation that is not cached, with its lease."""
        lookup = await self.look_up(observe(*sent))
        assert self.cache.answers(lookup) == [None]
        await self.cache.lease(DEFAULT_TENANT, lookup)
        return lookup

    async def look_up(self, observation: Observation) -> Lookup:
        """The look-up of one observation, with its reply."""
        done: asyncio.Future[Lookup] = asyncio.get_running_loop().create_future()
        lookup = self.cache.look_up(DEFAULT_TENANT, [observation], done.set_result)
        assert await done is lookup
        return lookup

    def epoch(self) -> str | None:
        """The epoch in which this process may read from the cache."""
        licence = self.cache._epoch.licence()
        return licence and licence[0]

    async def is_in_use(self) -> None:
        """Return when this process may read from the cache."""
        await until(lambda: self.epoch() is not None)


async def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not is_so():
        assert time.monotonic() < deadline, "It did not happen."
        await asyncio.sleep(POLL_INTERVAL)


@asynccontextmanager
async def process(database: str, options: CacheOptions) -> AsyncIterator[Process]:
    store = await Counting.open(database)
    assert isinstance(store, Counting)
    cache = open_cache(options, store)
    assert cache is not None
    one = Process(store, cache)
    try:
        yield one
    finally:
        await one.service.drain()
        await cache.close()
        await store.close()


def on(database: str, options: CacheOptions, test: Callable[[Process], Awaitable[None]]) -> None:
    """Run the test with one process whose cache is in use; the store must be sound afterwards."""

    async def main() -> None:
        async with process(database, options) as one:
            await one.is_in_use()
            await test(one)
            await assert_clean(one.store)

    asyncio.run(main())


async def sql(database: str, *statements: str) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(statement.encode())
