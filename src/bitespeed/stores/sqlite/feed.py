"""Read events in the order of their numbers, which is that of the commits."""

import sqlite3

from bitespeed.model.records import EventRecord
from bitespeed.resources import text
from bitespeed.stores.feed import EventPage, Position

_SQL = text("bitespeed.stores.sqlite", "sql/events.sql")


def events(connection: sqlite3.Connection, after: Position, limit: int) -> EventPage:
    """See `Store.events`."""
    rows = connection.execute(_SQL, {"after": after.number, "limit": limit})
    page = [EventRecord(*row) for row in rows]
    return EventPage(page, Position(0, page[-1].seq) if page else after)
