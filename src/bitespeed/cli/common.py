"""What the commands share: their options, errors in one sentence, a service to work with."""

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import ParamSpec

import click
from rich.console import Console

from bitespeed import settings as settings_of
from bitespeed.caches import open_cache
from bitespeed.errors import BitespeedError, NotFound
from bitespeed.model.api_keys import tenant_name
from bitespeed.service.service import DEFAULT_TENANT, Service
from bitespeed.service.tenants import Tenants
from bitespeed.settings import Settings
from bitespeed.stores import Store, open_store

P = ParamSpec("P")

NO = 1  # exit status of a negative answer: not found, an invariant is broken
FAILED = 2  # exit status when there is no answer, as click has it for options it does not know
INTERRUPTED = 130

err = Console(stderr=True, highlight=False)

database = click.option(
    "--database",
    metavar="URL",
    help="The database, such as sqlite:///path/to.db."
    "  [default: $DATABASE_URL, else sqlite:///bitespeed.db in this folder]",
)
region = click.option(
    "--region",
    metavar="CODE",
    help="Country (ISO 3166, such as US) of phone numbers that come without a country code."
    "  [default: $BITESPEED_REGION, else none]",
)
tenant = click.option(
    "--tenant",
    default=DEFAULT_TENANT,
    show_default=True,
    metavar="SHOP",
    help="Whose customers are meant.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def telling_errors(work: Callable[P, None]) -> Callable[P, None]:
    """Turn the errors that a caller can meet into one sentence and an exit status."""

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            work(*args, **kwargs)
        except BitespeedError as error:
            click.echo(f"Error: {error}", err=True)
            raise SystemExit(NO if isinstance(error, NotFound) else FAILED) from None

    return run


def awaiting(work: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """Make a command of a coroutine function, its errors told as by `telling_errors`."""

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(work(*args, **kwargs))

    return telling_errors(run)


@asynccontextmanager
async def opened(
    database: str | None, region: str | None = None, tenant: str = DEFAULT_TENANT
) -> AsyncGenerator[tuple[Service, Settings]]:
    """A service on the database that the flags and the environment name."""
    tenant_name(tenant)
    async with all_opened(database, region) as (tenants, settings, _):
        yield tenants.of(tenant), settings


@asynccontextmanager
async def all_opened(
    database: str | None, region: str | None = None
) -> AsyncGenerator[tuple[Tenants, Settings, Store]]:
    """The services of all tenants there, and what they are on."""
    settings = settings_of.load({"database": database, "region": region})
    store = await open_store(settings.database, settings.options)
    cache = open_cache(settings.cache, store)
    tenants = Tenants(store, limits=settings.limits, cache=cache)
    try:
        yield tenants, settings, store
    finally:
        await tenants.drain()
        if cache is not None:
            await cache.close()
        await store.close()
