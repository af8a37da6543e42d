"""Filling an empty database with all that another store holds."""

from collections.abc import AsyncIterable
from itertools import chain
from operator import attrgetter
from typing import Any

import psycopg

from bitespeed.errors import InvalidInput
from bitespeed.model.records import PARTS, IdentityRecords
from bitespeed.resources import named, text
from bitespeed.stores.postgres.errors import translated

CONTACTS = 10_000  # sent in one go: few turns with a distant server, some tens of megabytes

_SCRIPT = text("bitespeed.stores.postgres.bulk", "sql/load.sql")
_SQL = {name: statement.encode() for name, statement in named(_SCRIPT).items()}
SIZE = _SQL["size"]

Connection = psycopg.AsyncConnection[Any]


async def load(connection: Connection, pages: AsyncIterable[list[IdentityRecords]]) -> None:
    """Write all of it in one transaction. Raises `InvalidInput` when the database is not empty."""
    with translated():
        async with connection.transaction():
            await connection.execute(_SQL["patience"])
            await connection.execute(_SQL["lock"])
            await connection.execute(_SQL["unforce"])
            empty = await (await connection.execute(_SQL["is_empty"])).fetchone()
            if empty != (True,):
                raise InvalidInput("The database to copy into is not empty; name an empty one")
            batch: list[IdentityRecords] = []
            async for page in pages:
                batch += page
                if sum(len(identity.contacts) for identity in batch) >= CONTACTS:
                    await _send(connection, batch)
                    batch = []
            await _send(connection, batch)
            await connection.execute(_SQL["last_numbers"])
            await connection.execute(_SQL["force"])


async def _send(connection: Connection, batch: list[IdentityRecords]) -> None:
    """One COPY for each table."""
    async with connection.cursor() as cursor:
        for part in PARTS:
            async with cursor.copy(_SQL[part]) as copy:
                for row in chain.from_iterable(map(attrgetter(part), batch)):
                    await copy.write_row(row)
