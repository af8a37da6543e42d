"""The table to adopt: where it is, and whether it has the published columns."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from bitespeed.errors import InvalidInput
from bitespeed.model.identifiers import MAX_EMAIL, MAX_PHONE
from bitespeed.stores.postgres.bulk.adopt.statements import CATALOG

_INTEGERS = {"int2", "int4", "int8"}
_TEXTS = {"varchar", "text", "bpchar", "citext"}
_INSTANTS = {"timestamp", "timestamptz"}
_PUBLISHED = {
    "id": _INTEGERS,
    "phonenumber": _TEXTS,
    "email": _TEXTS,
    "linkedid": _INTEGERS,
    "linkprecedence": _TEXTS,  # or an enumeration
    "createdat": _INSTANTS,
    "updatedat": _INSTANTS,
    "deletedat": _INSTANTS,
}
"""The types that each column of the published table may have."""

_WIDTHS = {"phonenumber": MAX_PHONE, "email": MAX_EMAIL, "linkprecedence": len("secondary")}

VIEW = "v"

_NO_NAMES = (
    psycopg.errors.SyntaxError,
    psycopg.errors.InvalidName,
    psycopg.errors.FeatureNotSupported,
)
"""What the server raises for a text that cannot be the name of a table here."""


class Column(NamedTuple):
    """A column as in the catalogue; ``size`` is the number in parentheses after the type."""

    name: str
    type_schema: str
    type_name: str
    type_kind: str
    size: int | None
    collation_schema: str | None
    collation: str | None

    @property
    def plain(self) -> str:
        """The name in the published spelling."""
        return self.name.lower()

    @property
    def width(self) -> int | None:
        """The size that the column of the view needs, so that no new value is too long."""
        return max(self.size, _WIDTHS.get(self.plain, 0)) if self.size is not None else None

    def fits(self) -> bool:
        """Whether the column may have this type."""
        is_enum = self.plain == "linkprecedence" and self.type_kind == "e"
        return self.type_name in _PUBLISHED[self.plain] or is_enum


@dataclass(frozen=True)
class Table:
    """A relation. ``is_own``: the present user is its owner."""

    oid: int
    schema: str
    name: str
    kind: str
    has_row_security: bool
    owner: str
    is_own: bool

    @property
    def identifier(self) -> sql.Identifier:
        """The qualified name for statements."""
        return sql.Identifier(self.schema, self.name)

    @property
    def shown(self) -> str:
        """The qualified name for messages."""
        return f"{self.schema}.{self.name}"


def find(connection: psycopg.Connection[Any], name: str) -> Table:
    """The relation with this name. Raises `InvalidInput` when it does not exist."""
    try:
        with connection.transaction():
            row = connection.execute(CATALOG["relation"], {"name": name}).fetchone()
    except _NO_NAMES:
        row = None
    if row is None:
        raise InvalidInput(
            f"There is no table {name}; a name with capitals needs quotes, such as"
            " 'public.\"Contact\"'"
        )
    return Table(*row)


def columns(connection: psycopg.Connection[Any], table: Table) -> list[Column]:
    """The columns in their order.

    Raises `InvalidInput` when a published one is missing or has another type.
    """
    rows = connection.execute(CATALOG["columns"], {"table": table.oid}).fetchall()
    found = [Column(*row) for row in rows]
    missing = _PUBLISHED.keys() - {column.plain for column in found}
    if missing:
        raise InvalidInput(f"{table.shown} lacks the columns {_list(missing)}")
    wrong = {
        f"{column.name} ({column.type_name})"
        for column in published(found).values()
        if not column.fits()
    }
    if wrong:
        raise InvalidInput(f"{table.shown} has columns of other types: {_list(wrong)}")
    return found


def published(found: list[Column]) -> dict[str, Column]:
    """The published columns by their plain names; the first of two that differ in case."""
    return {c.plain: c for c in reversed(found) if c.plain in _PUBLISHED}


def additional(found: list[Column]) -> list[Column]:
    """The columns that are not published."""
    ours = published(found).values()
    return [column for column in found if column not in ours]


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))
