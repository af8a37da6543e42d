"""Fill an empty database with everything from another store."""

from collections.abc import AsyncIterable
from itertools import chain
from typing import Any, LiteralString, cast

import psycopg
from psycopg import sql

from bitespeed.errors import InvalidInput
from bitespeed.model.records import PARTS, IdentityRecords
from bitespeed.resources import named, text
from bitespeed.stores.postgres.errors import translated
from bitespeed.stores.rows import ROWS

BATCH_CONTACTS = 10_000  # sent at once: few round trips to a distant server, tens of megabytes

_STATEMENTS = named(text("bitespeed.stores.postgres.bulk", "sql/load.sql"))
_SQL = {name: statement.encode() for name, statement in _STATEMENTS.items()}
SIZE = _SQL["size"]

_WITH_ROW_SECURITY = ("identity", "contact_record", "identifier", "event_record", "tombstone")

Connection = psycopg.AsyncConnection[Any]


async def load(connection: Connection, pages: AsyncIterable[list[IdentityRecords]]) -> None:
    """Write all pages in one transaction. Raises `InvalidInput` when the database is not empty."""
    with translated():
        async with connection.transaction():
            await connection.execute(_SQL["lock_timeout"])
            await connection.execute(_SQL["lock"])
            await _for_each_table(connection, "unforce")
            empty = await (await connection.execute(_SQL["is_empty"])).fetchone()
            if empty != (True,):
                raise InvalidInput("The database to copy into is not empty; name an empty one")
            batch: list[IdentityRecords] = []
            async for page in pages:
                batch += page
                if sum(len(identity.contacts) for identity in batch) >= BATCH_CONTACTS:
                    await _send(connection, batch)
                    batch = []
            await _send(connection, batch)
            await connection.execute(_SQL["last_numbers"])
            await _for_each_table(connection, "force")


async def _for_each_table(connection: Connection, name: str) -> None:
    for table in _WITH_ROW_SECURITY:
        statement = sql.SQL(cast("LiteralString", _STATEMENTS[name]))
        await connection.execute(statement.format(table=sql.Identifier("bitespeed", table)))


async def _send(connection: Connection, batch: list[IdentityRecords]) -> None:
    """Write a batch by one COPY for each table."""
    async with connection.cursor() as cursor:
        for part in PARTS:
            async with cursor.copy(_SQL[part]) as copy:
                for row in chain.from_iterable(map(ROWS[part], batch)):
                    await copy.write_row(row)
