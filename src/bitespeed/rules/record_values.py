"""Are the values and the times in the rows of an identity possible?

I11 times are in order, and none is in the future; I14 values are in canonical form. A phone number
is compared with its form without a region, since it is not known with which region it was sent.
Times of an adopted contact are those of its old table, whatever their order.
"""

from collections.abc import Iterator
from itertools import pairwise

from bitespeed.errors import InvalidInput
from bitespeed.model.identifiers import parse_email, parse_phone
from bitespeed.model.records import ContactRecord, IdentityRecords

MAX_CLOCK_SKEW = 300_000_000  # microseconds by which the clock of this machine may be behind

Fault = tuple[str, str]
"""The invariant and what is wrong, by ids alone."""


def faults_of_values(identity: IdentityRecords) -> Iterator[Fault]:
    """Values that no observation can have brought."""
    for contact in identity.contacts:
        if not (_is_canonical("email", contact.email) and _is_canonical("phone", contact.phone)):
            yield "I14", f"a value of contact {contact.id} is not in canonical form"
    for event in identity.events:
        if not all(_is_canonical(kind, value) for kind, value in event.between):
            yield "I14", f"a value of event {event.seq} is not in canonical form"
    for row in identity.identifiers:
        if not _is_canonical(row.kind, row.value):
            yield "I14", f"an identifier ({row.kind}) is not in canonical form"


def _is_canonical(kind: str, value: str | None) -> bool:
    parse = parse_email if kind == "email" else parse_phone
    try:
        return value is None or parse(value) == value
    except InvalidInput:
        return False


def faults_of_times(identity: IdentityRecords, now: int) -> Iterator[Fault]:
    """Times out of order, or later than ``now``, in microseconds since 1970."""
    latest = now + MAX_CLOCK_SKEW
    adopted = {event.contact_id for event in identity.events if event.kind == "contact.adopted"}
    for contact in identity.contacts:
        if max(contact.created_at, contact.updated_at, contact.deleted_at or 0) > latest:
            yield "I11", f"contact {contact.id} is from the future"
        elif contact.id not in adopted and _is_changed_too_early(contact):
            yield "I11", f"contact {contact.id} was changed before it was created"
    for event in identity.events:
        if event.at > latest:
            yield "I11", f"event {event.seq} is from the future"
    own = [event for event in identity.events if event.identity_id == identity.root_id]
    for earlier, later in pairwise(own):
        if later.version < earlier.version:
            yield "I11", f"event {later.seq} comes after a later version of its identity"


def _is_changed_too_early(contact: ContactRecord) -> bool:
    changes = contact.updated_at, contact.deleted_at or contact.updated_at
    return min(changes) < contact.created_at
