"""What the schema of a file lacks, and what SQLite finds damaged."""

import sqlite3

from bitespeed.stores.migrations import created_names, of_package

_UNKEYED = """
select exists (select 1 from tombstone) and not exists (select 1 from erasure_secret)
"""


def faults(connection: sqlite3.Connection) -> list[str]:
    """See `ScannableStore.faults`."""
    names = {name for (name,) in connection.execute("select name from sqlite_schema")}
    missing = sorted(created_names(of_package("bitespeed.stores.sqlite")) - names)
    found = [f"{name} is missing from the schema" for name in missing]
    if "secret" in names and _count(connection, "select count(*) from secret") != 1:
        found.append("secret has not one row")
    if {"erasure_secret", "tombstone"} <= names and _count(connection, _UNKEYED):
        found.append("erasure_secret has no row, though there are tombstones")
    for (message,) in connection.execute("pragma quick_check(1)"):
        if message != "ok":
            found.append("SQLite finds the file damaged; restore a backup")
            break  # its words may quote a value
    return found


def _count(connection: sqlite3.Connection, query: str) -> int:
    return connection.execute(query).fetchone()[0]
