"""Read a whole file, identity by identity, as of one instant."""

import sqlite3
from collections.abc import Generator

from bitespeed.model.records import IdentityRecords, SequenceRecord
from bitespeed.resources import named, text
from bitespeed.stores.pages import paged
from bitespeed.stores.sqlite.database import transaction

_SQL = named(text("bitespeed.stores.sqlite", "sql/scan.sql"))
_SEQUENCES = text("bitespeed.stores.sqlite", "sql/sequences.sql")


def scan(connection: sqlite3.Connection) -> Generator[list[IdentityRecords]]:
    """All identities in pages. The first page begins with the rows that belong to no identity."""
    with transaction(connection, "begin"):
        yield from paged(connection.cursor().execute(query) for query in _SQL.values())


def sequences(connection: sqlite3.Connection) -> list[SequenceRecord]:
    """See `ScannableStore.sequences`."""
    return [SequenceRecord(*row) for row in connection.execute(_SEQUENCES)]
