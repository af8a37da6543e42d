"""The databases behind every store, each with a way in beside the store: `query`.

A test takes one of them empty, opens as many stores on it as it likes, and may look at the rows,
change them, or hold them locked, as another program would.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg import sql

from bitespeed.stores import open_store
from bitespeed.stores.options import Options
from bitespeed.stores.postgres.bulk.migrate import migrate
from bitespeed.stores.protocols import AnyStore
from support.invariants import assert_clean
from support.postgres_server import ENTRY
from support.postgrest import DataApi

Row = tuple[Any, ...]

TABLES = ("identity", "contact_record", "identifier", "event_record")

TIMEOUT = 10.0  # seconds until what must come has come, on a busy machine
START = 3.0  # seconds more for each command that may have to start first, all at once
POLL_INTERVAL = 0.005  # seconds between two polls

FAR = 4_102_444_800_000_000  # the year 2100, in microseconds: a clock that has stepped back since

OWNER = sql.Identifier("bitespeed_test_owner")

CLEAR = """
delete from bitespeed.tombstone;
delete from bitespeed.erasure_secret;
delete from bitespeed.event_record;
delete from bitespeed.identifier;
delete from bitespeed.contact_record;
delete from bitespeed.identity;
alter sequence bitespeed.contact_id restart;
"""
WAITERS = "select count(*) from pg_stat_activity where datname = %s and wait_event_type = 'Lock'"
OTHERS = """
select count(*) from pg_stat_activity
where datname = current_database() and application_name = 'bitespeed' and pid <> pg_backend_pid()
"""


class Backend(Protocol):
    """One database."""

    name: str

    async def open(self) -> AnyStore:
        """Another store on it."""
        ...

    def query(self, statement: str) -> list[Row]:
        """What a statement of another program's returns; tables by their bare names."""
        ...

    @contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile every commit that changes an identity has to wait."""
        ...

    async def somebody_waits(self, commits: int = 1) -> None:
        """Return when so many commits wait for what is held."""
        ...


class SqliteBackend:
    """A file."""

    name = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path

    async def open(self) -> AnyStore:
        return await open_store(f"sqlite:///{self.path}")

    def query(self, statement: str) -> list[Row]:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=0)
        with closing(connection):
            return connection.execute(statement).fetchall()

    @contextmanager
    def held(self) -> Iterator[None]:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=0)
        with closing(connection):
            connection.execute("begin immediate")
            yield
            connection.execute("rollback")

    async def somebody_waits(self, commits: int = 1) -> None:
        for _ in range(10 * commits):  # what comes to a locked file waits in a thread, out of sight
            await asyncio.sleep(0)


@dataclass
class PostgresBackend:
    """A database on a server; ``url`` is how stores get there, ``direct`` how we do."""

    name: str
    direct: str
    url: str
    options: Options

    async def open(self) -> AnyStore:
        return await open_store(self.url, self.options)

    def query(self, statement: str) -> list[Row]:
        with connected(self.direct) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def held(self) -> Iterator[None]:
        with connected(self.direct) as connection, connection.transaction():
            connection.execute("lock table identity in exclusive mode")
            yield

    async def somebody_waits(self, commits: int = 1) -> None:
        await waits_for_a_lock(self.direct, commits)


@contextmanager
def connected(url: str, **parameters: Any) -> Iterator[psycopg.Connection[Row]]:
    """A connection of another program's, in autocommit, that finds the tables by their names."""
    connection = psycopg.connect(url, autocommit=True, connect_timeout=ENTRY, **parameters)
    with closing(connection):
        connection.execute("set search_path = bitespeed, public")
        yield connection


async def waits_for_a_lock(url: str, waiters: int = 1) -> None:
    """Return when so many sessions in the database wait for a lock."""
    with connected(url) as connection:
        deadline = time.monotonic() + TIMEOUT + waiters * START
        while connection.execute(WAITERS, [connection.info.dbname]).fetchone() != (waiters,):
            assert time.monotonic() < deadline, "Nobody waits for a lock."
            await asyncio.sleep(POLL_INTERVAL)


