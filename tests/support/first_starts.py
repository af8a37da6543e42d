"""Twenty processes that start on a new database at one moment, round after round.

The processes stay from round to round, so that a round costs what the starts cost and no imports.
"""

import asyncio
import io
import multiprocessing
import os
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

from bitespeed.caches import CacheOptions, open_cache
from bitespeed.cli import main as bitespeed
from bitespeed.model.identifiers import observe
from bitespeed.rules.erase import Subject
from bitespeed.service.service import Service
from bitespeed.stores import open_store
from bitespeed.stores.options import Options
from support.cache_processes import until
from support.stores import service_on

PROCESSES = 20
TIMEOUT = (
    60.0  # seconds for the slowest process to come to the barrier, and for a server to respond
)

PRELOADED = [
    "bitespeed.cli",
    "bitespeed.caches.redis",
    "bitespeed.service.erasures",
    "bitespeed.stores.postgres.bulk.migrate",
    "bitespeed.stores.postgres.bulk.sessions",
    "bitespeed.stores.postgres.store",
    "bitespeed.stores.sqlite",
    "bitespeed.stores.supabase.store",
]
"""What the processes have imported before the first round: imports would keep the starts apart."""

Work = Callable[..., Awaitable[None]]
"""What a process does in a round: its number and further arguments, all of which can be pickled."""


class Starters:
    """Processes that do the same work at the same moment."""

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections

    def failures(self, work: Work, *arguments: Any) -> list[str]:
        """Do the work in every process at once; the stack traces of those that failed."""
        for connection in self._connections:
            connection.send((work, arguments))
        found: list[str | None] = []
        for connection in self._connections:
            assert connection.poll(2 * TIMEOUT), "A process has not ended its work."
            found.append(connection.recv())
        return [failure for failure in found if failure is not None]


@contextmanager
def starters(count: int = PROCESSES) -> Iterator[Starters]:
    """Start the processes; they are gone afterwards."""
    context = multiprocessing.get_context("forkserver")  # imports once for all of them
    context.set_forkserver_preload(PRELOADED)
    barrier = context.Barrier(count)
    pipes = [context.Pipe() for _ in range(count)]
    processes = [
        context.Process(target=_serve, args=(number, barrier, theirs), daemon=True)
        for number, (_, theirs) in enumerate(pipes)
    ]
    try:
        for process in processes:
            process.start()
        yield Starters([ours for ours, _ in pipes])
    finally:
        for process in processes:
            process.kill()
            process.join()
            process.close()
        for pipe in pipes:
            for end in pipe:
                end.close()


def _serve(number: int, barrier: Barrier, connection: Connection) -> None:
    while True:
        work, arguments = connection.recv()
        failure = None
        try:
            asyncio.run(_together(barrier, work, number, *arguments))
        except BaseException as error:  # noqa: BLE001 - reported to the test
            failure = "".join(traceback.format_exception(error))
        connection.send(failure)


async def _together(barrier: Barrier, work: Work, *arguments: Any) -> None:
    barrier.wait(TIMEOUT)
    await work(*arguments)


# What a process does at its first start


async def writes(number: int, url: str, options: Options) -> None:
    """Open the database and write a customer of its own."""
    store = await open_store(url, options)
    try:
        async with service_on(store) as service:
            answer = await service.identify(observe(email_of(number), None))
            assert answer.emails == [email_of(number)]
        await store.secret()
    finally:
        await store.close()


async def erases(number: int, url: str, options: Options) -> None:
    """Open the database and erase a customer of its own; the first one creates the key."""
    store = await open_store(url, options)
    try:
        async with service_on(store) as service:
            await service.erase(Subject(observe(email_of(number), None).email))
    finally:
        await store.close()


async def creates_key(number: int, url: str, options: Options) -> None:
    """Create an API key with the command."""
    if options.key is not None:
        os.environ["SUPABASE_KEY"] = options.key
    arguments = ["keys", "create", "--tenant", f"shop{number}", "--scope", "identify"]
    await asyncio.to_thread(_command, *arguments, "--database", url)


def _command(*arguments: str) -> None:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as err:
        try:
            bitespeed(list(arguments), standalone_mode=False)
        except SystemExit as end:  # raised by errors that a caller can meet
            raise AssertionError(err.getvalue()) from end


async def begins_epoch(number: int, url: str, options: Options, cache: CacheOptions) -> None:
    """Open the database with a cache, and use the cache."""
    store = await open_store(url, options)
    opened = open_cache(cache, store)
    assert opened is not None
    try:
        await until(lambda: opened._epoch.licence() is not None)
        service = Service(store, cache=opened)
        await service.identify(observe(email_of(number), None))
        await service.drain()
    finally:
        await opened.close()
        await store.close()


def email_of(number: int) -> str:
    """Of the customer of one process."""
    return f"customer{number}@x.test"
