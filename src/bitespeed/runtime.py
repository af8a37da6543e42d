"""What a process works with, opened in order and closed in reverse.

Servers, Lambda functions and commands open it here, so that none of them forgets a part.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import msgspec

from bitespeed import telemetry
from bitespeed.caches import open_cache
from bitespeed.caches.answers import AnswerCache
from bitespeed.queues import Queue, open_queue
from bitespeed.service.tenants import Tenants
from bitespeed.settings import Settings
from bitespeed.stores import open_store
from bitespeed.stores.protocols import AnyStore
from bitespeed.telemetry.failures import guard_loop
from bitespeed.telemetry.logs import use_pseudonym_secret

OpenStore = Callable[[Settings], Awaitable[AnyStore]]


class Runtime(NamedTuple):
    """The open parts of a process."""

    store: AnyStore
    cache: AnswerCache | None
    """None where none is configured."""
    tenants: Tenants
    queue: Queue | None
    """None where none is configured."""


async def open_configured_store(settings: Settings) -> AnyStore:
    """Open the store that the settings name. See `open_store`."""
    return await open_store(settings.database, settings.options)


async def open_prepared_store(settings: Settings) -> AnyStore:
    """Open the store as it is, to read: no file is created and nothing is migrated, and contacts to
    adopt may be there.

    Raises `StoreDamaged` for a database that is not prepared or behind this version, and
    `InvalidInput` for a missing file.
    """
    options = msgspec.structs.replace(
        settings.options, migrate=False, creates=False, ignore_existing=True
    )
    return await open_store(settings.database, options)


@asynccontextmanager
async def open_telemetry(settings: Settings) -> AsyncGenerator[None]:
    """Log, trace and report errors as configured, for a process that runs until it is stopped.

    Raises `InvalidInput` when an extra that this needs is not installed.
    """
    telemetry.configure(settings.telemetry)
    guard_loop(asyncio.get_running_loop())
    async with AsyncExitStack() as closing:
        closing.push_async_callback(telemetry.close_exporters)
        telemetry.open_exporters(settings.telemetry)
        yield


@asynccontextmanager
async def open_runtime(
    settings: Settings, open_: OpenStore = open_configured_store
) -> AsyncGenerator[Runtime]:
    """Open the store, the cache, the tenants' services and the queue, in this order.

    On leaving, what is under way is finished and everything closed in reverse, each part even if
    another fails to close. Raises `InvalidInput` for settings that cannot work, and
    `StoreUnavailable` when the database cannot be reached.
    """
    async with AsyncExitStack() as closing:
        store = await open_(settings)
        closing.push_async_callback(store.close)
        use_pseudonym_secret(await store.secret())
        cache = open_cache(settings.cache, store)
        if cache is not None:
            closing.push_async_callback(cache.close)
        tenants = Tenants(store, limits=settings.limits, cache=cache)
        closing.push_async_callback(tenants.drain)
        yield Runtime(store, cache, tenants, open_queue(settings.sqs_url))


@asynccontextmanager
async def open_only_store(
    settings: Settings, open_: OpenStore = open_configured_store
) -> AsyncGenerator[AnyStore]:
    """The store alone, for work that needs nothing else; closed on leaving."""
    store = await open_(settings)
    try:
        yield store
    finally:
        await store.close()
