"""``bitespeed serve``."""

import asyncio
import os

import click

from bitespeed import __version__, telemetry
from bitespeed import settings as settings_of
from bitespeed.caches import open_cache
from bitespeed.cli.common import database, region, telling_errors
from bitespeed.errors import InvalidInput
from bitespeed.queues import open_queue
from bitespeed.server import process as server
from bitespeed.server import workers
from bitespeed.settings import Settings
from bitespeed.stores import open_store


@click.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on.  [default: 8000]")
@click.option(
    "--public",
    is_flag=True,
    default=None,
    help="Let everybody who reaches it in, without an API key, as long as there is none.",
)
@click.option("--workers", type=int, help="Server processes on the one database.  [default: 1]")
@database
@region
@telling_errors
def serve(**flags: object) -> None:
    """Serve the HTTP API until stopped.

    SIGTERM and Ctrl-C let it answer what it has accepted first. The API is described at
    /docs, where it can be tried as well. On a loopback address no API key is needed as long as
    there is none; see bitespeed keys.
    """
    settings = settings_of.load(flags)
    telemetry.configure(settings.telemetry)
    asyncio.run(_prepare(settings))
    listener = server.listen(settings)
    click.echo(
        f"bitespeed {__version__} on {settings.url}"
        f" (try it at /docs), database {settings.database_shown}"
    )
    os.environ.update(settings.to_environment())  # where the application reads them from
    _raise_file_limit()
    if settings.workers == 1:
        server.serve(settings, listener)
    else:
        workers.supervise(settings, listener)


def _raise_file_limit() -> None:
    """As many connections as the system lets us have; usually few of them are given unasked."""
    if os.name == "posix":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _prepare(settings: Settings) -> None:
    """Fail here, in one sentence, rather than in a worker, which would be replaced again and again.

    Raises when the database is of no use, or `InvalidInput` when nobody could come in, or when the
    cache, the queue or an exporter is set in a way that cannot work.
    """
    open_queue(settings.sqs_url)
    telemetry.open_exporters(settings.telemetry)
    await telemetry.close_exporters()
    store = await open_store(settings.database, settings.options)
    try:
        if (cache := open_cache(settings.cache, store)) is not None:
            await cache.close()
        if settings.needs_key and not await store.keys():
            raise InvalidInput(
                f"There is no API key, so whoever reaches {settings.host} could read, change and"
                " delete every customer. Make one with: bitespeed keys create --tenant default"
                " --scope identify,read. Or pass --public if that is what you mean"
            )
    finally:
        await store.close()
