"""A store as plain values, for tests that look at every state it can be in.

It reads, decides and writes in one piece; what may come between is not its business.
"""

from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import NamedTuple

from bitespeed.errors import NotFound
from bitespeed.model.changes import Changes, Committed, NewContact, Ref
from bitespeed.model.identifiers import Observation
from bitespeed.model.identity import Answer, Contact, Identity, Snapshot
from bitespeed.model.records import (
    ContactRecord,
    EventRecord,
    IdentifierRecord,
    IdentityRecord,
    IdentityRecords,
)
from bitespeed.rules.delete import delete
from bitespeed.rules.draft import Reply
from bitespeed.rules.erase import Subject, erase, erasure_of, subject_records
from bitespeed.rules.identify import identify

TENANT = "default"

GONE = 0
"""Instead of the root of an identity that is removed."""

Key = tuple[str, str]
"""The kind and the value of an identifier."""

Name = tuple[str | None, str | None]
"""The values of a contact, by which it is known in states where it may have another id."""


class Rows(NamedTuple):
    """All that is committed."""

    heads: tuple[IdentityRecord, ...] = ()
    contacts: tuple[ContactRecord, ...] = ()
    identifiers: tuple[tuple[Key, int], ...] = ()
    events: tuple[EventRecord, ...] = ()


