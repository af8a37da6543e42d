"""``bitespeed queue``."""

import asyncio
import signal

import click

from bitespeed.cli.common import awaiting, counted, database, load, region
from bitespeed.errors import InvalidInput
from bitespeed.runtime import open_runtime, open_telemetry


@click.group(short_help="Process the queue of observations.")
def queue() -> None:
    """Process the queue of observations that BITESPEED_SQS_URL names."""


@queue.command(name="work")
@database
@region
@awaiting
async def work_(database: str | None, region: str | None) -> None:
    """Process messages until stopped, as the queue function does on AWS.

    SIGTERM and Ctrl-C let it finish the messages that it has received. A message that fails is
    delivered again until the queue moves it to its dead-letter queue.
    """
    from bitespeed.queues.sqs import SqsQueue  # here, as no other command needs it
    from bitespeed.queues.worker import work

    settings = load(database=database, region=region)
    if settings.sqs_url is None:
        raise InvalidInput("No queue is configured; set BITESPEED_SQS_URL")
    async with open_telemetry(settings), open_runtime(settings) as runtime:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        click.echo("Working. Stop with Ctrl-C.")
        queue = SqsQueue(settings.sqs_url)
        done, failed = await work(runtime.tenants, queue, settings.region, stop)
    click.echo(f"{counted(done, 'message')} processed, {failed:,} failed.")
