"""Take over a table of contacts in the published shape that another program has filled.

One transaction locks the table and does everything, so an interruption at any point changes
nothing. It reads each row once, brings its values into canonical form as of requests, and stages it
in temporary tables; from these it fills the tables of the service. At the end the old table is
``bitespeed.adopted_contact``, and a view has its name.
"""

from dataclasses import dataclass
from typing import Any

import psycopg

from bitespeed.errors import InvalidInput
from bitespeed.stores.options import Options
from bitespeed.stores.postgres.bulk.adopt import dependents, grants, repairs, table, writing
from bitespeed.stores.postgres.bulk.adopt.reading import OnStep, Reading
from bitespeed.stores.postgres.bulk.adopt.statements import ADOPT, CATALOG
from bitespeed.stores.postgres.bulk.migrate import migrate, require_migrated
from bitespeed.stores.postgres.bulk.sessions import connect
from bitespeed.stores.postgres.errors import translated

__all__ = ["AdoptOptions", "Adopted", "adopt"]

LOCK_TIMEOUT = "5s"  # for the table; readers that come later wait behind us as long

_WRITING = psycopg.IsolationLevel.READ_COMMITTED
"""Having waited for the lock on the table, see what the transaction before us made of it."""
_DRY_RUN = psycopg.IsolationLevel.REPEATABLE_READ
"""A dry run does not lock the table, so all its statements need one snapshot."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class AdoptOptions:
    """Which table to adopt, and how."""

    table: str = "public.contact"
    tenant: str = "default"
    region: str | None = None
    """Country of phone numbers without a country code."""
    time_zone: str | None = None
    """The time zone of instants without one; by default the `TimeZone` of the database."""
    dry_run: bool = False
    """Report everything and write nothing."""
    drop_foreign_keys: bool = False
    keep_extra_columns: bool = False


@dataclass(frozen=True)
class Adopted:
    """The numbers of an adoption; ``notes`` say what became of views, foreign keys and roles."""

    table: str
    contacts: int
    deleted: int
    identities: int
    time_zone: str
    notes: list[str]


def adopt(
    url: str,
    options: Options,
    adopt_options: AdoptOptions,
    on_repair: repairs.OnRepair,
    on_step: OnStep,
) -> Adopted | None:
    """Adopt the table; None when it has been adopted already.

    Each repair goes to ``on_repair`` before the commit. Raises `InvalidInput` when the table cannot
    be adopted as it is, or `StoreUnavailable`; nothing has changed then.
    """
    with translated(), connect(url, options.timeout) as connection:
        if not adopt_options.dry_run:
            (migrate if options.migrate else require_migrated)(connection)
        connection.isolation_level = _DRY_RUN if adopt_options.dry_run else _WRITING
        with connection.transaction(force_rollback=adopt_options.dry_run):
            found = table.find(connection, adopt_options.table)
            _limit(connection, adopt_options)
            if _is_adopted(connection, found):
                return None
            if not adopt_options.dry_run:
                connection.execute(ADOPT["lock"].format(table=found.identifier))
                connection.execute(ADOPT["lock_own_tables"])
                found = table.find(connection, found.identifier.as_string(connection))
                if _is_adopted(connection, found):  # by a process whose lock we waited for
                    return None
            return _adopt(connection, found, adopt_options, on_repair, on_step)


def _limit(connection: Connection, adopt_options: AdoptOptions) -> None:
    try:
        connection.execute(
            ADOPT["limits"], {"lock_timeout": LOCK_TIMEOUT, "zone": adopt_options.time_zone}
        )
    except psycopg.errors.InvalidParameterValue as error:
        raise InvalidInput(f"The database knows no time zone {adopt_options.time_zone}") from error


def _is_adopted(connection: Connection, found: table.Table) -> bool:
    """Whether the relation is the view that an adoption leaves.

    Raises `InvalidInput` when it is neither that view nor a table that can be adopted.
    """
    adopted, has_adopted, has_tables = connection.execute(CATALOG["adopted"]).fetchall()[0]
    if has_adopted and found.kind == table.VIEW and adopted == found.shown:
        return True
    if found.kind != "r":
        raise InvalidInput(f"{found.shown} is not a plain table")
    if has_adopted or (has_tables and connection.execute(ADOPT["is_empty"]).fetchone() != (True,)):
        raise InvalidInput("The bitespeed tables are not empty; adopt a table before anything else")
    return False


def _adopt(
    connection: Connection,
    found: table.Table,
    adopt_options: AdoptOptions,
    on_repair: repairs.OnRepair,
    on_step: OnStep,
) -> Adopted:
    columns = table.columns(connection, found)
    others = [column.name for column in table.additional(columns)]
    if others and not adopt_options.keep_extra_columns:
        raise InvalidInput(
            f"{found.shown} has extra columns: {', '.join(others)}; with --keep-extra-columns"
            " the view shows them for the present contacts, and null for new ones"
        )
    dependent = dependents.find(connection, found)
    dependent.refuse(found, drop_foreign_keys=adopt_options.drop_foreign_keys)

    reading = Reading(connection, adopt_options.region, on_repair)
    connection.execute(ADOPT["all_rows"])
    reading.read(found, table.published(columns), on_step)
    connection.execute(ADOPT["own_tables"])
    reading.join(on_step)
    contacts, deleted, identities, max_id = connection.execute(ADOPT["totals"]).fetchall()[0]
    zone = connection.info.parameter_status("TimeZone") or "UTC"
    notes = [*dependent.notes(), *grants.notes(found, grants.find(connection, found))]
    if not adopt_options.dry_run:
        max_id = max(max_id or 0, writing.last_id(connection, found))
        writing.write(connection, adopt_options.tenant, max_id, on_step)
        writing.swap(connection, found, columns, dependent, adopt_options.tenant, zone)
    return Adopted(found.shown, contacts, deleted, identities, zone, notes)
