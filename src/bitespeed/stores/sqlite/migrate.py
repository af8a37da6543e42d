"""Forward-only numbered migrations, applied when the file is opened."""

import hashlib
import sqlite3
import time
from importlib.resources import files

from bitespeed.errors import StoreDamaged
from bitespeed.stores.sqlite.database import sql, statements, transaction

_LEDGER = """
create table if not exists migration (
    name       text    primary key,
    checksum   text    not null,
    applied_at integer not null
) strict
"""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to this version; safe when several processes start at once."""
    connection.execute("pragma journal_mode = wal")
    if _missing(connection):
        with transaction(connection, "begin immediate"):
            connection.execute(_LEDGER)
            for name, script in _missing(connection):
                for statement in statements(script):
                    connection.execute(statement)
                connection.execute(
                    "insert into migration values (?, ?, ?)",
                    (name, _checksum(script), time.time_ns() // 1000),
                )


def _missing(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """The migrations not applied yet. Raises `StoreDamaged` when the file is from another line."""
    ours = {
        entry.name: sql(f"migrations/{entry.name}")
        for entry in sorted(
            files("bitespeed.stores.sqlite").joinpath("migrations").iterdir(), key=lambda e: e.name
        )
        if entry.name.endswith(".sql")
    }
    has_ledger = connection.execute(
        "select 1 from sqlite_schema where name = 'migration'"
    ).fetchone()
    applied = dict(
        connection.execute("select name, checksum from migration").fetchall() if has_ledger else []
    )
    for name, checksum in applied.items():
        if name not in ours:
            raise StoreDamaged(f"The database was made by a later version: it has migration {name}")
        if _checksum(ours[name]) != checksum:
            raise StoreDamaged(f"The database was made by another build: migration {name} differs")
    return [(name, script) for name, script in ours.items() if name not in applied]


def _checksum(script: str) -> str:
    return hashlib.sha256(script.encode()).hexdigest()
