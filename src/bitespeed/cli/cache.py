"""``bitespeed cache``."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import click

from bitespeed.caches import open_cache
from bitespeed.caches.answers import AnswerCache
from bitespeed.cli.common import as_json, awaiting, database, load
from bitespeed.errors import InvalidInput
from bitespeed.runtime import open_only_store, open_prepared_store


@click.group(short_help="Show the state of the cache of answers, or clear it.")
def cache() -> None:
    """Show the state of the cache of answers, or clear it.

    REDIS_URL names the cache, or UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN.
    """


@cache.command()
@as_json
@database
@awaiting
async def stats(as_json: bool, database: str | None) -> None:
    """Show hits and misses of all servers in the present epoch.

    An epoch lasts until the cache is cleared, loses its data, or cannot be reached by a server
    that writes. When none is in use, the reason is shown.
    """
    async with _opened(database) as cache:
        figures = await cache.stats()
    if as_json:
        click.echo(json.dumps(figures))
    else:
        for name, value in figures.items():
            click.echo(f"{name:12} {value}")


@cache.command()
@database
@awaiting
async def clear(database: str | None) -> None:
    """Remove every answer. Servers fill the cache again after a few seconds."""
    async with _opened(database) as cache:
        await cache.clear()
    click.echo("Cleared.")


@asynccontextmanager
async def _opened(database: str | None) -> AsyncGenerator[AnswerCache]:
    settings = load(database=database)
    if not settings.cache:
        raise InvalidInput("No cache is configured; set REDIS_URL or UPSTASH_REDIS_REST_URL")
    async with open_only_store(settings, open_prepared_store) as store:
        cache = open_cache(settings.cache, store, follows=False)
        assert cache is not None  # noqa: S101 - one is configured
        try:
            yield cache
        finally:
            await cache.close()
