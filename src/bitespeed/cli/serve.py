"""``bitespeed serve``."""

import asyncio
import os

import click

from bitespeed import __version__, telemetry
from bitespeed.cli.common import database, region, reporting_errors
from bitespeed.cli.dotenv import DOTENV, read_dotenv
from bitespeed.errors import InvalidInput
from bitespeed.runtime import open_runtime, open_telemetry
from bitespeed.server import process as server
from bitespeed.server import workers
from bitespeed.server.open_files import with_room_for_connections
from bitespeed.settings import Settings, load_settings


@click.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on.  [default: 8000]")
@click.option(
    "--public",
    is_flag=True,
    default=None,
    help="Answer everybody who reaches it without an API key, as long as there is none.",
)
@click.option("--workers", type=int, help="Server processes on the one database.  [default: 1]")
@database
@region
@reporting_errors
def serve(**flags: object) -> None:
    """Serve the HTTP API until stopped.

    \b
      bitespeed serve
      bitespeed serve --port 9000 --database postgresql://user@host/name

    The API is described at /docs, where it can be tried as well. On a loopback address no API key
    is needed as long as there is none; see bitespeed keys. SIGTERM and Ctrl-C stop it after it
    has answered what it has accepted.
    """  # noqa: D301 - the character \b, by which click keeps lines as they are
    has_dotenv = read_dotenv()
    settings = load_settings(flags)
    telemetry.configure(settings.telemetry)
    asyncio.run(_check(settings))
    listener = server.listen(settings)
    click.echo(
        f"bitespeed {__version__} on {settings.url} (try it at /docs),"
        f" database {settings.database_shown}"
        + (f", settings from {DOTENV.absolute()}" if has_dotenv else "")
    )
    settings = with_room_for_connections(settings)
    os.environ.update(settings.to_environment())  # where the application reads them from
    if settings.workers == 1:
        server.serve(settings, listener)
    else:
        workers.supervise(settings, listener)


async def _check(settings: Settings) -> None:
    """Fail here, in one sentence, rather than in a worker, which would be replaced again and again.

    Raises when the database cannot be used, and `InvalidInput` when an API key is needed and none
    exists, or when the cache, the queue or an exporter is set in a way that cannot work.
    """
    async with open_telemetry(settings), open_runtime(settings) as runtime:
        if settings.needs_key and not await runtime.store.keys():
            raise InvalidInput(
                f"There is no API key, so everybody who reaches {settings.host} could read, change"
                " and delete every customer. Create one with: bitespeed keys create"
                " --tenant default --scope identify,read. Or pass --public if that is what you"
                " want"
            )
