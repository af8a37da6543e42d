"""The rows of an identity as tables have them: a contact's has the event that created it too."""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

from bitespeed.model.records import EventRecord, IdentityRecords

Row = tuple[Any, ...]

_NO_EVENT = (None,) * 7  # of an adopted contact, which has an event of its own


def _contacts(identity: IdentityRecords) -> Iterable[Row]:
    created = _creations(identity)
    for contact in identity.contacts:
        event = created.get(contact.id)
        yield (*contact, *(_NO_EVENT if event is None else _creation(event)))


def _events(identity: IdentityRecords) -> Iterable[Row]:
    in_contacts = {event.seq for event in _creations(identity).values()}
    return (event for event in identity.events if event.seq not in in_contacts)


def _creations(identity: IdentityRecords) -> dict[int, EventRecord]:
    """The events that rows of contacts say, by the ids of these."""
    contacts = {contact.id for contact in identity.contacts}
    return {
        event.contact_id: event
        for event in identity.events
        if event.kind == "contact.created" and event.contact_id in contacts
    }


def _creation(event: EventRecord) -> Row:
    return (
        event.seq,
        event.at,
        event.version,
        event.primary_id,
        event.source,
        event.request,
        event.label,
    )


ROWS: dict[str, Callable[[IdentityRecords], Iterable[Row]]] = {
    "heads": attrgetter("heads"),
    "contacts": _contacts,
    "identifiers": attrgetter("identifiers"),
    "events": _events,
    "tombstones": attrgetter("tombstones"),
    "secrets": attrgetter("secrets"),
}
"""For each of the `PARTS` its rows."""
