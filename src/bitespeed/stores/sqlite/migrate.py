"""Migrations of a file, applied when it is opened."""

import sqlite3
import time

from bitespeed.errors import StoreDamaged
from bitespeed.stores.migrations import (
    LEDGER_COLUMNS,
    Migration,
    created_names,
    later,
    missing,
    of_package,
    others_own,
    require_no_others,
)
from bitespeed.stores.sqlite.database import BUSY_RETRY_DELAY, LOCK_TIMEOUT, statements, transaction

_LEDGER = """
create table if not exists migration (
    name       text    primary key,
    checksum   text    not null,
    applied_at integer not null
) strict
"""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to this version; safe when several processes start at once.

    Raises `StoreDamaged`, and changes nothing, when another program has tables under our names.
    """
    _require_no_others(connection)
    _use_write_ahead_log(connection)
    if _missing(connection):
        with transaction(connection, "begin immediate"):
            connection.execute(_LEDGER)
            for migration in _missing(connection):
                for statement in statements(migration.script):
                    connection.execute(statement)
                connection.execute(
                    "insert into migration values (?, ?, ?)",
                    (migration.name, migration.checksum, time.time_ns() // 1000),
                )


def require_migrated(connection: sqlite3.Connection) -> None:
    """Raise `StoreDamaged` when the file is not prepared, behind this version, or another
    program's.
    """
    names = _require_no_others(connection)
    if "migration" not in names:
        others = "it holds another program's tables" if names else "it is empty"
        raise StoreDamaged(f"The database is not prepared, {others}; run bitespeed migrate")
    if _missing(connection):
        raise StoreDamaged("The database is behind this version; run bitespeed migrate")


def _require_no_others(connection: sqlite3.Connection) -> set[str]:
    """The names in the schema. Raises `StoreDamaged` when ours are used by another program.

    One statement finds all names, since another process may be preparing the file.
    """
    names = {name for (name,) in connection.execute("select name from sqlite_schema")}
    if "migration" not in names:
        require_no_others(names, created_names(of_package("bitespeed.stores.sqlite")))
        return names
    columns = [
        name for (name,) in connection.execute("select name from pragma_table_info('migration')")
    ]
    if columns != LEDGER_COLUMNS:
        raise others_own("migration")
    return names


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Set the journal mode of the file. Raises what SQLite raises after `LOCK_TIMEOUT`.

    Where two processes switch a new file at once, SQLite refuses one of them without waiting for
    `busy_timeout`, since waiting could be a deadlock.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            connection.execute("pragma journal_mode = wal")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > deadline:
                raise
            time.sleep(BUSY_RETRY_DELAY)
        else:
            return


def _missing(connection: sqlite3.Connection) -> list[Migration]:
    """The migrations not applied yet. Raises `StoreDamaged` when the file is from another line."""
    ours = of_package("bitespeed.stores.sqlite")
    has_ledger = connection.execute(
        "select 1 from sqlite_schema where name = 'migration'"
    ).fetchone()
    applied = dict(
        connection.execute("select name, checksum from migration").fetchall() if has_ledger else []
    )
    lacking = missing(ours, applied)
    for name in later(ours, applied):
        raise StoreDamaged(f"The database was made by a later version: it has migration {name}")
    return lacking
