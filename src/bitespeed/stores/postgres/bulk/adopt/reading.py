"""Read the table once, bring its values into canonical form and stage its rows in the database."""

from array import array
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from bitespeed.errors import InvalidInput
from bitespeed.model.identifiers import parse_email, parse_phone
from bitespeed.rules.partition import Partition
from bitespeed.stores.postgres.bulk.adopt.repairs import OnRepair, Repair, role
from bitespeed.stores.postgres.bulk.adopt.statements import ADOPT
from bitespeed.stores.postgres.bulk.adopt.table import Column, Table

T = TypeVar("T", bound=str)

OnStep = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and how much there is, if known."""

BATCH_ROWS = 10_000  # fetched and written at a time

_PRECEDENCES = ("primary", "secondary", None)


class Reading:
    """Reads the table once, in the order of ids; every later step works on the staged rows.

    ``ids`` are the contacts' ids by their places in that order.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], region: str | None, on_repair: OnRepair
    ) -> None:
        self._connection = connection
        self._parse_phone = partial(parse_phone, region=region)
        self._on_repair = on_repair
        self._last_age: int = 0
        self._news = bytearray()  # by place: how many values of a live contact no older one carries
        self.ids: array[int] = array("q")
        self.partition = Partition()

    def read(self, table: Table, columns: dict[str, Column], on_step: OnStep) -> None:
        """Stage every row. Raises `InvalidInput` for a row that cannot become a contact."""
        names = {plain: sql.Identifier(column.name) for plain, column in columns.items()}
        extent = ADOPT["extent"].format(table=table.identifier, **names)
        total, self._last_age = _row(self._connection.execute(extent))
        self._connection.execute(ADOPT["create_staging"])
        self._connection.execute(ADOPT["create_members"])
        with self._connection.cursor("rows") as cursor:
            cursor.execute(ADOPT["rows"].format(table=table.identifier, **names))
            while rows := cursor.fetchmany(BATCH_ROWS):
                self._stage(rows)
                on_step("reading", len(self.ids), total)
        self._connection.execute(ADOPT["staged"])

    def _stage(self, rows: list[tuple[Any, ...]]) -> None:
        with self._connection.cursor() as cursor, cursor.copy(ADOPT["stage"]) as copy:
            for row in rows:
                copy.write_row(self._contact(*row))

    def _contact(
        self,
        id_: int | None,
        linked_id: int | None,
        precedence: str | None,
        email: str | None,
        phone: str | None,
        created_at: int | None,
        updated_at: int | None,
        deleted_at: int | None,
        is_deleted: bool,
    ) -> tuple[Any, ...]:
        id_ = self._number(id_)
        if precedence not in _PRECEDENCES:
            raise InvalidInput(f"Contact {id_} is neither primary nor secondary")
        canonical_email, raw_email = self._value(id_, "email", parse_email, email)
        canonical_phone, raw_phone = self._value(id_, "phone", self._parse_phone, phone)
        if created_at is None or updated_at is None or (is_deleted and deleted_at is None):
            created_at, updated_at, deleted_at = self._date(
                id_, created_at, updated_at, deleted_at, is_deleted=is_deleted
            )
        self._last_age = created_at
        values = (canonical_email is not None) + (canonical_phone is not None)
        if not values:
            self._on_repair(Repair("empty", (id_,), "has no value left"))
        self._news.append(values if values and not is_deleted else _NOT_COUNTED)
        self.ids.append(id_)
        return (
            *(self.partition.add(created_at), id_, linked_id, precedence),
            *(canonical_email, canonical_phone, raw_email, raw_phone),
            *(created_at, updated_at, deleted_at),
        )

    def _number(self, id_: int | None) -> int:
        if id_ is None or id_ < 1:
            raise InvalidInput("A contact has no id, or an id below 1; give it another first")
        if self.ids and self.ids[-1] == id_:
            raise InvalidInput(f"Two contacts have the id {id_}; give one of them another id first")
        return id_

    def _value(
        self, id_: int, kind: str, parse: Callable[[str], T | None], text: str | None
    ) -> tuple[T | None, str | None]:
        """The canonical value, and the raw one if it differs."""
        if text is None:
            return None, None
        try:
            canonical = parse(text)
        except InvalidInput:
            self._on_repair(Repair("unreadable", (id_,), f"{kind} kept as it is"))
            return None, text
        if canonical == text:
            return canonical, None
        if canonical is None:
            self._on_repair(Repair("blank", (id_,), f"{kind} was blank"))
            return None, None
        self._on_repair(Repair("respelled", (id_,), f"{kind} brought into canonical form"))
        return canonical, text

    def _date(
        self,
        id_: int,
        created_at: int | None,
        updated_at: int | None,
        deleted_at: int | None,
        *,
        is_deleted: bool,
    ) -> tuple[int, int, int | None]:
        """Derive the missing ones of the three instants.

        Ids grow with time, so a contact without `createdat` is as old as the contact before it, or
        older if it was updated or deleted earlier.
        """
        missing = [("createdat", created_at), ("updatedat", updated_at)]
        missing += [("deletedat", deleted_at)] if is_deleted else []
        names = " and ".join(name for name, instant in missing if instant is None)
        self._on_repair(Repair("undated", (id_,), f"{names} missing"))
        if created_at is None:
            later = [instant for instant in (updated_at, deleted_at) if instant is not None]
            created_at = min([self._last_age, *later])
        if updated_at is None:
            updated_at = created_at
        if is_deleted and deleted_at is None:
            deleted_at = updated_at
        return created_at, updated_at, deleted_at

    def join(self, on_step: OnStep) -> None:
        """Stage the identity of each contact: join the contacts that are linked, then those that
        share a value.
        """
        on_step("following links", 0, None)
        self._follow_links()
        on_step("comparing values", 0, None)
        self._compare_values()
        on_step("joining", 0, None)
        self._stage_members()
        for id_, primary_id, kind in self._rows("roles"):
            self._on_repair(role(kind, id_, primary_id))

    def _follow_links(self) -> None:
        for id_, linked_id in self._rows("lost"):
            self._on_repair(
                Repair("lost", (id_,), f"was linked to {linked_id}, which does not exist")
            )
        for one, other in self._rows("linked"):
            if not self.partition.link(one, other):
                self._on_repair(Repair("ring", self._named(one, other), "closed a ring"))

    def _compare_values(self) -> None:
        for place, oldest, kind in self._rows("shared"):
            self._news[place] -= 1
            if self.partition.link(place, oldest):
                ids = self._named(oldest, place)
                self._on_repair(Repair("joined", ids, f"shared one {kind} and were not linked"))
        for id_, news in zip(self.ids, self._news, strict=True):
            if not news:
                self._on_repair(Repair("repeat", (id_,), "brought nothing new"))

    def _named(self, *places: int) -> tuple[int, ...]:
        return tuple(dict.fromkeys(self.ids[place] for place in places))

    def _rows(self, name: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement, by a cursor in the server."""
        with self._connection.cursor(name) as cursor:
            cursor.itersize = BATCH_ROWS
            yield from cursor.execute(ADOPT[name])

    def _stage_members(self) -> None:
        ids, oldest = self.ids, self.partition.oldest
        with self._connection.cursor() as cursor, cursor.copy(ADOPT["members"]) as copy:
            for place, id_ in enumerate(ids):
                copy.write_row((id_, ids[oldest(place)]))
        self._connection.execute(ADOPT["identities"])


_NOT_COUNTED = 255  # a contact that is deleted or has no value cannot be a repeat


def _row(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    row = cursor.fetchone()
    assert row is not None  # noqa: S101 - an aggregate has one row
    return row
