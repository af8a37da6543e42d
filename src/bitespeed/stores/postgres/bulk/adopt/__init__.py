"""Taking over a table of contacts in the published shape, which others have filled until now.

All of it is one transaction that holds the table: interrupted at any point, everything is as it
was. Rows are read once, brought into canonical form by the rule that holds for requests, and
staged in temporary tables; from there the tables of the service are filled. In the end the old
table stands aside as ``bitespeed.adopted_contact``, and a view has its name.
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

__all__ = ["Adopted", "Wishes", "adopt"]

LOCK_WAIT = "5s"  # for the table; whoever wants to read it waits behind us as long

_WET = psycopg.IsolationLevel.READ_COMMITTED
"""Whoever has waited for the table sees what became of it."""
_DRY = psycopg.IsolationLevel.REPEATABLE_READ
"""The table is not locked then, so all statements have to see the same."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Wishes:
    """What is to be adopted, and how."""

    table: str = "public.contact"
    tenant: str = "default"
    region: str | None = None
    """Country of phone numbers without a country code."""
    time_zone: str | None = None
    """In which instants without a zone were written; that of the database if none is given."""
    dry_run: bool = False
    """Find out everything and write nothing."""
    drop_foreign_keys: bool = False
    keep_extra_columns: bool = False


@dataclass(frozen=True)
class Adopted:
    """What there was, and what comes of it; ``notes`` tell of views, keys and roles."""

    table: str
    contacts: int
    deleted: int
    identities: int
    time_zone: str
    notes: list[str]


def adopt(
    url: str, options: Options, wishes: Wishes, on_repair: repairs.OnRepair, on_step: OnStep
) -> Adopted | None:
    """Adopt the table; None when that has been done already. Repairs are told before the commit.

    Raises `InvalidInput` when the table cannot be adopted as it is, or `StoreUnavailable`; nothing
    has changed then.
    """
    with translated(), connect(url, options.timeout) as connection:
        if not wishes.dry_run:
            (migrate if options.migrate else require_migrated)(connection)
        connection.isolation_level = _DRY if wishes.dry_run else _WET
        with connection.transaction(force_rollback=wishes.dry_run):
            found = table.find(connection, wishes.table)
            _limit(connection, wishes)
            if _is_adopted(connection, found):
                return None
            if not wishes.dry_run:
                connection.execute(ADOPT["lock"].format(table=found.identifier))
                connection.execute(ADOPT["lock_ours"])
                found = table.find(connection, found.identifier.as_string(connection))
                if _is_adopted(connection, found):  # by another, for whom we have waited
                    return None
            return _adopt(connection, found, wishes, on_repair, on_step)


def _limit(connection: Connection, wishes: Wishes) -> None:
    try:
        connection.execute(ADOPT["limits"], {"lock_wait": LOCK_WAIT, "zone": wishes.time_zone})
    except psycopg.errors.InvalidParameterValue as error:
        raise InvalidInput(f"The database knows no time zone {wishes.time_zone}") from error


def _is_adopted(connection: Connection, found: table.Table) -> bool:
    """Whether the table is the view that adoption leaves.

    Raises `InvalidInput` when it is neither that nor a table that could be adopted.
    """
    adopted, has_adopted, has_tables = connection.execute(CATALOG["adopted"]).fetchall()[0]
    if has_adopted and found.kind == table.VIEW and adopted == found.shown:
        return True
    if found.kind != "r":
        raise InvalidInput(f"{found.shown} is not a plain table")
    if has_adopted or (has_tables and connection.execute(ADOPT["is_empty"]).fetchone() != (True,)):
        raise InvalidInput(
            "The bitespeed tables hold contacts already; a table is adopted before anything else"
        )
    return False


def _adopt(
    connection: Connection,
    found: table.Table,
    wishes: Wishes,
    on_repair: repairs.OnRepair,
    on_step: OnStep,
) -> Adopted:
    columns = table.columns(connection, found)
    others = [column.name for column in table.additional(columns)]
    if others and not wishes.keep_extra_columns:
        raise InvalidInput(
            f"{found.shown} has columns of its own: {', '.join(others)}; --keep-extra-columns"
            " shows them for the contacts there are, and none for those to come"
        )
    hanging = dependents.find(connection, found)
    hanging.refuse(found, drop_foreign_keys=wishes.drop_foreign_keys)

    reading = Reading(connection, wishes.region, on_repair)
    connection.execute(ADOPT["whole"])
    reading.read(found, table.published(columns), on_step)
    connection.execute(ADOPT["ours"])
    reading.join(on_step)
    contacts, deleted, identities, max_id = connection.execute(ADOPT["totals"]).fetchall()[0]
    zone = connection.info.parameter_status("TimeZone") or "UTC"
    notes = [*hanging.notes(), *grants.notes(found, grants.find(connection, found))]
    if not wishes.dry_run:
        max_id = max(max_id or 0, writing.last_id(connection, found))
        writing.write(connection, wishes.tenant, max_id, on_step)
        writing.swap(connection, found, columns, hanging, wishes.tenant, zone)
    return Adopted(found.shown, contacts, deleted, identities, zone, notes)
