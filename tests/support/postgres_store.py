"""PostgreSQL stores opened for one test, and what other programs do to their database meanwhile."""

import asyncio
import gc
import re
import time
from contextlib import contextmanager
from pathlib import Path

from bitespeed.stores.options import Options
from bitespeed.stores.postgres.store import PostgresStore
from support.backends import (
    TIMEOUT,
    connected,
    sessions,
)

BRIEF = Options(timeout=0.3)  # for what is not going to be answered
MOMENT = 0.05  # seconds in which whoever does not wait would have gone on

CANARY = "canary@hillvalley.example"
CANARY_PHONE = "55501234567890"


async def opened(stack, url, options=None):
    store = await PostgresStore.open(url, options)
    stack.push_async_callback(store.close)
    return store


def on(url, test, options=None, runner=asyncio.run):
    """Run a test on a store, which must be sound and leave no connection behind."""

    async def main():
        store = await PostgresStore.open(url, options)
        try:
            async with asyncio.timeout(3 * TIMEOUT):
                await test(store)
        finally:
            await store.close()

    runner(main())
    gc.collect()  # whatever was not closed says so here


def rows(url, query):
    with connected(url) as connection:
        return connection.execute(query).fetchall()


def execute(url, *statements):
    with connected(url) as connection:
        for statement in statements:
            connection.execute(statement)


@contextmanager
def holding(url, statement):
    """A transaction of another program's that has executed this, and is rolled back."""
    with connected(url) as connection, connection.transaction(force_rollback=True):
        connection.execute(statement)
        yield connection


READS_WAIT = "lock table identifier in access exclusive mode"
COMMITS_WAIT = "lock table identity in exclusive mode"


def terminate(url):
    """End every connection of the store's."""
    ours = "datname = current_database() and application_name = 'bitespeed'"
    execute(url, f"select pg_terminate_backend(pid) from pg_stat_activity where {ours}")


async def until(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def nobody_is_left(url):
    """The server notices a moment later that a connection has been closed."""
    asyncio.run(until(lambda: sessions(url) == 0))


async def pinged(store):
    await store.ping()


def everything_said_by(error):
    """All that an error and its causes say."""
    said = ""
    while error is not None:
        said += f"{error!r} {error} {getattr(error, 'diag', None) and error.diag.message_detail}"
        error = error.__cause__ or error.__context__
    return said


DOCUMENTED = Path(__file__).parents[2] / "docs" / "postgres.md"
SERVING = [  # as operators are told to do it
    statement.replace("shop", "serving")
    for statement in re.findall(r"^grant [^;]*", DOCUMENTED.read_text(), re.MULTILINE)
]
