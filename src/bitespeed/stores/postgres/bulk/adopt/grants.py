"""Grants on the view: whoever may read the table may read the view, and nobody else."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from bitespeed.stores.postgres.bulk.adopt.statements import ADOPT, CATALOG
from bitespeed.stores.postgres.bulk.adopt.table import Table


class Grant(NamedTuple):
    """A privilege of a role on a column, or on all if ``column`` is None.

    An empty ``role`` is `public`.
    """

    role: str
    privilege: str
    may_grant: bool
    column: str | None
    passes_row_security: bool

    @property
    def shown(self) -> str:
        """The role for messages."""
        return self.role or "public"


def find(connection: psycopg.Connection[Any], table: Table) -> list[Grant]:
    """All grants on the table but the owner's."""
    rows = connection.execute(CATALOG["grants"], {"table": table.oid}).fetchall()
    return [Grant(*row) for row in rows]


def carried(table: Table, grants: Iterable[Grant]) -> list[Grant]:
    """The grants that the view gets.

    Where a table has row level security and no policy, only its owner and the roles that bypass it
    see rows; only these may read the view.
    """
    return [
        grant
        for grant in grants
        if grant.privilege == "select" and (grant.passes_row_security or not table.has_row_security)
    ]


def notes(table: Table, grants: list[Grant]) -> list[str]:
    """A line for each thing that happens to roles."""
    kept = carried(table, grants)
    hidden = {g.shown for g in grants if g.privilege == "select" and g not in kept}
    writers = {g.shown for g in grants if g.privilege != "select"}
    outcomes = [
        ("may read the view", {g.shown for g in kept}),
        ("saw no row, since there is no policy; may not read the view", hidden),
        ("may not write any more", writers),
    ]
    return [f"{', '.join(sorted(roles))}: {what}" for what, roles in outcomes if roles]


def carry_over(
    connection: psycopg.Connection[Any], table: Table, view: Table, grants: list[Grant]
) -> None:
    """Replace the default privileges on the view by the grants on the table."""
    for role in {grant.role for grant in find(connection, view)}:
        connection.execute(ADOPT["revoke"].format(view=view.identifier, role=_role(role)))
    wanted = carried(table, grants)
    if not table.is_own:
        wanted.append(Grant(table.owner, "select", True, None, passes_row_security=True))
    for grant in wanted:
        _grant(connection, view, grant)


def _grant(connection: psycopg.Connection[Any], view: Table, grant: Grant) -> None:
    name = "grant" if grant.column is None else "grant_on_column"
    statement = ADOPT[f"{name}_with_option" if grant.may_grant else name]
    connection.execute(
        statement.format(
            view=view.identifier,
            role=_role(grant.role),
            column=sql.Identifier(grant.column or ""),
        )
    )


def _role(name: str) -> sql.Composable:
    return sql.Identifier(name) if name else sql.SQL("public")
