"""Reading a whole file, identity by identity, as of one instant."""

import sqlite3
from collections.abc import Generator, Iterator
from itertools import groupby
from operator import itemgetter

from bitespeed.stores.sqlite.database import sql, statements, transaction
from bitespeed.stores.stored import (
    StoredContact,
    StoredEvent,
    StoredHead,
    StoredIdentifier,
    StoredIdentity,
)

PAGE = 500  # identities at a time: enough to make the hand-over between threads cheap

_PARTS = (
    ("heads", StoredHead),
    ("contacts", StoredContact),
    ("identifiers", StoredIdentifier),
    ("events", StoredEvent),
)


def scan(connection: sqlite3.Connection) -> Generator[list[StoredIdentity]]:
    """All identities in pages, rows that belong to none first."""
    with transaction(connection, "begin"):
        page: list[StoredIdentity] = []
        for identity in _identities(connection):
            page.append(identity)
            if len(page) == PAGE:
                yield page
                page = []
        if page:
            yield page


def _identities(connection: sqlite3.Connection) -> Iterator[StoredIdentity]:
    """One pass over four streams that are ordered by the same key, the root."""
    streams = [
        groupby(connection.cursor().execute(query), key=itemgetter(0))
        for query in statements(sql("sql/scan.sql"))
    ]
    waiting = [next(stream, None) for stream in streams]
    while any(group is not None for group in waiting):
        key = min(group[0] for group in waiting if group is not None)
        identity = StoredIdentity(root_id=key or None)
        for position, (part, row_type) in enumerate(_PARTS):
            group = waiting[position]
            if group is not None and group[0] == key:
                getattr(identity, part).extend(row_type(*row[1:]) for row in group[1])
                waiting[position] = next(streams[position], None)
        yield identity
