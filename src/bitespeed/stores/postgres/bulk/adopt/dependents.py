"""What else hangs on the table: what goes along, what is made anew, what stands in the way."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from bitespeed.errors import InvalidInput
from bitespeed.stores.postgres.bulk.adopt.statements import ADOPT, CATALOG
from bitespeed.stores.postgres.bulk.adopt.table import VIEW, Table


class View(NamedTuple):
    """A view that reads the table, as it is to be made again."""

    schema: str
    name: str
    definition: str
    options: list[str]

    @property
    def shown(self) -> str:
        """For people."""
        return f"{self.schema}.{self.name}"


class ForeignKey(NamedTuple):
    """A constraint of another table that refers to this one."""

    schema: str
    table: str
    name: str

    @property
    def shown(self) -> str:
        """For people."""
        return f"{self.name} of {self.schema}.{self.table}"


@dataclass
class Dependents:
    """Everything that the catalogue ties to the table from outside."""

    views: list[View] = field(default_factory=list[View])
    foreign_keys: list[ForeignKey] = field(default_factory=list[ForeignKey])
    others: list[str] = field(default_factory=list[str])

    def refuse(self, table: Table, *, drop_foreign_keys: bool) -> None:
        """Raise `InvalidInput` when something would be lost that nobody agreed to lose."""
        reasons: list[str] = []
        if self.others:
            reasons.append(
                f"{', '.join(self.others)}: a view cannot carry on with these, so drop them first"
            )
        if self.foreign_keys and not drop_foreign_keys:
            names = ", ".join(key.shown for key in self.foreign_keys)
            reasons.append(
                f"foreign keys {names}: a view cannot be referred to; --drop-foreign-keys drops"
                " them"
            )
        if reasons:
            raise InvalidInput(f"On {table.shown} depend {'; and '.join(reasons)}")

    def notes(self) -> list[str]:
        """What becomes of each."""
        return [
            *(f"view {view.shown}: reads the new view" for view in self.views),
            *(f"foreign key {key.shown}: dropped" for key in self.foreign_keys),
        ]


def find(connection: psycopg.Connection[Any], table: Table) -> Dependents:
    """All of them, as of now. Names in definitions are qualified, given an empty search path."""
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
    found.others += [f"table {name}, of which it is a part" for (name,) in parents]
    return found


def _view(connection: psycopg.Connection[Any], oid: int) -> tuple[str, list[str]]:
    row = connection.execute(CATALOG["view"], {"view": oid}).fetchone()
    assert row is not None  # noqa: S101 - read in the same transaction
    return row


def drop(connection: psycopg.Connection[Any], keys: list[ForeignKey]) -> None:
    """Drop the constraints; the columns and what they hold stay."""
    for key in keys:
        connection.execute(
            ADOPT["drop_constraint"].format(
                table=sql.Identifier(key.schema, key.table), constraint=sql.Identifier(key.name)
            )
        )


def make_again(connection: psycopg.Connection[Any], views: list[View]) -> None:
    """Let the views find what now has the table's name; who may read them, and what in turn
    depends on them, stays.

    Raises `InvalidInput` for one that cannot do with a view what it did with a table.
    """
    for view in views:
        head = _replacing(view).as_string(connection)
        try:
            connection.execute(f"{head} {view.definition}".encode())
        except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
            raise InvalidInput(
                f"The view {view.shown} cannot be made again on the new view"
                f" (SQLSTATE {error.sqlstate}); drop it first"
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
