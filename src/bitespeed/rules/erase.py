"""What is stored about a person, and what has to be removed so that nothing of it is left.

Pure functions like those of `identify.py`, but over all stored rows, deleted contacts included. The
records about a subject are:

- ``identities``: every identity with a live contact that the subject names, whole, with all that
  was merged into it; and every identity without a live contact that had one of the person's values;
- ``contacts_elsewhere``: deleted contacts of other identities that carry one of the values.

A value that a live contact of another identity carries by now belongs to that one, and stays.

An erasure removes all these records. It leaves a tombstone for each value, so that an import of old
rows does not bring them back.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from bitespeed.errors import NotFound
from bitespeed.model.changes import Changes, Erasure, ErasureCounts, Event, IdentityChange, Receipt
from bitespeed.model.identifiers import Email, Observation, Phone
from bitespeed.model.identity import Contact, Identity, Snapshot
from bitespeed.model.pseudonyms import Pseudonyms
from bitespeed.model.records import ContactRecord, EventRecord, IdentityRecords

Value = Email | Phone

PAIR = 2  # values of a fact
PSEUDONYM_BYTES = 32  # tombstones are never removed, so no two values may ever have the same


class Subject(NamedTuple):
    """A person, named by one of the three."""

    email: Email | None = None
    phone: Phone | None = None
    contact: int | None = None

    def values(self) -> set[Value]:
        """The email or the phone, if the person is named by one."""
        return {value for value in (self.email, self.phone) if value is not None}


class ContactsElsewhere(NamedTuple):
    """Deleted contacts of another identity that carry a value of the person."""

    identity: IdentityRecords
    contacts: list[ContactRecord]


class SubjectRecords(NamedTuple):
    """All records about one person.

    ``values`` are the person's own; ``all_values`` includes those that another identity has by now.
    """

    identities: list[IdentityRecords]
    contacts_elsewhere: list[ContactsElsewhere]
    values: set[Value]
    all_values: set[Value]


def subject_records(stored: Sequence[IdentityRecords], subject: Subject) -> SubjectRecords:
    """The records about a person among ``stored``.

    They are complete if ``stored`` has every identity in which any contact, live or deleted, is
    the one named or carries one of the ``all_values`` returned. Raises `NotFound` when there are
    none.
    """
    named = subject.values()
    identities = [identity for identity in stored if _is_named(identity, subject)]
    while True:
        roots = {identity.root_id for identity in identities}
        others = [identity for identity in stored if identity.root_id not in roots]
        all_values = named.union(*(_values(identity.contacts) for identity in identities))
        values = all_values.difference(*(_values(identity.live_contacts) for identity in others))
        emptied = [i for i in others if not i.live_contacts and values & _values(i.contacts)]
        if not emptied:
            break
        identities += emptied
    carriers = [
        ContactsElsewhere(i, [c for c in i.contacts if values & _values([c])]) for i in others
    ]
    contacts_elsewhere = [carrier for carrier in carriers if carrier.contacts]
    if not identities and not contacts_elsewhere:
        raise NotFound("Nothing is held about this person")
    return SubjectRecords(identities, contacts_elsewhere, values, all_values)


def erasure_of(tenant: str, person: SubjectRecords, id_: str, secret: str) -> Erasure:
    """What to remove, and the tombstones to leave.

    ``secret`` is the store's, or a fresh one if it has none.
    """
    return Erasure(
        id_,
        [identity.head.id for identity in person.identities],
        [contact.id for one in person.contacts_elsewhere for contact in one.contacts],
        [event.seq for event in _events_elsewhere(person) if _says_something(event)],
        secret,
        sorted(pseudonym(secret, tenant, value) for value in person.values),
    )


def erase(person: SubjectRecords, erasure: Erasure) -> Changes:
    """The changes that remove all records about a person."""
    identities = [identity.head for identity in person.identities]
    contacts_elsewhere = [
        (identity.head, contacts) for identity, contacts in person.contacts_elsewhere
    ]
    identifiers = [row for identity in person.identities for row in identity.identifiers]
    return Changes(
        identities=[
            *(IdentityChange(h.id, h.id, None, None, 0, h.stamp) for h in identities),
            *(
                IdentityChange(h.id, h.id, h.primary_id, h.primary_at, h.contacts, h.stamp)
                for h, _ in contacts_elsewhere
            ),
        ],
        contacts=[],
        events=[
            *(Event("identity.erased", h.id, h.version + 1) for h in identities),
            *(
                Event("contact.erased", h.id, h.version + 1, contact.id)
                for h, contacts in contacts_elsewhere
                for contact in contacts
            ),
        ],
        freed_emails=[Email(row.value) for row in identifiers if row.kind == "email"],
        freed_phones=[Phone(row.value) for row in identifiers if row.kind == "phone"],
        erasure=erasure,
    )


def counts_of(person: SubjectRecords) -> ErasureCounts:
    """How much an erasure of these records removes."""
    elsewhere = [contact for one in person.contacts_elsewhere for contact in one.contacts]
    events_elsewhere = facts_elsewhere(person)
    emails = sum("@" in value for value in person.values)  # in no phone number
    return ErasureCounts(
        identities=sum(len(identity.heads) for identity in person.identities),
        contacts=sum(len(identity.contacts) for identity in person.identities) + len(elsewhere),
        identifiers=sum(len(identity.identifiers) for identity in person.identities),
        emails=emails,
        phones=len(person.values) - emails,
        pairs=sum(
            len(row.nodes) == PAIR
            for identity in person.identities
            for row in (*identity.contacts, *identity.events)
        )
        + sum(len(row.nodes) == PAIR for row in (*elsewhere, *events_elsewhere)),
        events=sum(len(identity.events) for identity in person.identities) + len(events_elsewhere),
    )


def facts_elsewhere(person: SubjectRecords) -> list[EventRecord]:
    """The events of other identities that show one of the person's values."""
    return [event for event in _events_elsewhere(person) if event.between]


