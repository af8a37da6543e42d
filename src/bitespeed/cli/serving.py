"""``bitespeed serve``."""

import asyncio

import click

from bitespeed import __version__, watch
from bitespeed import settings as settings_of
from bitespeed.cli.common import database, region, telling_errors
from bitespeed.http import server
from bitespeed.settings import Settings
from bitespeed.stores import open_store


@click.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on.  [default: 8000]")
@click.option("--workers", type=int, help="Server processes on the one database.  [default: 1]")
@database
@region
@telling_errors
def serve(**flags: object) -> None:
    """Serve the HTTP API until stopped.

    SIGTERM and Ctrl-C let it answer what it has accepted first. The API is described at
    /docs, where it can be tried as well.
    """
    settings = settings_of.load(flags)
    watch.configure(settings.watch)
    asyncio.run(_prepare(settings))
    click.echo(
        f"bitespeed {__version__} on http://{settings.host}:{settings.port}"
        f" (try it at /docs), database {settings.database_shown}"
    )
    server.run(settings)


async def _prepare(settings: Settings) -> None:
    """Fail here, in one sentence, rather than in a worker when the database is of no use."""
    store = await open_store(settings.database, settings.options)
    await store.close()
