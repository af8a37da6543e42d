"""Migrations and functions of a PostgreSQL database, applied by whichever process comes first.

Tables change by numbered migrations, forward only. Functions stand in files as their current
text, see `bitespeed.stores.postgres.function_set`. Servers of the release before run on while a
release is rolled out, so both fit them as well; and a database may be ahead of this code.
"""

import re
from collections.abc import Iterator
from typing import Any, LiteralString, cast

import psycopg
from psycopg import sql

from bitespeed.resources import named, text
from bitespeed.stores.migrations import (
    LEDGER_COLUMNS,
    Migration,
    created_names,
    missing,
    of_package,
    others_own,
    require_no_others,
)
from bitespeed.stores.postgres import function_set
from bitespeed.stores.postgres.function_set import FunctionSet
from bitespeed.stores.postgres.ledger import behind as behind_error
from bitespeed.telemetry.logs import log

TURN_TIMEOUT = 60  # seconds to wait while another process migrates
LOCK_TIMEOUT = 2  # seconds to wait for a table; behind a waiting migration all others wait as well
_LOCK = 0x62697465  # ("bite") the advisory lock of whoever migrates; a number of no other program

_PACKAGE = "bitespeed.stores.postgres"
_SQL = named(text("bitespeed.stores.postgres.bulk", "sql/migrate.sql"))
_LEDGER = [_SQL[name] for name in ("schema", "migrations", "functions")]

Connection = psycopg.Connection[Any]


def migrate(connection: Connection) -> None:
    """Bring the schema to this version.

    Several processes may do so at once. Each migration is applied whole or not at all, and so are
    the functions.
    """
    require_no_others_in_schema(connection)
    # So that a process that has waited for its turn sees what was done meanwhile.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    while is_behind(connection):
        with connection.transaction():
            _take_turn(connection)
            _apply_next(connection)


def require_no_others_in_schema(connection: Connection) -> None:
    """Raise `StoreDamaged` when another program has relations or functions under our names."""
    found = dict(connection.execute(_SQL["names_in_schema"].encode()).fetchall())
    if columns := found.get("migration"):
        if columns != LEDGER_COLUMNS:
            raise others_own("migration")
        return
    ours = created_names(of_package(_PACKAGE)) | {"function_set"}
    require_no_others(found, ours | function_set.names_of_functions())


def is_behind(connection: Connection) -> bool:
    """Whether a migration or the functions of this version have yet to be applied.

    Raises `StoreDamaged` when the database comes from another line of versions.
    """
    return bool(missing_migrations(connection)) or _lacks_functions(connection)


def missing_migrations(connection: Connection) -> list[Migration]:
    """The migrations not applied yet. Raises `StoreDamaged` when the text of one has changed."""
    ours = of_package(_PACKAGE)
    if connection.execute(_SQL["has_ledger"].encode()).fetchone() != (True,):
        return ours
    return missing(ours, dict(connection.execute(_SQL["applied"].encode()).fetchall()))


def require_migrated(connection: Connection) -> None:
    """Raise `StoreDamaged` when the schema is behind this version."""
    if is_behind(connection):
        raise behind_error()


def script() -> str:
    """All of it for psql or another tool: a transaction for each migration, which is refused where
    it has been applied, and one for the functions, refused where a later release has written them.
    """
    functions = function_set.current()
    refuse_later = _composed("refuse_later", functions.number)
    transactions = [
        [*_LEDGER, _migration_record(migration), *statements(migration.script)]
        for migration in of_package(_PACKAGE)
    ]
    transactions.append(
        [*_LEDGER, refuse_later, *_function_statements(), _function_record(functions)]
    )
    return "\n".join(map(_in_transaction, transactions))


def statements(text_: str) -> Iterator[str]:
    """The statements of a migration: each ends with a semicolon at the end of a line."""
    for statement in re.split(r";[ \t]*(?:--[^\n]*)?$", text_, flags=re.MULTILINE):
        if re.sub(r"--[^\n]*", "", statement).strip():
            yield statement


def _in_transaction(transaction: list[str]) -> str:
    return "\n".join(f"{statement.strip()};" for statement in ("begin", *transaction, "commit\n"))


def _lacks_functions(connection: Connection) -> bool:
    stored = connection.execute(_SQL["stored_functions"].encode()).fetchone()
    return function_set.current().replaces(None if stored is None else FunctionSet(*stored))


def _take_turn(connection: Connection) -> None:
    """For this transaction; not for the session, which a pooler may share with others."""
    connection.execute(_SQL["lock_timeout"].encode(), [f"{TURN_TIMEOUT}s"])
    connection.execute(_SQL["turn"].encode(), [_LOCK])
    connection.execute(_SQL["lock_timeout"].encode(), [f"{LOCK_TIMEOUT}s"])


def _apply_next(connection: Connection) -> None:
    """Apply the next migration, or the functions when there is none."""
    for migration in missing_migrations(connection)[:1]:
        _execute(connection, *_LEDGER, _migration_record(migration), *statements(migration.script))
        log.info("migration.applied", name=migration.name)
        return
    if _lacks_functions(connection):
        functions = function_set.current()
        _execute(connection, *_function_statements(), _function_record(functions))
        log.info("functions.applied", number=functions.number)


def _execute(connection: Connection, *statements_: str) -> None:
    for statement in statements_:
        connection.execute(statement.encode())


def _function_statements() -> list[str]:
    """What creates the functions, and grants them to those who may call them."""
    grants = named(text(_PACKAGE, "function_grants.sql"))
    return [*(script_.rstrip().rstrip(";") for script_ in function_set.scripts()), *grants.values()]


def _migration_record(migration: Migration) -> str:
    """The statement that records a migration as applied."""
    return _composed("record_migration", migration.name, migration.checksum)


def _function_record(functions: FunctionSet) -> str:
    """The statement that records which functions were applied."""
    return _composed("record_functions", functions.number, functions.checksum)


def _composed(name: str, *values: str | int) -> str:
    statement = sql.SQL(cast("LiteralString", _SQL[name]))
    return statement.format(*map(sql.Literal, values)).as_string()
