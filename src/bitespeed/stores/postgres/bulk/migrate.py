"""Migrations of a PostgreSQL database, applied by whoever comes first.

Each is fit for the code before it and the code that brings it, since both run side by side while
a new version is rolled out. So a database may also be ahead of this code.
"""

from typing import Any

import psycopg
from psycopg import sql

from bitespeed.stores.migrations import Migration, missing, of_package
from bitespeed.stores.postgres.ledger import require_none
from bitespeed.telemetry.logs import log

TURN = 60  # seconds to wait while another process migrates
LOCK_WAIT = 2  # seconds to wait for a table; behind a waiting migration all others wait as well
_LOCK = 0x62697465  # the turn to migrate, told from other programs' advisory locks ("bite")

_LEDGER = """
create schema if not exists bitespeed;
create table if not exists bitespeed.migration (
    name       text        primary key,
    checksum   text        not null,
    applied_at timestamptz not null default now()
);
"""

# A look into the catalog's tables. `to_regclass` may answer from memory, even after a wait for a
# turn in which somebody else has made the ledger.
_HAS_LEDGER = """
select exists (select from pg_tables where schemaname = 'bitespeed' and tablename = 'migration')
"""

Connection = psycopg.Connection[Any]


def migrate(connection: Connection) -> None:
    """Bring the schema to this version.

    Several processes may do so at once. Each migration is applied whole or not at all.
    """
    # So that whoever has waited for its turn sees what was done meanwhile.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    while behind(connection):
        with connection.transaction():
            _take_turn(connection)
            for migration in behind(connection)[:1]:
                _apply(connection, migration)


def script() -> str:
    """All of it for psql or another tool; each migration a transaction that is refused when it
    has been applied already.
    """
    return "\n".join(
        f"begin;\n{_LEDGER}\n{_record(migration)}\n{migration.script}\ncommit;\n"
        for migration in of_package("bitespeed.stores.postgres")
    )


def behind(connection: Connection) -> list[Migration]:
    """The migrations not applied yet. Raises `StoreDamaged` when the text of one has changed."""
    ours = of_package("bitespeed.stores.postgres")
    if connection.execute(_HAS_LEDGER).fetchone() != (True,):
        return ours
    rows = connection.execute("select name, checksum from bitespeed.migration").fetchall()
    return missing(ours, dict(rows))


def require_migrated(connection: Connection) -> None:
    """Raise `StoreDamaged` when the schema is behind this version."""
    require_none(behind(connection))


def _take_turn(connection: Connection) -> None:
    """For this transaction; not for the session, which a pooler may share with others."""
    lock_timeout = "select set_config('lock_timeout', %s, true)"
    connection.execute(lock_timeout, [f"{TURN}s"])
    connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
    connection.execute(lock_timeout, [f"{LOCK_WAIT}s"])


def _apply(connection: Connection, migration: Migration) -> None:
    for part in (_LEDGER, _record(migration), migration.script):
        connection.execute(part.encode())
    log.info("migration.applied", name=migration.name)


def _record(migration: Migration) -> str:
    """The statement that notes a migration as applied."""
    statement = sql.SQL("insert into bitespeed.migration (name, checksum) values ({}, {});")
    return statement.format(migration.name, migration.checksum).as_string()
