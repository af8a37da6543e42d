"""The API keys in a file."""

import sqlite3
from collections.abc import Collection

import msgspec

from bitespeed.model.api_keys import ApiKey
from bitespeed.resources import named, text

_SQL = named(text("bitespeed.stores.sqlite", "sql/keys.sql"))


def keys(connection: sqlite3.Connection, ids: Collection[str] | None) -> list[ApiKey]:
    """See `KeyStore.keys`."""
    parameters = {"ids": None if ids is None else msgspec.json.encode(list(ids)).decode()}
    (document,) = connection.execute(_SQL["keys"], parameters).fetchone()
    return msgspec.json.decode(document, type=list[ApiKey])


def put_key(connection: sqlite3.Connection, key: ApiKey) -> None:
    """See `KeyStore.put_key`. Waits for the write lock."""
    row = msgspec.structs.asdict(key) | {"scopes": msgspec.json.encode(key.scopes).decode()}
    connection.execute(_SQL["put_key"], row)
