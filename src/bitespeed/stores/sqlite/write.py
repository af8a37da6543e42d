"""Write changes under the write lock: every `Ref` becomes an id, every value a row."""

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import msgspec

from bitespeed.errors import Conflict, SequenceBehind
from bitespeed.model.changes import Changes, Committed, Erasure, Event, Pair, Ref
from bitespeed.resources import named, text

_SQL = named(text("bitespeed.stores.sqlite", "sql/commit.sql"))

_ROWS = 8  # that one statement inserts where there are so many: for a third of the work of one each


def _of_many(statement: str) -> str:
    head, _, row = statement.rstrip(";\n").rpartition("values ")
    return f"{head}values {', '.join([row] * _ROWS)}"


_OF_MANY = {name: _of_many(_SQL[name]) for name in _SQL if name.startswith("insert_")}


def write(connection: sqlite3.Connection, tenant: str, changes: Changes) -> Committed:
    """Write all of the changes into the open transaction.

    Raises `Conflict` when an identity has changed since it was read or a new value belongs to
    another identity by now; the caller must then roll back.
    """
    return _Writing(connection, tenant, changes).write()


class _Writing:
    def __init__(self, connection: sqlite3.Connection, tenant: str, changes: Changes) -> None:
        self._connection = connection
        self._tenant = tenant
        self._changes = changes
        numbers = connection.execute(_SQL["last_numbers"]).fetchone()
        self._last_id, self._highest_id, self._last_number, newest = numbers
        # Under the lock, and never before the newest event, where the clock was set back: so that
        # ages and erasures follow the order of commits.
        self._now = max(time.time_ns() // 1000, newest)
        # Facts are numbered in their order, those that contacts say among the others.
        self._events = list(enumerate(changes.events, self._last_number + 1))

    def write(self) -> Committed:
        self._advance_identities()
        contacts = self._changes.contacts
        ids = [self._last_id + n for n in range(1, len(contacts) + 1)]
        ages = [
            max(self._now, c.not_before) if c.created_at is None else c.created_at for c in contacts
        ]
        if contacts:
            if self._last_id < self._highest_id:
                raise SequenceBehind
            self._insert_contacts(ids, ages)
            self._insert_identifiers()
            self._insert_identities(dict(zip(ids, ages, strict=True)))
        if self._changes.deleted or self._changes.erasure is not None:
            self._delete()
        self._end_identities()
        if self._changes.erasure is not None:
            self._erase(self._changes.erasure)
        self._insert_events()
        number = self._last_number + len(self._events)
        if not self._run("continue_numbers", [(number,)]):
            self._run("begin_numbers", [(number,)])
        if self._changes.freed_emails or self._changes.freed_phones:
            self._end_values(number)
        return Committed(ids, ages, self._now)

    def _id(self, ref: Ref) -> int:
        return ref if ref > 0 else self._last_id - ref

    def _run(self, name: str, rows: Iterable[tuple[object, ...] | Mapping[str, object]]) -> int:
        """Run a statement once for each row: a tuple for `?`, a mapping for names. Returns the
        number of rows it changed.
        """
        return self._connection.executemany(_SQL[name], rows).rowcount

    def _insert(self, name: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Insert many rows. For null they have an empty text, or 0, which the statement knows:
        the driver would look for an adapter of each None.
        """
        end = len(rows) - len(rows) % _ROWS
        for start in range(0, end, _ROWS):
            values = list(chain.from_iterable(rows[start : start + _ROWS]))
            self._connection.execute(_OF_MANY[name], values)
        self._run(name, rows[end:])

    def _advance_identities(self) -> None:
        stored = [change for change in self._changes.identities if change.id > 0]
        rows = [
            {
                "id": c.id,
                "root": self._id(c.root),
                "primary": c.primary and self._id(c.primary),
                "primary_at": c.primary_at,
                "contacts": c.contacts,
                "stamp": c.stamp,
                "now": self._now,
            }
            for c in stored
        ]
        if stored and self._run("advance_identity", rows) != len(stored):
            raise Conflict("An identity has changed since it was read")

    def _insert_contacts(self, ids: list[int], ages: list[int]) -> None:
        """Each with the event of its creation: the n-th of these created the n-th contact."""
        events = [event for event in self._events if event[1].kind == "contact.created"]
        self._insert(
            "insert_contact",
            [
                (
                    id_,
                    self._tenant,
                    self._id(c.identity),
                    c.email or "",
                    c.phone or "",
                    c.raw_email or "",
                    c.raw_phone or "",
                    at,
                    max(self._now, at),
                    c.country or "",
                    "phone" if c.new_phone and c.email and not c.new_email else "",
                    number,
                    self._now,
                    event.version,
                    0 if event.primary is None else self._id(event.primary),
                    event.source or "",
                    event.request or "",
                    event.label or "",
                )
                for id_, at, c, (number, event) in zip(
                    ids, ages, self._changes.contacts, events, strict=True
                )
            ],
        )

    def _insert_identifiers(self) -> None:
        """Insert in the order of the key, for fewer page splits in a large batch."""
        contacts = self._changes.contacts
        emails = [
            (self._tenant, "email", c.email, self._id(c.identity)) for c in contacts if c.new_email
        ]
        phones = [
            (self._tenant, "phone", c.phone, self._id(c.identity)) for c in contacts if c.new_phone
        ]
        try:
            self._insert("insert_identifier", sorted(emails) + sorted(phones))
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
                raise
            raise Conflict("A new value has been taken since it was read") from None

    def _insert_identities(self, ages: dict[int, int]) -> None:
        self._insert(
            "insert_identity",
            [
                (
                    self._id(c.id),
                    self._tenant,
                    self._id(c.root),
                    self._id(c.primary),
                    ages[self._id(c.primary)],
                    c.contacts,
                )
                for c in self._changes.identities
                if c.id < 0 and c.primary is not None
            ],
        )

    def _end_identities(self) -> None:
        rows = [
            {"root": self._id(c.root), "id": c.id, "now": self._now}
            for c in self._changes.identities
            if c.root != c.id and c.id > 0
        ]
        if rows:
            self._run("end_identity", rows)

    def _delete(self) -> None:
        changes = self._changes
        rows = [{"now": self._now, "contact": id_} for id_ in changes.deleted]
        self._run("delete_contact", rows)
        self._run("delete_identifier", [(self._tenant, "email", v) for v in changes.freed_emails])
        self._run("delete_identifier", [(self._tenant, "phone", v) for v in changes.freed_phones])

    def _erase(self, erasure: Erasure) -> None:
        self._connection.execute(_SQL["erase_secret"], (erasure.secret,))
        if self._connection.execute(_SQL["secret"]).fetchone() != (erasure.secret,):
            raise Conflict("Another erasure created the secret first")
        roots = [(root,) for root in erasure.identities]
        self._run("erase_contacts", roots)
        self._run("erase_contact", [(id_,) for id_ in erasure.contacts])
        self._run("erase_events", roots)
        self._run("erase_values_of_event", [(seq,) for seq in erasure.events])
        self._run("erase_identities", roots)
        self._run(
            "insert_tombstone",
            [(self._tenant, pseudonym, self._now, erasure.id) for pseudonym in erasure.pseudonyms],
        )
        self._run("insert_erasure_in_log", [(erasure.id,)])

    def _insert_events(self) -> None:
        """Insert those that no contact says."""
        events = [event for event in self._events if event[1].kind != "contact.created"]
        self._run(
            "insert_event_with_pair",
            [(*self._event(n, e), *self._pair(e, e.pair)) for n, e in events if e.pair],
        )
        self._run("insert_event", [self._event(n, e) for n, e in events if not e.pair])

    def _event(self, number: int, event: Event) -> tuple[object, ...]:
        return (
            number,
            self._tenant,
            self._now,
            event.kind,
            self._id(event.identity),
            event.version,
            0 if event.contact is None else self._id(event.contact),
            0 if event.merged is None else self._id(event.merged),
            0 if event.primary is None else self._id(event.primary),
            event.source or "",
            event.request or "",
            event.label or "",
        )

    def _pair(self, event: Event, pair: Pair) -> tuple[object, ...]:
        merged_primary = None if event.merged_primary is None else self._id(event.merged_primary)
        size, merged_size = event.sizes or (None, None)
        return (merged_primary, size, merged_size, *msgspec.structs.astuple(pair))

    def _end_values(self, number: int) -> None:
        """Facts about a value that nobody has any more are not about whoever brings it again: they
        end with the event of that number.
        """
        emails, phones = self._changes.freed_emails, self._changes.freed_phones
        freed = [("email", v) for v in emails] + [("phone", v) for v in phones]
        rows = [
            {"tenant": self._tenant, "kind": kind, "value": value, "number": number}
            for kind, value in freed
        ]
        self._run("end_email_of_contacts", [row for row in rows if row["kind"] == "email"])
        self._run("end_phone_of_contacts", [row for row in rows if row["kind"] == "phone"])
        self._run("end_value_of_pairs", rows)
        self._run("end_other_of_pairs", rows)
