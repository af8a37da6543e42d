"""Rows as they are stored, for code that checks, exports, copies or erases them."""

from typing import NamedTuple

import msgspec

from bitespeed.model.identifiers import Email, Phone


class ContactRecord(NamedTuple):
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


class IdentifierRecord(NamedTuple):
    """One row of the unique key of values."""

    tenant: str
    kind: str
    value: str
    identity_id: int


class EventRecord(NamedTuple):
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


class IdentityRecord(NamedTuple):
    """The row of an identity."""

    id: int
    tenant: str
    root_id: int
    primary_id: int | None
    primary_at: int | None
    contacts: int
    version: int
    stamp: int


class TombstoneRecord(NamedTuple):
    """What an erasure leaves of an identifier; `bitespeed.rules.erase.pseudonym` makes it."""

    tenant: str
    pseudonym: str
    at: int
    erasure: str


class SecretRecord(NamedTuple):
    """The key of the pseudonyms of tombstones; there is none before the first erasure."""

    secret: str


class SequenceRecord(NamedTuple):
    """What gives out the ids of contacts, or the numbers of events."""

    name: str
    next: int
    highest: int | None
    """The highest one in its table."""


class IdentityRecords(msgspec.Struct):
    """Every row whose root is ``root_id``; None for rows that belong to no identity.

    ``heads`` are the rows of the identity and of all that were merged into it; ``contacts`` are
    sorted by age, ``events`` by the order of the feed. Tombstones and their secret belong to no
    identity.
    """

    root_id: int | None
    heads: list[IdentityRecord] = []
    contacts: list[ContactRecord] = []
    identifiers: list[IdentifierRecord] = []
    events: list[EventRecord] = []
    tombstones: list[TombstoneRecord] = []
    secrets: list[SecretRecord] = []

    @property
    def head(self) -> IdentityRecord:
        """The row of the identity itself. Raises `LookupError` when damaged data have none."""
        for row in self.heads:
            if row.id == self.root_id:
                return row
        raise LookupError(self.root_id)

    @property
    def live_contacts(self) -> list[ContactRecord]:
        """The contacts that are not deleted, by age."""
        return [contact for contact in self.contacts if contact.deleted_at is None]


PARTS = {
    "heads": IdentityRecord,
    "contacts": ContactRecord,
    "identifiers": IdentifierRecord,
    "events": EventRecord,
    "tombstones": TombstoneRecord,
    "secrets": SecretRecord,
}
"""The kinds of rows of an identity, in the order of scans and loads."""
