"""Fill an empty file with everything from another store."""

import sqlite3
from itertools import chain

from bitespeed.errors import InvalidInput
from bitespeed.model.records import PARTS, IdentityRecords
from bitespeed.resources import named, text
from bitespeed.stores.rows import ROWS

_SQL = named(text("bitespeed.stores.sqlite", "sql/load.sql"))


class Loading:
    """A transaction with the write lock, until it is committed or rolled back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def begin(self) -> None:
        """Take the write lock. Raises `InvalidInput` when the file is not empty."""
        self._connection.execute("begin immediate")
        if self._connection.execute(_SQL["is_empty"]).fetchone() != (1,):
            raise InvalidInput("The database to copy into is not empty; name an empty one")

    def add(self, page: list[IdentityRecords]) -> None:
        """Write a page."""
        for part in PARTS:
            rows = chain.from_iterable(map(ROWS[part], page))
            self._connection.executemany(_SQL[part], rows)

    def commit(self) -> None:
        """Commit durably."""
        self._connection.execute(_SQL["forget_number"])
        self._connection.execute(_SQL["last_number"])
        self._connection.execute("commit")


def size(connection: sqlite3.Connection) -> int:
    """See `BulkStore.size`."""
    return connection.execute(_SQL["size"]).fetchone()[0]
