"""Rows as they are stored, for code that checks, exports, copies or erases them."""

from typing import NamedTuple

import msgspec

from bitespeed.model.facts import Node, anchor_among
from bitespeed.model.identifiers import Email, Phone


class ContactRecord(NamedTuple):
    """A contact row, live or deleted; instants in microseconds since 1970, UTC.

    ``email_until`` and ``phone_until`` are the numbers of the events that deleted the last live
    contact with the value; None as long as somebody has had it since.
    """

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
    country: str | None = None
    email_until: int | None = None
    phone_until: int | None = None
    anchor: str | None = None
    """The kind of the value it goes with, if that is not its email."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The values that it shows or showed."""
        emails = () if self.email is None else (Node("email", self.email, self.email_until),)
        phones = () if self.phone is None else (Node("phone", self.phone, self.phone_until),)
        return (*emails, *phones)

    @property
    def raw_texts(self) -> tuple[str | None, ...]:
        """For each of the nodes the text that was sent; None where it is the value itself."""
        emails = () if self.email is None else (self.raw_email,)
        phones = () if self.phone is None else (self.raw_phone,)
        return (*emails, *phones)

    @property
    def anchor_node(self) -> Node | None:
        """The value that it goes with; None for an adopted contact without a value."""
        return anchor_among(self.nodes, self.anchor) if self.nodes else None


CREATIONS = ("contact.created", "contact.adopted")
"""The kinds of the events that a contact begins with."""


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
    primary_id: int | None = None
    kind_of_value: str | None = None
    value: str | None = None
    kind_of_other: str | None = None
    other: str | None = None
    raw_value: str | None = None
    raw_other: str | None = None
    country: str | None = None
    value_until: int | None = None
    other_until: int | None = None
    source: str | None = None
    request: str | None = None
    label: str | None = None
    merged_primary_id: int | None = None
    size: int | None = None
    merged_size: int | None = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The values of `between`."""
        untils = self.value_until, self.other_until
        return tuple(
            Node(kind, value, until)
            for (kind, value), until in zip(self.between, untils, strict=False)
        )

    @property
    def raw_texts(self) -> tuple[str | None, ...]:
        """For each of the nodes the text that was sent; None where it is the value itself."""
        return (self.raw_value, self.raw_other)[: len(self.between)]

    @property
    def between(self) -> list[tuple[str, str]]:
        """The two values that were seen together, each with its kind; none for most kinds."""
        pairs = (self.kind_of_value, self.value), (self.kind_of_other, self.other)
        return [(kind, value) for kind, value in pairs if kind is not None and value is not None]


class IdentityRecord(NamedTuple):
    """The row of an identity; ``relabelled_at`` is when its root or primary last changed."""

    id: int
    tenant: str
    root_id: int
    primary_id: int | None
    primary_at: int | None
    contacts: int
    version: int
    stamp: int
    relabelled_at: int | None = None


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
