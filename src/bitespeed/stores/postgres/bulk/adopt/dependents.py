"""Objects that depend on the table: those adoption keeps, makes again, drops or refuses."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from bitespeed.errors import InvalidInput
from bitespeed.stores.postgres.bulk.adopt.statements import ADOPT, CATALOG
from bitespeed.stores.postgres.bulk.adopt.table import VIEW, Table


class View(NamedTuple):
    """A view that reads the table, with what is needed to create it again."""

    schema: str
    name: str
    definition: str
    options: list[str]

    @property
    def shown(self) -> str:
        """The name for messages."""
        return f"{self.schema}.{self.name}"


class ForeignKey(NamedTuple):
    """A foreign key of another table that refers to this one."""

    schema: str
    table: str
    name: str

    @property
    def shown(self) -> str:
        """The name for messages."""
        return f"{self.name} of {self.schema}.{self.table}"


@dataclass
class Dependents:
    """All objects that depend on the table, according to the catalogue."""

    views: list[View] = field(default_factory=list[View])
    foreign_keys: list[ForeignKey] = field(default_factory=list[ForeignKey])
    others: list[str] = field(default_factory=list[str])

    def refuse(self, table: Table, *, drop_foreign_keys: bool) -> None:
        """Raise `InvalidInput` when adoption would break an object that nobody agreed to drop."""
        reasons: list[str] = []
        if self.others:
            reasons.append(
                f"{', '.join(self.others)}: these cannot depend on a view, so drop them first"
            )
        if self.foreign_keys and not drop_foreign_keys:
            names = ", ".join(key.shown for key in self.foreign_keys)
            reasons.append(
                f"foreign keys {names}: they cannot refer to a view; --drop-foreign-keys drops them"
            )
        if reasons:
            raise InvalidInput(f"These depend on {table.shown}: {'; and '.join(reasons)}")

    def notes(self) -> list[str]:
        """A line for each object that adoption changes or drops."""
        return [
            *(f"view {view.shown}: reads the new view" for view in self.views),
            *(f"foreign key {key.shown}: dropped" for key in self.foreign_keys),
        ]


def find(connection: psycopg.Connection[Any], table: Table) -> Dependents:
    """All objects that depend on the table now.

    Names in definitions are qualified as long as the search path is empty.
    """
    found = Dependents()
    parameters = {"table": table.oid}
    for row in connection.execute(CATALOG["dependents"], parameters).fetchall():
        _, _, view_kind, constraint, schema, name, description, view_oid = row
        if view_kind == VIEW:
            definition, options = _view(connection, view_oid)
            found.views.append(View(schema, name, definition, options))
        elif constraint:
            found.foreign_keys.append(ForeignKey(schema, name, constraint))
        else:
            found.others.append(description)
    parents = connection.execute(CATALOG["parents"], parameters).fetchall()
    found.others += [f"table {name}, from which it inherits" for (name,) in parents]
    return found


def _view(connection: psycopg.Connection[Any], oid: int) -> tuple[str, list[str]]:
    row = connection.execute(CATALOG["view"], {"view": oid}).fetchone()
    assert row is not None  # noqa: S101 - read in the same transaction
    return row


def drop(connection: psycopg.Connection[Any], keys: list[ForeignKey]) -> None:
    """Drop the constraints; their columns and values stay."""
    for key in keys:
        connection.execute(
            ADOPT["drop_constraint"].format(
                table=sql.Identifier(key.schema, key.table), constraint=sql.Identifier(key.name)
            )
        )


def replace(connection: psycopg.Connection[Any], views: list[View]) -> None:
    """Make the views read the view that now has the table's name. Their grants stay, and so does
    whatever depends on them.

    Raises `InvalidInput` for a view that needs a table.
    """
    for view in views:
        head = _replacing(view).as_string(connection)
        try:
            connection.execute(f"{head} {view.definition}".encode())
        except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
            raise InvalidInput(
                f"The view {view.shown} cannot read the new view (SQLSTATE {error.sqlstate});"
                " drop it first"
            ) from error


def _replacing(view: View) -> sql.Composed:
    name = sql.Identifier(view.schema, view.name)
    if not view.options:
        return ADOPT["replace_view"].format(view=name)
    options = [option.partition("=") for option in view.options]
    settings = [
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
        for name, _, value in options
    ]
    return ADOPT["replace_view_with_options"].format(
        view=name, options=sql.SQL(", ").join(settings)
    )
