"""What has to be written to delete a contact."""

from bitespeed.model.changes import Changes, Event, IdentityChange
from bitespeed.model.identity import Snapshot
from bitespeed.model.sources import NO_SOURCE, Source
from bitespeed.rules.answer import by_age
from bitespeed.rules.look_up import find_contact


def delete(snapshot: Snapshot, contact_id: int, source: Source = NO_SOURCE) -> Changes:
    """Delete one live contact.

    Values that no other live contact of its identity carries become free. If it was the primary,
    the oldest of the other contacts becomes primary. Raises `NotFound` when the snapshot has no
    such contact.
    """
    identity, contact = find_contact(snapshot, contact_id)
    rest = sorted((c for c in identity.members if c is not contact), key=by_age)
    primary = rest[0] if rest else None
    email, phone = contact.email, contact.phone
    return Changes(
        identities=[
            IdentityChange(
                identity.id,
                identity.id,
                primary.id if primary else None,
                primary.created_at if primary else None,
                len(rest),
                identity.stamp,
            )
        ],
        contacts=[],
        events=[
            Event(
                "contact.deleted",
                identity.id,
                identity.version + 1,
                contact.id,
                None,
                primary and primary.id,
                None,
                source.name,
                source.request,
                source.label,
            )
        ],
        deleted=[contact.id],
        freed_emails=[email] if email and all(c.email != email for c in rest) else [],
        freed_phones=[phone] if phone and all(c.phone != phone for c in rest) else [],
    )