def receipt_of(counts: ErasureCounts, erasure: Erasure, at: int) -> Receipt:
    """The receipt of an erasure that was committed at an instant."""
    return Receipt(
        **msgspec.structs.asdict(counts), id=erasure.id, at=at, pseudonyms=erasure.pseudonyms
    )


def pseudonym(secret: str, tenant: str, value: Value) -> str:
    """The pseudonym of a value in a tombstone.

    No email is a phone number, so the kind of the value need not be part of it.
    """
    return Pseudonyms(secret, PSEUDONYM_BYTES, "erasure")(f"{tenant}\0{value}")


def erased_rows(
    dated: Iterable[tuple[Observation, int | None, int]], erased_at: Mapping[Value, int]
) -> set[int]:
    """The rows with an observation for which `is_erased` holds; ``dated`` has observations, each
    with when it was made and its row.
    """
    return {row for observation, at, row in dated if is_erased(observation, at, erased_at)}


def is_erased(
    observation: Observation, made_at: int | None, erased_at: Mapping[Value, int]
) -> bool:
    """Whether one of its values was erased after the observation was made.

    An observation without ``made_at`` counts as older than every erasure.
    """
    named = (value for value in (observation.email, observation.phone) if value in erased_at)
    return any(made_at is None or made_at <= erased_at[value] for value in named if value)


def snapshot_of(person: SubjectRecords) -> Snapshot:
    """The identities that are erased, as a store would read them for an answer."""
    identities = [
        Identity(
            h.id,
            h.version,
            h.stamp,
            h.primary_id,
            h.primary_at or 0,
            h.contacts,
            [Contact(c.id, c.created_at, c.email, c.phone) for c in identity.live_contacts],
        )
        for identity in person.identities
        if (h := identity.head).primary_id is not None
    ]
    return Snapshot({identity.id: identity for identity in identities}, {}, {})


def _is_named(identity: IdentityRecords, subject: Subject) -> bool:
    has_contact = any(contact.id == subject.contact for contact in identity.contacts)
    return has_contact or not subject.values().isdisjoint(_values(identity.live_contacts))


def _values(contacts: Iterable[ContactRecord]) -> set[Value]:
    return {value for c in contacts for value in (c.email, c.phone) if value is not None}


def _events_elsewhere(person: SubjectRecords) -> list[EventRecord]:
    """The events of other identities that show one of the values, or are about a contact that is
    erased.
    """
    return [
        event
        for identity, contacts in person.contacts_elsewhere
        for event in identity.events
        if not person.values.isdisjoint(value for _, value in event.between)
        or any(event.contact_id == contact.id for contact in contacts)
    ]


def _says_something(event: EventRecord) -> bool:
    """Whether it has a value, or a text of a caller's own."""
    return bool(event.between) or (event.request, event.label) != (None, None)
