"""What a commit changed, counted, and told in a line for each event."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from bitespeed.model.changes import Changes, Committed, Event
from bitespeed.model.identifiers import Email, Observation, Phone
from bitespeed.telemetry import logs, metrics
from bitespeed.telemetry.requests import Request

_NAMES = {"identities.merged": "identity.merged"}  # a line is about the one that it names

Values = tuple[Email | None, Phone | None]
Asked = Sequence[tuple[Observation, Request | None]]


def changed(tenant: str, changes: Changes, committed: Committed, asked: Asked = ()) -> None:
    """Tell what has been written, and on whose request."""
    metrics.contacts_created.add(len(changes.contacts))
    metrics.contacts_deleted.add(len(changes.deleted))
    metrics.identities_created.add(len(changes.created_identities))
    metrics.identities_merged.add(len(changes.ended_identities))
    if logs.tells("info"):
        logs.write(_lines(tenant, changes, committed, _by_values(asked)))


def _by_values(asked: Asked) -> dict[Values, Request]:
    """The first of those who said the same: the others brought nothing new."""
    found: dict[Values, Request] = {}
    for observation, request in asked:
        if request is not None:
            found.setdefault((observation.email, observation.phone), request)
    return found


class _Told(msgspec.Struct, omit_defaults=True, gc=False):
    """A line; what is not there is not in it."""

    at: str
    event: str
    tenant: str
    identity: int
    level: str
    contact: int | None = None
    merged: int | None = None
    email: str | None = None
    phone: str | None = None
    request: str | None = None


def _lines(
    tenant: str, changes: Changes, committed: Committed, by_values: Mapping[Values, Request]
) -> Iterator[_Told]:
    at, refer = logs.now(), logs.pseudonyms()
    for event in changes.events:
        email, phone = values = _values(changes, event)
        request = by_values.get(values)
        yield _Told(
            at,
            _NAMES.get(event.kind, event.kind),
            tenant,
            committed.id_of(event.identity),
            "info",
            None if event.contact is None else committed.id_of(event.contact),
            None if event.merged is None else committed.id_of(event.merged),
            email and refer(email),
            phone and refer(phone),
            request and request.id.decode(),
        )


def _values(changes: Changes, event: Event) -> Values:
    """What the observation said that the event came of."""
    if event.contact is not None and event.contact < 0:
        contact = changes.contacts[-1 - event.contact]
        return contact.email, contact.phone
    return event.email, event.phone
