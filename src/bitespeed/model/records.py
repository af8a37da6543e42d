"""All that is stored about an identity, for those who verify, export, copy or erase it."""

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


class TombstoneRecord(NamedTuple):
    """What an erasure leaves of an identifier; see `bitespeed.rules.erase.pseudonym`."""

    tenant: str
    pseudonym: str
    at: int
    erasure: str


class SecretRecord(NamedTuple):
    """What the pseudonyms of tombstones are made with; there is none before the first erasure."""

    secret: str


class IdentityRecords(msgspec.Struct):
    """Everything whose root is ``root_id``; None for rows that lead to no identity at all.

    ``heads`` are the rows of the identity and of all that were merged into it;
    ``contacts`` come by age, ``events`` in the order of the feed. Tombstones and their secret lead
    to no identity.
    """

    root_id: int | None
    heads: list[IdentityRecord] = []
    contacts: list[ContactRecord] = []
    identifiers: list[IdentifierRecord] = []
    events: list[EventRecord] = []
    tombstones: list[TombstoneRecord] = []
    secrets: list[SecretRecord] = []


PARTS = {
    "heads": IdentityRecord,
    "contacts": ContactRecord,
    "identifiers": IdentifierRecord,
    "events": EventRecord,
    "tombstones": TombstoneRecord,
    "secrets": SecretRecord,
}
"""What a stored identity consists of, in the order of scans and loads."""