def sessions(url: str) -> int:
    """How many connections of ours the database has."""
    with connected(url) as connection:
        ((count,),) = connection.execute(OTHERS).fetchall()
        return int(count)


def prepared(url: str, *, bound: bool = True) -> None:
    """Bring an empty database to this version; it need not outlive a loss of power.

    Unless told otherwise all belongs to somebody whom row level security binds, which is no
    superuser.
    """
    with psycopg.connect(url, autocommit=True, connect_timeout=ENTRY) as connection:
        with as_owner(connection) if bound else nullcontext():
            migrate(connection)
        name = sql.Identifier(connection.info.dbname)
        setting = sql.SQL("alter database {} set synchronous_commit = off")
        connection.execute(setting.format(name))


@contextmanager
def as_owner(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Act as a role that is no superuser, and may make a schema in this database."""
    database = sql.Identifier(connection.info.dbname)
    if connection.execute("select rolsuper from pg_roles where rolname = user").fetchone() == (
        True,
    ):
        with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
            connection.execute(sql.SQL("create role {} nologin").format(OWNER))
        connection.execute(sql.SQL("grant create on database {} to {}").format(database, OWNER))
        connection.execute(sql.SQL("set role {}").format(OWNER))
    yield
    connection.execute("reset role")


def cleared(url: str) -> None:
    """Take all rows out, so that the next test begins with contact 1."""
    with connected(url) as connection:
        connection.execute(CLEAR)


def of_postgres(url: str, by_way_of: str | None = None) -> PostgresBackend:
    """A database on a server, or what stands before it."""
    name = "postgres" if by_way_of is None else "pgbouncer"
    return PostgresBackend(name, url, by_way_of or url, Options(pool_size=4))


def of_data_api(url: str, api: DataApi) -> PostgresBackend:
    """A database whose stores come by way of PostgREST."""
    return PostgresBackend("data api", url, api.url, Options(pool_size=4, key=api.service_key))


@asynccontextmanager
async def stores(backend: Backend, count: int = 1) -> AsyncIterator[list[AnyStore]]:
    """Several stores, each with a connection and a memory of its own."""
    opened: list[AnyStore] = []
    try:
        while len(opened) < count:
            opened.append(await backend.open())
        yield opened
    finally:
        for store in opened:
            await store.close()


def on_one_store(
    backend: Backend,
    test: Callable[[AnyStore], Awaitable[None]],
    *,
    besides: Container[str] = (),
) -> None:
    """Run a test with one store, then check the invariants; see `assert_clean`."""

    async def main() -> None:
        async with asyncio.timeout(6 * TIMEOUT), stores(backend) as (store,):
            await test(store)
            await assert_clean(store, besides=besides)

    asyncio.run(main())


def on_two_stores(backend: Backend, test: Callable[[AnyStore, AnyStore], Awaitable[None]]) -> None:
    """Run a test with two stores on one database, then check the invariants."""

    async def main() -> None:
        async with asyncio.timeout(6 * TIMEOUT), stores(backend, 2) as (store, other):
            await test(store, other)
            await assert_clean(store)

    asyncio.run(main())


def rows(backend: Backend) -> dict[str, list[Row]]:
    """Every row of the tables about identities, by table."""
    return {table: sorted(backend.query(f"select * from {table}"), key=repr) for table in TABLES}


def contact_ids(backend: Backend) -> list[int]:
    """The ids of all contacts, ascending; a refused commit may leave a gap."""
    return [id_ for (id_,) in backend.query("select id from contact_record order by id")]


def roles(backend: Backend) -> list[Row]:
    """The id, linked id and precedence of each contact, as the published view shows them."""
    return backend.query("select id, linkedid, linkprecedence from contact order by id")


def backdate(backend: Backend, contact: int, at: int) -> None:
    """Give a primary another age, as a clock would that has been corrected since."""
    backend.query(f"update identity set primary_at = {at} where primary_id = {contact}")
    backend.query(
        f"update contact_record set created_at = {at}, updated_at = {at} where id = {contact}"
    )
