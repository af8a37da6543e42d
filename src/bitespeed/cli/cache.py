"""``bitespeed cache``."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import click

from bitespeed import settings as settings_of
from bitespeed.caches import open_cache
from bitespeed.caches.answers import AnswerCache
from bitespeed.cli.common import as_json, awaiting, database
from bitespeed.errors import InvalidInput
from bitespeed.stores import open_store


@click.group()
def cache() -> None:
    """Look at the cache of answers, or clear it.

    The cache is named by REDIS_URL, or UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN.
    """


@cache.command()
@as_json
@database
@awaiting
async def stats(as_json: bool, database: str | None) -> None:
    """Tell what the cache is at: hits and misses of all servers in the present epoch.

    An epoch lasts until the cache is cleared, loses its data or cannot be reached by a writer.
    """
    async with _opened(database) as cache:
        told = await cache.stats()
    if as_json:
        click.echo(json.dumps(told))
    else:
        for name, value in told.items():
            click.echo(f"{name:12} {value}")


@cache.command()
@database
@awaiting
async def clear(database: str | None) -> None:
    """Forget every answer. Servers fill the cache again after a few seconds."""
    async with _opened(database) as cache:
        await cache.clear()
    click.echo("Cleared.")


@asynccontextmanager
async def _opened(database: str | None) -> AsyncGenerator[AnswerCache]:
    settings = settings_of.load({"database": database})
    store = await open_store(settings.database, settings.options)
    try:
        cache = open_cache(settings.cache, store)
        if cache is None:
            raise InvalidInput("No cache is configured; set REDIS_URL or UPSTASH_REDIS_REST_URL")
        try:
            yield cache
        finally:
            await cache.close()
    finally:
        await store.close()