class Database:
    """Rows, opened for looking things up. Never changes; see `database`."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.heads = {head.id: head for head in rows.heads}
        self.contacts = {contact.id: contact for contact in rows.contacts}
        self.identifiers = dict(rows.identifiers)

    def holder(self, key: Key) -> int | None:
        """The identity that holds the value by now."""
        born_in = self.identifiers.get(key)
        return None if born_in is None else self.heads[born_in].root_id

    def home(self, contact: int) -> int:
        """The identity that the contact belongs to by now, live or deleted."""
        return self.heads[self.contacts[contact].identity_id].root_id

    def read(self, roots: set[int]) -> dict[int, Identity]:
        """Those of the identities that live and have contacts."""
        return {
            head.id: Identity(
                head.id,
                head.version,
                head.stamp,
                head.primary_id,
                head.primary_at or 0,
                head.contacts,
                [Contact(c.id, c.created_at, c.email, c.phone) for c in self.members(head.id)],
                self.pairs(head.id),
            )
            for head in self.rows.heads
            if head.id in roots and head.id == head.root_id and head.primary_id is not None
        }

    def members(self, root: int) -> list[ContactRecord]:
        """The live contacts of an identity, by age."""
        live = (contact for contact in self.contacts.values() if contact.deleted_at is None)
        members = [contact for contact in live if self.home(contact.id) == root]
        return sorted(members, key=lambda contact: (contact.created_at, contact.id))

    def pairs(self, root: int) -> list[tuple[str, str, str, str]]:
        """The pairs that its live contacts do not show, of values that somebody still has."""
        seen = [
            (e.kind_of_value, e.value, e.kind_of_other, e.other)
            for e in self.rows.events
            if e.value is not None
            and self.heads[e.identity_id].root_id == root
            and (e.value_until, e.other_until) == (None, None)
        ]
        said = [
            ("email", c.email, "phone", c.phone)
            for c in self.contacts.values()
            if c.deleted_at is not None
            and self.home(c.id) == root
            and c.email is not None
            and c.phone is not None
            and (c.email_until, c.phone_until) == (None, None)
        ]
        return seen + said

    def identities(self) -> list[IdentityRecords]:
        """Everything, as `Store.scan` gives it."""
        found: dict[int | None, IdentityRecords] = {
            head.root_id: IdentityRecords(head.root_id) for head in self.rows.heads
        }
        for head in self.rows.heads:
            found[head.root_id].heads.append(head)
        for contact in self.rows.contacts:
            found[self.home(contact.id)].contacts.append(contact)
        for key, born_in in self.rows.identifiers:
            row = IdentifierRecord(TENANT, *key, born_in)
            found[self.heads[born_in].root_id].identifiers.append(row)
        for event in self.rows.events:
            head = self.heads.get(event.identity_id)
            root = head and head.root_id
            found.setdefault(root, IdentityRecords(root)).events.append(event)
        return list(found.values())

    def described(self, answers: list[Answer]) -> tuple:
        """The answers, with each contact called after its values, whatever its id."""
        return tuple(
            (
                *(_name(self.contacts[id_]) for id_ in (answer.primary_id, *answer.secondary_ids)),
                *answer.emails,
                *answer.phones,
            )
            for answer in answers
        )

    def persons(self) -> frozenset[tuple[tuple[Name, ...], frozenset[Key]]]:
        """The contacts of each identity, the primary first, and the identifiers it holds."""
        held: dict[int, set[Key]] = {head.root_id: set() for head in self.rows.heads}
        for key in self.identifiers:
            held[self.holder(key) or 0].add(key)
        return frozenset(
            (tuple(map(_name, self.members(root))), frozenset(keys)) for root, keys in held.items()
        )


def _name(contact: ContactRecord) -> Name:
    return contact.email, contact.phone


database = cache(Database)
"""The one object for these rows, so that databases are compared and hashed in no time."""

EMPTY = database(Rows())


# Deciding


@dataclass(frozen=True, eq=False)
class Request:
    """Observations to identify as one batch, or a contact to delete or whose person to erase."""

    name: str
    observations: tuple[Observation, ...] = ()
    deletes: int | None = None
    erases: int | None = None

    def wanted_keys(self) -> list[Key]:
        """The values in it."""
        keys = [(("email", o.email), ("phone", o.phone)) for o in self.observations]
        return [(kind, value) for kind, value in chain(*keys) if value is not None]


class Decision:
    """What a request makes of one snapshot. Raises what the rule raises."""

    def __init__(self, request: Request, snapshot: Snapshot, all_: list[IdentityRecords]) -> None:
        self._request, self._snapshot, self._all = request, snapshot, all_
        self.changes, _ = self._decide()

    def _decide(self) -> tuple[Changes, list[Reply]]:
        if self._request.deletes is not None:
            return delete(self._snapshot, self._request.deletes), []
        if self._request.erases is not None:
            person = subject_records(self._all, Subject(contact=self._request.erases))
            return erase(person, erasure_of(TENANT, person, "e", "s")), []
        return identify(self._snapshot, self._request.observations)

    def answers(self, committed: Committed) -> list[Answer]:
        """Decided afresh, since a reply keeps its first answer."""
        _, replies = self._decide()
        return [reply.answer(committed) for reply in replies]


_DECISIONS: dict[tuple[Request, str], Decision] = {}


@cache
def decide(request: Request, found_in: Database, read_from: Database) -> Decision | str:
    """One object for equal snapshots; a sentence where there is nothing to decide.

    Who holds the values is looked up in one database, the identities are read from the other.
    """
    holders = {key: found_in.holder(key) for key in request.wanted_keys()}
    held = {key: root for key, root in holders.items() if root is not None}
    roots = set(held.values())
    if request.deletes in found_in.contacts:
        roots.add(found_in.home(request.deletes))
    all_ = read_from.identities() if request.erases is not None else []
    snapshot = Snapshot(
        read_from.read(roots),
        {value: root for (kind, value), root in held.items() if kind == "email"},
        {value: root for (kind, value), root in held.items() if kind == "phone"},
    )
    key = request, repr((snapshot, all_))
    try:
        if key not in _DECISIONS:
            _DECISIONS[key] = Decision(request, snapshot, all_)
    except NotFound:
        return "there is no such contact"
    except KeyError:
        return "the identity that holds a value is not there"
    return _DECISIONS[key]


def new_keys(contact: NewContact) -> list[Key]:
    """The identifiers that the contact brings, as they come."""
    keys = ("email", contact.email, contact.new_email), ("phone", contact.phone, contact.new_phone)
    return [(kind, value) for kind, value, is_new in keys if value is not None and is_new]


def freed_keys(changes: Changes) -> list[Key]:
    """The identifiers that nobody holds any more."""
    emails = [("email", value) for value in changes.freed_emails]
    return emails + [("phone", value) for value in changes.freed_phones]


# Writing


class Writing:
    """Writes changes over whatever is there; nothing is compared."""

    def __init__(self, before: Database, changes: Changes, committed: Committed, at: int) -> None:
        self._before = before
        self._changes = changes
        self._committed = committed
        self._at = at
        self._ages = dict(zip(committed.ids, committed.created_at, strict=True))
        self._heads = dict(before.heads)
        self._contacts = dict(before.contacts)
        self._identifiers = dict(before.identifiers)

    def write(self, new_roots: dict[int, int], first_event: int) -> Database:
        """The database afterwards. Rows of identities are relabelled only as named."""
        self._write_identities()
        for id_, root in new_roots.items():
            if root == GONE:
                del self._heads[id_]
            else:
                self._heads[id_] = self._heads[id_]._replace(root_id=root)
        self._write_contacts()
        added = self._events(first_event)
        last_event = added[-1].seq if added else 0
        self._delete(last_event)
        gone = self._before.heads.keys() - self._heads.keys()
        kept_events = [e for e in self._before.rows.events if e.identity_id not in gone]
        rows = Rows(
            tuple(sorted(self._heads.values())),
            tuple(sorted(c for c in self._contacts.values() if c.identity_id not in gone)),
            tuple(sorted(self._identifiers.items())),
            tuple(sorted(self._with_values_ended([*kept_events, *added], last_event))),
        )
        return database(rows)

    def _id(self, ref: Ref) -> int:
        return ref if ref > 0 else self._committed.ids[-ref - 1]

    def _id_or_none(self, ref: Ref | None) -> int | None:
        return None if ref is None else self._id(ref)

    def _write_identities(self) -> None:
        for change in self._changes.identities:
            id_, primary = self._id(change.id), self._id_or_none(change.primary)
            at = change.primary_at if change.primary_at is not None else self._ages.get(primary)
            old = self._heads.get(id_)
            root, version = (old.root_id, old.version) if old else (self._id(change.root), 0)
            self._heads[id_] = IdentityRecord(
                id_, TENANT, root, primary, at, change.contacts, version + 1, 10 * (version + 1)
            )

    def _write_contacts(self) -> None:
        for (id_, at), new in zip(self._ages.items(), self._changes.contacts, strict=True):
            born_in = self._id(new.identity)
            row = ContactRecord(
                id=id_,
                tenant=TENANT,
                identity_id=born_in,
                email=new.email,
                phone=new.phone,
                raw_email=new.raw_email,
                raw_phone=new.raw_phone,
                created_at=at,
                updated_at=at,
                deleted_at=None,
                anchor="phone" if new.email is not None and not new.new_email else None,
            )
            self._contacts[id_] = row
            self._identifiers.update(dict.fromkeys(new_keys(new), born_in))

    def _delete(self, last_event: int) -> None:
        for id_ in self._changes.deleted:
            self._contacts[id_] = self._contacts[id_]._replace(deleted_at=self._at)
        for id_, contact in self._contacts.items():
            if contact.deleted_at is not None:
                freed = freed_keys(self._changes)
                self._contacts[id_] = contact._replace(
                    email_until=contact.email_until
                    or (last_event if ("email", contact.email) in freed else None),
                    phone_until=contact.phone_until
                    or (last_event if ("phone", contact.phone) in freed else None),
                )
        for key in freed_keys(self._changes):
            self._identifiers.pop(key, None)

    def _with_values_ended(self, events: list[EventRecord], last: int) -> list[EventRecord]:
        """The events, those about a value that nobody has any more marked by the last one."""
        freed = freed_keys(self._changes)
        return [
            event._replace(
                value_until=event.value_until
                or (last if (event.kind_of_value, event.value) in freed else None),
                other_until=event.other_until
                or (last if (event.kind_of_other, event.other) in freed else None),
            )
            for event in events
        ]

    def _events(self, first: int) -> list[EventRecord]:
        return [
            EventRecord(
                seq=first + n,
                tenant=TENANT,
                at=self._at,
                kind=event.kind,
                identity_id=self._id(event.identity),
                version=event.version,
                contact_id=self._id_or_none(event.contact),
                merged_id=self._id_or_none(event.merged),
                primary_id=self._id_or_none(event.primary),
                kind_of_value=event.pair and event.pair.kind,
                value=event.pair and event.pair.value,
                kind_of_other=event.pair and event.pair.other_kind,
                other=event.pair and event.pair.other_value,
            )
            for n, event in enumerate(self._changes.events)
        ]
