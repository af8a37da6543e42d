"""``bitespeed queue``."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import click

from bitespeed import telemetry
from bitespeed.cli.common import all_opened, awaiting, database, region
from bitespeed.errors import InvalidInput
from bitespeed.settings import Settings
from bitespeed.stores import Store
from bitespeed.telemetry.failures import guard_loop
from bitespeed.telemetry.logs import use_pseudonym_secret


@click.group(short_help="Work off the queue of observations.")
def queue() -> None:
    """Work with the queue of observations that BITESPEED_SQS_URL names."""


@queue.command(name="work")
@database
@region
@awaiting
async def work_(database: str | None, region: str | None) -> None:
    """Reconcile what is on the queue until stopped, as the queue function does on AWS.

    SIGTERM and Ctrl-C let it finish what it has taken first. A message that cannot be
    understood comes again until the queue moves it to its dead-letter queue.
    """
    from bitespeed.queues.sqs import SqsQueue  # takes what all other commands can do without
    from bitespeed.queues.worker import work

    async with all_opened(database, region) as (tenants, settings, store):
        if settings.sqs_url is None:
            raise InvalidInput("No queue is configured; set BITESPEED_SQS_URL")
        queue = SqsQueue(settings.sqs_url)
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with _told(settings, store):
            click.echo("Working. Stop with Ctrl-C.")
            done, failed = await work(tenants, queue, settings.region, stop)
    click.echo(f"{done} messages done, {failed} times one failed.")


@asynccontextmanager
async def _told(settings: Settings, store: Store) -> AsyncGenerator[None]:
    """Log and report like a server; other commands are over before anybody would look."""
    telemetry.configure(settings.telemetry)
    guard_loop(asyncio.get_running_loop())
    use_pseudonym_secret(await store.secret())
    telemetry.open_exporters(settings.telemetry)
    try:
        yield
    finally:
        await telemetry.close_exporters()
