"""Reports each commit: counts what it changed, and logs a line for each of its events."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from bitespeed.model.changes import Changes, Committed, Event
from bitespeed.model.identifiers import Email, Observation, Phone
from bitespeed.telemetry import logs, metrics
from bitespeed.telemetry.requests import Request

Values = tuple[Email | None, Phone | None]
Origin = tuple[Observation, Request | None]
"""An observation that was decided, and the request that brought it."""


def report_commit(
    tenant: str,
    changes: Changes,
    committed: Committed,
    origins: Sequence[Origin] = (),
    request: Request | None = None,
) -> None:
    """Count a commit, and log a line for each of its events.

    A line names the request whose observation led to the event, else ``request``.
    """
    metrics.contacts_created.add(len(changes.contacts))
    metrics.contacts_deleted.add(len(changes.deleted))
    metrics.identities_created.add(len(changes.created_identities))
    metrics.identities_merged.add(len(changes.ended_identities))
    metrics.pairs_seen.add(len(changes.pairs_seen))
    if logs.is_enabled("info"):
        log_lines = _log_lines(tenant, changes, committed, _requests_by_values(origins), request)
        logs.emit(log_lines)


def _requests_by_values(origins: Sequence[Origin]) -> dict[Values, Request]:
    """The first request for each pair of values. Later ones with the same pair changed nothing."""
    requests: dict[Values, Request] = {}
    for observation, request in origins:
        if request is not None:
            requests.setdefault((observation.email, observation.phone), request)
    return requests


class _LogLine(msgspec.Struct, omit_defaults=True, gc=False):
    """A line of log about an event. Fields that are None are left out."""

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


def _log_lines(
    tenant: str,
    changes: Changes,
    committed: Committed,
    senders: Mapping[Values, Request],
    other: Request | None,
) -> Iterator[_LogLine]:
    at, pseudonym = logs.now(), logs.pseudonyms()
    for event in changes.events:
        email, phone = values = _values(changes, event)
        request = senders.get(values, other)
        yield _LogLine(
            at,
            event.kind,
            tenant,
            committed.id_of(event.identity),
            "info",
            None if event.contact is None else committed.id_of(event.contact),
            None if event.merged is None else committed.id_of(event.merged),
            email and pseudonym(email),
            phone and pseudonym(phone),
            request and request.id.decode(),
        )


def _values(changes: Changes, event: Event) -> Values:
    """The values of the observation that caused the event."""
    if event.contact is not None and event.contact < 0:
        contact = changes.contacts[-1 - event.contact]
        return contact.email, contact.phone
    if event.pair is not None:
        return Email(event.pair.value), Phone(event.pair.other_value)
    return None, None
