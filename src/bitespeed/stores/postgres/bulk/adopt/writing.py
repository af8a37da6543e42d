"""Write the staged contacts into the tables of the service, and put a view in the table's place."""

from typing import Any

import psycopg
from psycopg import sql

from bitespeed.errors import InvalidInput
from bitespeed.stores.postgres.bulk.adopt import dependents, grants
from bitespeed.stores.postgres.bulk.adopt.reading import OnStep
from bitespeed.stores.postgres.bulk.adopt.statements import ADOPT, CATALOG
from bitespeed.stores.postgres.bulk.adopt.table import Column, Table, additional, find, published

_WRITES = ("write_contacts", "write_identities", "write_identifiers")


def write(connection: psycopg.Connection[Any], tenant: str, max_id: int, on_step: OnStep) -> None:
    """Fill the tables; ids and event numbers continue above those written."""
    steps = len(_WRITES) + 2
    for step, name in enumerate(_WRITES):
        on_step("writing", step, steps)
        connection.execute(ADOPT[name], {"tenant": tenant})
    on_step("writing", len(_WRITES), steps)
    next_id, next_seq, number_step = connection.execute(ADOPT["sequences"]).fetchall()[0]
    parameters = {"tenant": tenant, "next": next_seq, "step": number_step}
    events = connection.execute(ADOPT["write_events"], parameters).rowcount
    connection.execute(ADOPT["end_values"])
    # The first of the numbers that this server gives out above the highest id of the table.
    above = max(0, max_id + 1 - next_id)
    _restart(connection, "contact_id", next_id + -(-above // number_step) * number_step)
    _restart(connection, "event_seq_seq", next_seq + events * number_step)
    on_step("writing", steps - 1, steps)
    connection.execute(ADOPT["written"])


def _restart(connection: psycopg.Connection[Any], sequence: str, next_: int) -> None:
    connection.execute(
        ADOPT["restart"].format(
            sequence=sql.Identifier("bitespeed", sequence), next=sql.Literal(next_)
        )
    )


def last_id(connection: psycopg.Connection[Any], table: Table) -> int:
    """The highest id that the table's own sequence has given out; 0 when it has none."""
    return connection.execute(CATALOG["last_id"], {"table": table.oid}).fetchall()[0][0]


def swap(
    connection: psycopg.Connection[Any],
    table: Table,
    columns: list[Column],
    dependent: dependents.Dependents,
    tenant: str,
    zone: str,
) -> None:
    """Move the table away, and put a view on the service's tables in its place."""
    granted = grants.find(connection, table)
    dependents.drop(connection, dependent.foreign_keys)
    _put_aside(connection, table)
    connection.execute(ADOPT["remark"].format(remark=sql.Literal(table.shown)))
    connection.execute(_view(table, columns, tenant, zone))
    connection.execute(ADOPT["default_tenant"].format(tenant=sql.Literal(tenant)))
    view = find(connection, table.identifier.as_string(connection))
    grants.carry_over(connection, table, view, granted)
    dependents.replace(connection, dependent.views)


def _put_aside(connection: psycopg.Connection[Any], table: Table) -> None:
    """Rename the table, then move it: the other schema may have a view with the table's name."""
    renamed = sql.Identifier(table.schema, "adopted_contact")
    try:
        connection.execute(ADOPT["rename"].format(table=table.identifier))
        connection.execute(ADOPT["move"].format(renamed=renamed))
    except (psycopg.errors.DuplicateTable, psycopg.errors.DuplicateObject) as error:
        raise InvalidInput(
            f"{table.shown} cannot be moved out of the way: {error.diag.message_primary}"
        ) from error


def _view(table: Table, columns: list[Column], tenant: str, zone: str) -> sql.Composed:
    others = additional(columns)
    name = "create_view_with_extra_columns" if others else "create_view"
    shown = [_kept(c) if c in others else _column(c, zone) for c in columns]
    return ADOPT[name].format(
        view=table.identifier,
        columns=sql.SQL(",\n       ").join(shown),
        tenant=sql.Literal(tenant),
        id=sql.Identifier(published(columns)["id"].name),
    )


def _kept(column: Column) -> sql.Composed:
    return ADOPT["column_kept"].format(name=sql.Identifier(column.name))


def _column(column: Column, zone: str) -> sql.Composed:
    """The column with the name and type that it has in the table."""
    type_: sql.Composable = sql.Identifier(column.type_schema, column.type_name)
    if column.width is not None:
        type_ = ADOPT["type_with_size"].format(type=type_, size=sql.Literal(column.width))
    name = "column"
    if column.collation is not None:
        name = "column_of_text"
    elif column.type_name == "timestamp":
        name = "column_of_instant"
    return ADOPT[name].format(
        plain=sql.Identifier(column.plain),
        type=type_,
        name=sql.Identifier(column.name),
        collation=sql.Identifier(column.collation_schema or "", column.collation or ""),
        zone=sql.Literal(zone),
    )
