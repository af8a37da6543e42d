"""All that is stored about an identity, for those who verify, export or copy a whole store."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from bitespeed.identifiers import Email, Phone


class StoredContact(NamedTuple):
    """A contact row, live or deleted; instants in microseconds since 1970, UTC."""

    id: int
    tenant: str
    identity_id: int
    email: Email | None
    phone: Phone | None
    raw_email: str | None
    raw_phone: str | None
    created_at: int
    updated_at: int
    deleted_at: int | None


class StoredIdentifier(NamedTuple):
    """One row of the unique key of values."""

    tenant: str
    kind: str
    value: str
    identity_id: int


class StoredEvent(NamedTuple):
    """One event, in the order of the feed."""

    seq: int
    tenant: str
    at: int
    kind: str
    identity_id: int
    version: int
    contact_id: int | None
    merged_id: int | None
    email: Email | None
    phone: Phone | None


class StoredHead(NamedTuple):
    """The row of an identity."""

    id: int
    tenant: str
    root_id: int
    primary_id: int | None
    primary_at: int | None
    contacts: int
    version: int


@dataclass(slots=True)
class StoredIdentity:
    """Everything whose root is ``root_id``; None for rows that lead to no identity at all.

    ``heads`` are the rows of the identity and of all that were merged into it;
    ``contacts`` come by age, ``events`` in the order of the feed.
    """

    root_id: int | None
    heads: list[StoredHead] = field(default_factory=list[StoredHead])
    contacts: list[StoredContact] = field(default_factory=list[StoredContact])
    identifiers: list[StoredIdentifier] = field(default_factory=list[StoredIdentifier])
    events: list[StoredEvent] = field(default_factory=list[StoredEvent])


PAGE = 500  # identities at a time: enough to make the hand-over between threads cheap

_PARTS = (
    ("heads", StoredHead),
    ("contacts", StoredContact),
    ("identifiers", StoredIdentifier),
    ("events", StoredEvent),
)


def paged(streams: Iterable[Iterable[tuple[Any, ...]]]) -> Iterator[list[StoredIdentity]]:
    """Pages of identities from four streams of rows: heads, contacts, identifiers, events.

    Each row begins with the root it leads to, 0 for none, and the streams are ordered by that;
    so the rows that belong to no identity come first.
    """
    page: list[StoredIdentity] = []
    for identity in _assembled(streams):
        page.append(identity)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def _assembled(streams: Iterable[Iterable[tuple[Any, ...]]]) -> Iterator[StoredIdentity]:
    """One pass over all streams side by side."""
    groups = [groupby(stream, key=itemgetter(0)) for stream in streams]
    waiting = [next(group, None) for group in groups]
    while any(group is not None for group in waiting):
        key = min(group[0] for group in waiting if group is not None)
        identity = StoredIdentity(root_id=key or None)
        for position, (part, row_type) in enumerate(_PARTS):
            group = waiting[position]
            if group is not None and group[0] == key:
                getattr(identity, part).extend(row_type(*row[1:]) for row in group[1])
                waiting[position] = next(groups[position], None)
        yield identity
