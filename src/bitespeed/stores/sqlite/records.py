"""Read all records of some identities, and the tombstones of erasures."""

import sqlite3
from collections.abc import Collection

import msgspec

from bitespeed.model.changes import Tombstones
from bitespeed.model.identifiers import Email, Phone
from bitespeed.model.records import IdentityRecords
from bitespeed.resources import named, text
from bitespeed.stores.pages import paged
from bitespeed.stores.sqlite.database import transaction

_SQL = named(text("bitespeed.stores.sqlite", "sql/records.sql"))
_STREAMS = ("heads", "contacts", "identifiers", "events")


def records(
    connection: sqlite3.Connection,
    tenant: str,
    values: Collection[Email | Phone],
    contact: int | None,
) -> list[IdentityRecords]:
    """See `Store.records`."""
    parameters = {"tenant": tenant, "contact": contact, "values": _json(values)}
    with transaction(connection, "begin"):
        roots = [root for (root,) in connection.execute(_SQL["roots"], parameters)]
        by_root = {"roots": _json(roots)}
        streams = [connection.cursor().execute(_SQL[name], by_root) for name in _STREAMS]
        return [identity for page in paged(streams) for identity in page]


def tombstones(
    connection: sqlite3.Connection, tenant: str, pseudonyms: Collection[str]
) -> Tombstones:
    """See `Store.tombstones`."""
    parameters = {"tenant": tenant, "pseudonyms": _json(pseudonyms)}
    with transaction(connection, "begin"):
        secret = connection.execute(_SQL["secret"]).fetchone()
        erased_at = dict(connection.execute(_SQL["tombstones"], parameters).fetchall())
    return Tombstones(secret[0] if secret else None, erased_at)


def _json(values: Collection[object]) -> str:
    return msgspec.json.encode(list(values)).decode()
