"""The store on a PostgreSQL server: each read and each commit is one statement in autocommit, so
that no transaction is ever open while something is on its way to or from the server.

What works on the whole database is imported by who does it, and the whole of psycopg with it: a
Lambda function never does, and would wait for it at each cold start.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from typing import TYPE_CHECKING, Any

import msgspec
from psycopg.errors import DatabaseError

from bitespeed.errors import Conflict, StoreUnavailable
from bitespeed.stores.availability import Availability
from bitespeed.stores.migrations import others_own
from bitespeed.stores.options import Options
from bitespeed.stores.postgres.errors import translated
from bitespeed.stores.postgres.function_store import READS, Arguments, Function, FunctionStore
from bitespeed.stores.postgres.ledger import LEDGER, require_applied
from bitespeed.stores.postgres.pool import Pool
from bitespeed.stores.postgres.statement_connection import ConnectionLost, Texts

if TYPE_CHECKING:
    import psycopg

    from bitespeed.model.records import IdentityRecords

_STATEMENTS: dict[Function, bytes] = {
    "read": b"select bitespeed.read($1, $2)",
    "commit": b"select bitespeed.commit($1, $2, $3)",
    "records": b"select bitespeed.records($1, $2)",
    "tombstones": b"select bitespeed.tombstones($1, $2)",
    "cache_state": b"select bitespeed.cache_state()",
    "cache_resume": b"select bitespeed.cache_resume($1, $2)",
    "cache_suspend": b"select bitespeed.cache_suspend($1, $2, $3)",
    "cache_feed": b"select bitespeed.cache_feed($1, $2)",
    "keys": b"select bitespeed.keys($1)",
    "put_key": b"select bitespeed.put_key($1)",
    "sequences": b"select bitespeed.sequences()",
    "inventory": b"select bitespeed.inventory()",
    "facts": b"select bitespeed.facts($1, $2)",
    "history": b"select bitespeed.history($1, $2)",
    "merges": b"select bitespeed.merges($1, $2)",
    "partners": b"select bitespeed.partners($1, $2)",
    "events": b"select bitespeed.events($1)",
    "awaits_adoption": b"select bitespeed.awaits_adoption()",
}


class PostgresStore(FunctionStore):
    """A `Store` in the schema ``bitespeed`` of a PostgreSQL database."""

    def __init__(self, url: str, options: Options) -> None:
        super().__init__()
        self._url = url
        self._options = options
        self._availability = Availability()
        self._pool = Pool(url, options.pool_size, options.timeout, options.renew)

    @classmethod
    async def open(cls, url: str, options: Options | None = None) -> "PostgresStore":
        """Connect, and bring the schema to this version or see that it is.

        Raises `NotAdopted` for a database with contacts to adopt, unless the options ignore them.
        """
        store = cls(url, options or Options())
        try:
            await store._prepare()
        except BaseException:
            await store.close()
            raise
        return store

    async def _prepare(self) -> None:
        if self._options.migrate:
            await asyncio.to_thread(self._migrate)
        else:
            try:
                require_applied(await self._fetch_value(LEDGER, []))
            except DatabaseError:  # no error of ours: a table has other columns
                raise others_own("migration") from None
        if not self._options.ignore_existing:
            await self.require_adopted()

    def _migrate(self) -> None:
        from bitespeed.stores.postgres.bulk.migrate import migrate

        with translated(), self._connect() as connection:
            migrate(connection)

    def _connect(self) -> "psycopg.Connection[Any]":
        from bitespeed.stores.postgres.bulk.sessions import connect

        with translated():
            return connect(self._url, self._options.timeout)

    async def _call(self, function: Function, arguments: Arguments) -> bytes | None:
        values = [_text(argument) for argument in arguments.values()]
        with self._availability.reads if function in READS else self._availability.writes:
            return await self._answered(function, values)

    async def _answered(self, function: Function, values: Texts) -> bytes | None:
        """What the function returns; one without effects is called again after a lost answer."""
        try:
            return await self._fetch_value(_STATEMENTS[function], values)
        except (ConnectionLost, Conflict):
            if function not in READS:
                raise
        try:
            return await self._fetch_value(_STATEMENTS[function], values)
        except Conflict as error:  # a standby may give up a read for the sake of its replay
            raise StoreUnavailable("The database gave up a read; try again") from error

    async def _fetch_value(self, statement: bytes, values: Texts) -> bytes | None:
        async with self._pool.connection() as connection:
            return await connection.fetch(statement, values, self._options.timeout)

    async def ping(self) -> None:
        """See `Store.ping`."""
        with self._availability.reads:
            await self._fetch_value(b"select 1 from bitespeed.migration limit 1", [])

    async def faults(self) -> list[str]:
        """See `ScannableStore.faults`."""
        from bitespeed.stores.postgres.faults import OF_DESCRIBER, faults_of_describer

        # If the function that describes the schema forwards, it describes another server's.
        found = faults_of_describer(await self._fetch_value(OF_DESCRIBER, []))
        return found or await super().faults()

    async def scan(self) -> "AsyncGenerator[list[IdentityRecords]]":
        """See `ScannableStore.scan`."""
        from concurrent.futures import ThreadPoolExecutor

        from bitespeed.stores.postgres.bulk.scan import scan

        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1)  # one, so that closing comes after a page under way
        pages = scan(self._connect)
        try:
            while page := await loop.run_in_executor(thread, next, pages, None):
                yield page
        finally:
            thread.submit(pages.close)
            thread.shutdown(wait=False)

    async def load(self, pages: "AsyncIterable[list[IdentityRecords]]") -> None:
        """See `BulkStore.load`."""
        from bitespeed.stores.postgres.bulk.load import load
        from bitespeed.stores.postgres.bulk.sessions import connect_async

        with translated():
            async with await connect_async(self._url, self._options.timeout) as connection:
                await load(connection, pages)

    async def size(self) -> int:
        """See `BulkStore.size`."""
        from bitespeed.stores.postgres.bulk.load import SIZE

        return int(await self._fetch_value(SIZE, []) or 0)

    async def vacuum(self) -> None:
        """See `BulkStore.vacuum`."""
        await asyncio.to_thread(self._vacuum)

    def _vacuum(self) -> None:
        from bitespeed.resources import text

        vacuum = text("bitespeed.stores.postgres.bulk", "sql/vacuum.sql")
        warnings: list[str | None] = []
        with translated(), self._connect() as connection:
            connection.add_notice_handler(lambda notice: warnings.append(notice.sqlstate))
            connection.execute(vacuum.encode())
        if warnings:  # that is how the server answers a user who may not use the tables
            raise StoreUnavailable("Only the owner of the tables may do this; see docs/postgres.md")

    async def close(self) -> None:
        """See `Store.close`."""
        await self._pool.close()


def _text(argument: str | float | msgspec.Raw | None) -> bytes | None:
    """An argument as the server reads it."""
    if argument is None:
        return None
    return bytes(argument) if isinstance(argument, msgspec.Raw) else str(argument).encode()
