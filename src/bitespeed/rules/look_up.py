"""Who is this, as of a snapshot? Nothing is written."""

from bitespeed.errors import NotFound
from bitespeed.model.identifiers import Email, Phone
from bitespeed.model.identity import Answer, Contact, Identity, Snapshot
from bitespeed.rules.answer import consolidate


def identity_of(snapshot: Snapshot, email: Email | None, phone: Phone | None) -> Identity:
    """The identity that the given values belong to.

    Raises `NotFound` when they belong to no identity, or to two different ones.
    """
    identities = {snapshot.emails.get(email) if email else None}
    identities.add(snapshot.phones.get(phone) if phone else None)
    identities.discard(None)
    if not identities:
        raise NotFound("No contact has this email or phoneNumber")
    if len(identities) > 1:
        raise NotFound(
            "The email and the phoneNumber belong to different identities; look up one at a time"
        )
    (identity_id,) = identities
    assert identity_id is not None  # noqa: S101 - discarded above
    return snapshot.identities[identity_id]


def look_up(snapshot: Snapshot, email: Email | None, phone: Phone | None) -> Answer:
    """The answer for the identity of `identity_of`. Raises the same."""
    return consolidate(identity_of(snapshot, email, phone).members)


def answer_for_contact(snapshot: Snapshot, contact_id: int) -> Answer:
    """The identity of a live contact. Raises `NotFound` when there is no such contact."""
    identity, _ = find_contact(snapshot, contact_id)
    return consolidate(identity.members)


def find_contact(snapshot: Snapshot, contact_id: int) -> tuple[Identity, Contact]:
    """A live contact and its identity. Raises `NotFound` when there is no such contact."""
    for identity in snapshot.identities.values():
        for contact in identity.members:
            if contact.id == contact_id:
                return identity, contact
    raise contact_not_found()


def contact_not_found() -> NotFound:
    """The refusal of a contact id; it does not repeat the id, which may be a phone number."""
    return NotFound("There is no contact with this id")
