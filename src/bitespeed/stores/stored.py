"""All that is stored about an identity, for those who verify, export or copy a whole store."""

from dataclasses import dataclass, field
from typing import NamedTuple

from bitespeed.identifiers import Email, Phone


class StoredContact(NamedTuple):
    """A contact row, live or deleted; instants in microseconds since 1970, UTC."""

    id: int
    tenant: str
    identity_id: int
    email: Email | None
    phone: Phone | None
    created_at: int
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
