"""The published JSON: how observations are spelled by callers, and answers to them."""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from bitespeed.errors import BitespeedError, InvalidInput
from bitespeed.model.changes import Receipt
from bitespeed.model.identifiers import Email, Observation, Phone, observe
from bitespeed.model.identity import Answer, KeptAnswer
from bitespeed.model.records import ContactRecord, EventRecord, IdentityRecords
from bitespeed.rules.erase import Subject, SubjectRecords
from bitespeed.rules.look_up import contact_not_found

T = TypeVar("T")

MAX_ID = 2**63 - 1  # of a contact, as databases count


class _Request(msgspec.Struct):
    email: str | None = None
    phone_number: str | int | None = msgspec.field(default=None, name="phoneNumber")


class _Subject(msgspec.Struct):
    email: str | None = None
    phone_number: str | int | None = msgspec.field(default=None, name="phoneNumber")
    contact_id: int | None = msgspec.field(default=None, name="contactId")


class _Contact(msgspec.Struct):
    primary_id: int = msgspec.field(name="primaryContatctId")  # the published spelling
    emails: list[Email] | msgspec.Raw
    phone_numbers: list[Phone] | msgspec.Raw = msgspec.field(name="phoneNumbers")
    secondary_ids: list[int] | msgspec.Raw = msgspec.field(name="secondaryContactIds")


class _Response(msgspec.Struct):
    contact: _Contact


_request = msgspec.json.Decoder(_Request)
_subject = msgspec.json.Decoder(_Subject)
_requests = msgspec.json.Decoder(list[msgspec.Raw])
_encoder = msgspec.json.Encoder()


def decode(body: bytes | msgspec.Raw, region: str | None) -> Observation:
    """The observation in one JSON object. Raises `InvalidInput` in words for the caller."""
    request = _decoded(_request, bytes(body))
    return observe(request.email, request.phone_number, region)


def decode_subject(body: bytes, region: str | None) -> Subject:
    """The data subject in one JSON object. Raises `InvalidInput` in words for the caller."""
    request = _decoded(_subject, body)
    return subject(request.email, request.phone_number, request.contact_id, region)


def subject(
    email: str | None, phone: str | int | None, contact: int | None, region: str | None
) -> Subject:
    """The data subject. Raises `InvalidInput` unless exactly one of the three names it."""
    if sum(given not in (None, "") for given in (email, phone, contact)) != 1:
        raise InvalidInput("Name a person by one of email, phoneNumber and contactId")
    if contact is not None:
        return Subject(contact=contact_id(contact))
    observation = observe(email, phone, region)
    return Subject(observation.email, observation.phone)


def contact_id(given: int) -> int:
    """An id that a contact may have. Raises `NotFound` for a number that no database counts to."""
    if not 0 <= given <= MAX_ID:
        raise contact_not_found()
    return given


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        if not body.isascii():
            body.decode()  # also where the decoder does not look, in members that are ignored
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(_in_words(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("This is not valid JSON in UTF-8") from None


def convert(email: object, phone: object, region: str | None) -> Observation:
    """The observation in two values of any types. Raises `InvalidInput` like `decode`."""
    try:
        request = msgspec.convert({"email": email, "phoneNumber": phone}, _Request)
    except msgspec.ValidationError as error:
        raise InvalidInput(_in_words(error)) from None
    return observe(request.email, request.phone_number, region)


def decode_array(body: bytes) -> list[msgspec.Raw]:
    """The undecoded elements of a JSON array. Raises `InvalidInput` when it is none."""
    try:
        return _requests.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("The body is not a JSON array in UTF-8") from None


def _in_words(error: msgspec.ValidationError) -> str:
    place = str(error).rpartition("`$.")[2]
    if place.startswith("email"):
        return "email must be a string or null"
    if place.startswith("phoneNumber"):
        return "phoneNumber must be a string, a whole number or null"
    if place.startswith("contactId"):
        return "contactId must be a whole number or null"
    return "An observation must be a JSON object"


def encode(answer: Answer | KeptAnswer) -> bytes:
    """The published answer."""
    return _encoder.encode(_response(answer))


def encode_error(error: BitespeedError) -> bytes:
    """The body of an error, with its code where it has one."""
    if error.code is None:
        return _encoder.encode({"error": str(error)})
    return _encoder.encode({"error": str(error), "code": error.code})


def encode_outcomes(outcomes: list[Answer | BitespeedError]) -> list[bytes]:
    """Answers and refusals, each as it would have been sent alone."""
    return [
        encode(outcome) if isinstance(outcome, Answer) else encode_error(outcome)
        for outcome in outcomes
    ]


def _response(answer: Answer | KeptAnswer) -> _Response:
    return _Response(
        _Contact(answer.primary_id, answer.emails, answer.phones, answer.secondary_ids)
    )


def encode_receipt(receipt: Receipt) -> bytes:
    """What an erasure has removed."""
    members = msgspec.structs.asdict(receipt)
    members["erasedAt"] = _instant(members.pop("at"))
    return _encoder.encode({"erasure": members})


def encode_person(person: SubjectRecords) -> bytes:
    """All that is held about one person, as one JSON object."""
    return _encoder.encode(
        {
            "identities": [_identity(identity) for identity in person.identities],
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
        "createdAt": _instant(contact.created_at),
        "updatedAt": _instant(contact.updated_at),
        "deletedAt": None if contact.deleted_at is None else _instant(contact.deleted_at),
    }


def _theirs(contact: dict[str, Any], person: SubjectRecords) -> dict[str, Any]:
    """A contact of somebody else without what is not this person's."""
    for kind in ("email", "phoneNumber"):
        if contact[kind] not in person.values:
            contact[kind] = contact[f"{kind}AsSent"] = None
    return contact


def _event(event: EventRecord) -> dict[str, Any]:
    return {
        "number": event.seq,
        "at": _instant(event.at),
        "kind": event.kind,
        "identity": event.identity_id,
        "version": event.version,
        "contact": event.contact_id,
        "mergedIdentity": event.merged_id,
        "email": event.email,
        "phoneNumber": event.phone,
    }


def _instant(microseconds: int) -> str:
    """RFC 3339, in UTC."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    return at.isoformat().replace("+00:00", "Z")
