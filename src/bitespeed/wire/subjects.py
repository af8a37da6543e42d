"""Data subjects as callers name them, and what is shown of them: records and receipts."""

from collections.abc import Container, Iterator
from typing import Any

import msgspec

from bitespeed.errors import InvalidInput
from bitespeed.model.changes import ErasureCounts, Receipt
from bitespeed.model.facts import PUBLISHED_NAMES
from bitespeed.model.identifiers import observe
from bitespeed.model.records import CREATIONS, ContactRecord, EventRecord, IdentityRecords
from bitespeed.rules.erase import Subject, SubjectRecords, facts_elsewhere
from bitespeed.rules.look_up import contact_not_found
from bitespeed.wire.instants import rfc3339
from bitespeed.wire.observations import decode_json

MAX_ID = 2**63 - 1  # of a contact, as databases count


class _Subject(msgspec.Struct, forbid_unknown_fields=True):
    """Strict, since an erasure cannot be undone: a misspelt member may have meant less of it."""

    email: str | None = None
    phone_number: str | int | None = msgspec.field(default=None, name="phoneNumber")
    contact_id: int | None = msgspec.field(default=None, name="contactId")


_subject = msgspec.json.Decoder(_Subject)


def decode_subject(body: bytes, region: str | None) -> Subject:
    """The data subject in one JSON object. Raises `InvalidInput` in words for the caller."""
    request = decode_json(_subject, body)
    return parse_subject(request.email, request.phone_number, request.contact_id, region)


def parse_subject(
    email: str | None, phone: str | int | None, contact: int | None, region: str | None
) -> Subject:
    """The data subject. Raises `InvalidInput` unless exactly one of the three names it."""
    if sum(given not in (None, "") for given in (email, phone, contact)) != 1:
        raise InvalidInput("Name a person by one of email, phoneNumber and contactId")
    if contact is not None:
        return Subject(contact=parse_contact_id(contact))
    observation = observe(email, phone, region)
    return Subject(observation.email, observation.phone)


def parse_contact_id(given: int) -> int:
    """An id that a contact may have. Raises `NotFound` for a number that no database counts to."""
    if not 0 <= given <= MAX_ID:
        raise contact_not_found()
    return given


_encoder = msgspec.json.Encoder()


def encode_receipt(receipt: Receipt) -> bytes:
    """What an erasure has removed."""
    members = msgspec.structs.asdict(receipt)
    members["erasedAt"] = rfc3339(members.pop("at"))
    return _encoder.encode({"erasure": members})


def encode_counts(counts: ErasureCounts) -> bytes:
    """What an erasure would remove. Its one member is not that of a receipt."""
    return _encoder.encode({"dryRun": counts})


def encode_person(person: SubjectRecords) -> bytes:
    """All that is held about one person, as one JSON object."""
    return _encoder.encode(
        {
            "identities": [_identity(identity) for identity in person.identities],
            "factsElsewhere": [
                _fact(event, event, person.values) for event in facts_elsewhere(person)
            ],
            "deletedElsewhere": [
                _theirs(_stored_contact(contact, None), person)
                for _, contacts in person.contacts_elsewhere
                for contact in contacts
            ],
        }
    )


def _identity(identity: IdentityRecords) -> dict[str, Any]:
    row = identity.head
    return {
        "id": row.id,
        "contacts": [_stored_contact(contact, row.primary_id) for contact in identity.contacts],
        "identifiers": [{"kind": i.kind, "value": i.value} for i in identity.identifiers],
        "facts": list(_facts(identity)),
        "mergedIdentities": [merged.id for merged in identity.heads if merged.id != row.id],
        "events": [_event(event) for event in identity.events],
    }


def _stored_contact(contact: ContactRecord, primary: int | None) -> dict[str, Any]:
    is_primary = primary in (None, contact.id)
    return {
        "id": contact.id,
        "email": contact.email,
        "phoneNumber": contact.phone,
        "emailAsSent": contact.raw_email or contact.email,
        "phoneNumberAsSent": contact.raw_phone or contact.phone,
        "linkedId": None if is_primary else primary,
        "linkPrecedence": "primary" if is_primary else "secondary",
        "createdAt": rfc3339(contact.created_at),
        "updatedAt": rfc3339(contact.updated_at),
        "deletedAt": None if contact.deleted_at is None else rfc3339(contact.deleted_at),
    }


def _theirs(contact: dict[str, Any], person: SubjectRecords) -> dict[str, Any]:
    """A contact of somebody else without what is not this person's."""
    for kind in ("email", "phoneNumber"):
        if contact[kind] not in person.values:
            contact[kind] = contact[f"{kind}AsSent"] = None
    return contact


def _facts(identity: IdentityRecords) -> Iterator[dict[str, Any]]:
    """What was said, by the events that keep it, in their order."""
    contacts = {contact.id: contact for contact in identity.contacts}
    for event in identity.events:
        if event.between:
            yield _fact(event, event)
        elif event.contact_id in contacts and event.kind in CREATIONS:
            yield _fact(event, contacts[event.contact_id])


def _fact(
    event: EventRecord, row: ContactRecord | EventRecord, shown: Container[str] | None = None
) -> dict[str, Any]:
    """The values of a fact, each beside what was sent; with ``shown`` no others than these."""
    values = [
        (node, raw or node.value)
        for node, raw in zip(row.nodes, row.raw_texts, strict=True)
        if shown is None or node.value in shown
    ]
    return {
        "event": event.seq,
        "at": rfc3339(event.at),
        "between": [{PUBLISHED_NAMES[node.kind]: node.value} for node, _ in values],
        "asSent": [text for _, text in values],
        "country": row.country,
        "contact": event.contact_id,
        "source": event.source,
        "request": event.request,
        "label": event.label,
    }


def _event(event: EventRecord) -> dict[str, Any]:
    return {
        "number": event.seq,
        "at": rfc3339(event.at),
        "kind": event.kind,
        "identity": event.identity_id,
        "version": event.version,
        "contact": event.contact_id,
        "mergedIdentity": event.merged_id,
        "between": [{PUBLISHED_NAMES[kind]: value} for kind, value in event.between],
        "primary": event.primary_id,
        "source": event.source,
        "request": event.request,
        "label": event.label,
    }
