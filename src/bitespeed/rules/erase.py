"""What is held about a person, and what has to be removed so that nothing of it is left.

Pure functions like those of `rule.py`, but over all that is stored, deleted contacts included:

- the person who has the value or the contact named is held **whole**, with every identity that
  was merged into it; so is whoever has no live contact left and had one of the person's values;
- of everybody else, a deleted contact that carries one of these values is held **elsewhere**;
- a value that somebody else has by now is that one's, and stays.

An erasure removes it all, and leaves a tombstone for each value, so that an import of old rows
does not bring them back.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from bitespeed.errors import NotFound
from bitespeed.model.identifiers import Email, Observation, Phone
from bitespeed.model.identity import (
    Changes,
    Contact,
    Erasure,
    Event,
    Identity,
    IdentityChange,
    Receipt,
    Snapshot,
)
from bitespeed.model.pseudonyms import Pseudonyms
from bitespeed.model.records import ContactRecord, EventRecord, IdentityRecord, IdentityRecords

Value = Email | Phone

PSEUDONYM_BYTES = 32  # bytes; it is kept for good, so no two values may ever meet


class Subject(NamedTuple):
    """Who is meant: by one of the three."""

    email: Email | None = None
    phone: Phone | None = None
    contact: int | None = None

    def values(self) -> set[Value]:
        """Those of the three that are values."""
        return {value for value in (self.email, self.phone) if value is not None}


class ContactsElsewhere(NamedTuple):
    """Deleted contacts of somebody else that carry a value of the person's."""

    identity: IdentityRecords
    contacts: list[ContactRecord]


class SubjectRecords(NamedTuple):
    """All that is held about one person.

    ``values`` are theirs alone; ``all_values`` are also those that somebody else has by now.
    """

    identities: list[IdentityRecords]
    contacts_elsewhere: list[ContactsElsewhere]
    values: set[Value]
    all_values: set[Value]


def subject_records(found: Sequence[IdentityRecords], subject: Subject) -> SubjectRecords:
    """What is held about a person, as far as ``found`` goes: every identity in which any contact,
    live or deleted, is the one meant or carries one of ``all_values``.

    Raises `NotFound` when nothing is.
    """
    asked = subject.values()
    identities = [identity for identity in found if _is_meant(identity, subject)]
    while True:
        roots = {identity.root_id for identity in identities}
        others = [identity for identity in found if identity.root_id not in roots]
        all_values = asked.union(*(_values(identity.contacts) for identity in identities))
        values = all_values.difference(*(_values(_live(identity)) for identity in others))
        nobody = [i for i in others if not _live(i) and not values.isdisjoint(_values(i.contacts))]
        if not nobody:
            break
        identities += nobody
    carriers = [
        ContactsElsewhere(i, [c for c in i.contacts if values & _values([c])]) for i in others
    ]
    contacts_elsewhere = [carrier for carrier in carriers if carrier.contacts]
    if not identities and not contacts_elsewhere:
        raise NotFound("Nothing is held about this person")
    return SubjectRecords(identities, contacts_elsewhere, values, all_values)


def erasure(tenant: str, person: SubjectRecords, id_: str, secret: str) -> Erasure:
    """What is to be removed, and what is left.

    ``secret`` is the one that the store has, or a fresh one where it has none.
    """
    return Erasure(
        id_,
        [head(identity).id for identity in person.identities],
        [contact.id for one in person.contacts_elsewhere for contact in one.contacts],
        [event.seq for event in _events_elsewhere(person)],
        secret,
        sorted(pseudonym(secret, tenant, value) for value in person.values),
    )


def erase(person: SubjectRecords, erasure: Erasure) -> Changes:
    """Remove all that is held about a person."""
    identities = [head(identity) for identity in person.identities]
    contacts_elsewhere = [
        (head(identity), contacts) for identity, contacts in person.contacts_elsewhere
    ]
    identifiers = [row for identity in person.identities for row in identity.identifiers]
    return Changes(
        identities=[
            *(IdentityChange(h.id, h.id, None, None, 0, h.version) for h in identities),
            *(
                IdentityChange(h.id, h.id, h.primary_id, h.primary_at, h.contacts, h.version)
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


def receipt(person: SubjectRecords, erasure: Erasure, at: int) -> Receipt:
    """What to show for an erasure that was committed at an instant."""
    return Receipt(
        erasure.id,
        at,
        sum(len(identity.heads) for identity in person.identities),
        sum(len(identity.contacts) for identity in person.identities) + len(erasure.contacts),
        sum(len(identity.identifiers) for identity in person.identities),
        sum(len(identity.events) for identity in person.identities) + len(erasure.events),
        erasure.pseudonyms,
    )


def pseudonym(secret: str, tenant: str, value: Value) -> str:
    """What stands for a value where the value itself must not, see `Pseudonyms`.

    No email is a phone number, so the kind need not be in it.
    """
    return Pseudonyms(secret, PSEUDONYM_BYTES, "erasure")(f"{tenant}\0{value}")


def not_erased(
    observations: Sequence[Observation],
    made_at: Sequence[int | None],
    erased_at: Mapping[Value, int],
) -> list[Observation]:
    """Those that name nothing which was erased after they were made."""
    return [
        observation
        for observation, at in zip_longest(observations, made_at)
        if not is_erased(observation, at, erased_at)
    ]


def is_erased(
    observation: Observation, made_at: int | None, erased_at: Mapping[Value, int]
) -> bool:
    """Whether it names what was erased after it was made.

    One of which it is not told when it was made is taken to be older than any erasure.
    """
    named = (value for value in (observation.email, observation.phone) if value in erased_at)
    return any(made_at is None or made_at <= erased_at[value] for value in named if value)


def snapshot(person: SubjectRecords) -> Snapshot:
    """Those who are erased as they are read for answers."""
    identities = [
        Identity(
            h.id,
            h.version,
            h.primary_id,
            h.primary_at or 0,
            h.contacts,
            [Contact(c.id, c.created_at, c.email, c.phone) for c in _live(identity)],
        )
        for identity in person.identities
        if (h := head(identity)).primary_id is not None
    ]
    return Snapshot({identity.id: identity for identity in identities}, {}, {})


def head(identity: IdentityRecords) -> IdentityRecord:
    """The row of the identity itself."""
    return next(row for row in identity.heads if row.id == identity.root_id)


def _is_meant(identity: IdentityRecords, subject: Subject) -> bool:
    has_contact = any(contact.id == subject.contact for contact in identity.contacts)
    return has_contact or not subject.values().isdisjoint(_values(_live(identity)))


def _live(identity: IdentityRecords) -> list[ContactRecord]:
    return [contact for contact in identity.contacts if contact.deleted_at is None]


def _values(contacts: Iterable[ContactRecord]) -> set[Value]:
    return {value for c in contacts for value in (c.email, c.phone) if value is not None}


def _events_elsewhere(person: SubjectRecords) -> list[EventRecord]:
    """Those that name one of the values."""
    return [
        event
        for identity, _ in person.contacts_elsewhere
        for event in identity.events
        if not person.values.isdisjoint((event.email, event.phone))
    ]
