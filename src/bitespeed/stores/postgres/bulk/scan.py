"""Read a whole database, identity by identity, as of one instant."""

from collections.abc import Callable, Generator, Iterator
from typing import Any

import psycopg

from bitespeed.model.records import IdentityRecords
from bitespeed.resources import named, text
from bitespeed.stores.pages import paged
from bitespeed.stores.postgres.errors import translated

FETCH_ROWS = 5_000  # from each stream at a time

_SQL = named(text("bitespeed.stores.postgres.bulk", "sql/scan.sql"))


def scan(connect: Callable[[], psycopg.Connection[Any]]) -> Generator[list[IdentityRecords]]:
    """All identities in pages, read through a connection of its own.

    The first page begins with the rows that belong to no identity.
    """
    with translated(), connect() as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            connection.execute("set local search_path = pg_catalog, pg_temp")
            connection.execute("set local bitespeed.tenant = '*'")
            yield from paged([_rows(connection, name) for name in _SQL])


def _rows(connection: psycopg.Connection[Any], name: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a statement, by a cursor in the server."""
    with connection.cursor(name) as cursor:
        cursor.itersize = FETCH_ROWS
        yield from cursor.execute(_SQL[name].encode())
