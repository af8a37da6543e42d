"""Read facts and events, to explain identities."""

import sqlite3
from collections.abc import Collection, Sequence

import msgspec

from bitespeed.model.facts import Fact, Happening, Value
from bitespeed.resources import named, text

_SQL = named(text("bitespeed.stores.sqlite", "sql/explain.sql"))

_facts = msgspec.json.Decoder(list[Fact])
_happenings = msgspec.json.Decoder(list[Happening])


def facts(
    connection: sqlite3.Connection,
    tenant: str,
    values: Collection[Value],
    contacts: Collection[int],
    as_of: int | None,
    limit: int,
) -> list[Fact] | None:
    """See `Store.facts`."""
    parameters = {
        "tenant": tenant,
        "emails": msgspec.json.encode([v for kind, v in values if kind == "email"]).decode(),
        "phones": msgspec.json.encode([v for kind, v in values if kind == "phone"]).decode(),
        "contacts": msgspec.json.encode(list(contacts)).decode(),
        "as_of": as_of,
        "limit": limit,
    }
    (document,) = connection.execute(_SQL["facts"], parameters).fetchone()
    return None if document is None else _facts.decode(document)


def history(
    connection: sqlite3.Connection, tenant: str, contact: int, after: int, limit: int
) -> list[Happening]:
    """See `Store.history`."""
    parameters = {"tenant": tenant, "contact": contact, "after": after, "limit": limit}
    return _happenings.decode(connection.execute(_SQL["history"], parameters).fetchone()[0])


def merges(
    connection: sqlite3.Connection, tenant: str, before: int, since: int, limit: int
) -> list[Happening]:
    """See `Store.merges`."""
    parameters = {"tenant": tenant, "before": before, "since": since, "limit": limit}
    return _happenings.decode(connection.execute(_SQL["merges"], parameters).fetchone()[0])


def partners(
    connection: sqlite3.Connection, tenant: str, values: Sequence[Value], limit: int
) -> list[int]:
    """See `Store.partners`."""
    wanted = msgspec.json.encode(values).decode()
    parameters = {"tenant": tenant, "values": wanted, "limit": limit}
    return [count for (count,) in connection.execute(_SQL["partners"], parameters)]
