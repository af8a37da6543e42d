"""What a decision wants written, and what became of it.

Plain values without behaviour of their own. The rules make them, the stores write them. Structs
marked ``array_like`` travel to the stores as JSON arrays, so the order of their fields is part of
each store's SQL.

A `Ref` names a contact or an identity inside changes: a positive number is an id that the store
gave out, ``-n`` stands for the n-th contact created by the same changes. An identity has the id of
its first contact.
"""

from typing import Literal

import msgspec

from bitespeed.model.identifiers import Email, Phone

Ref = int


class Pair(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Two values that were seen together, each by its kind.

    ``raw_value`` and ``raw_other`` are the texts that were sent, if they differ. ``country`` is the
    one whose numbers could be written without a country code, if the phone number was.
    """

    kind: str
    value: str
    other_kind: str
    other_value: str
    raw_value: str | None = None
    raw_other: str | None = None
    country: str | None = None


class NewContact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A contact to be created in ``identity``.

    ``new_email`` and ``new_phone`` say which of its values belong to no identity yet. Without
    ``created_at``, it will be the instant of the commit, but not below ``not_before``; it may be
    long before the commit in an import of old rows. For ``country`` see `Pair`.
    """

    identity: Ref
    email: Email | None
    phone: Phone | None
    raw_email: str | None
    raw_phone: str | None
    new_email: bool
    new_phone: bool
    not_before: int
    country: str | None = None
    created_at: int | None = None


class IdentityChange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one touched identity will be.

    ``root`` is the identity itself while it lives, else the one it is merged into. ``stamp`` is the
    one that was read, 0 for an identity created by the same changes; the store draws another one
    and raises the version. ``primary_at`` is None if the primary is created by the same changes as
    of their commit; ``primary`` is None if no contact is left.
    """

    id: Ref
    root: Ref
    primary: Ref | None
    primary_at: int | None
    contacts: int
    stamp: int


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One thing that happened to ``identity``, which got ``version`` by it.

    In a merge, ``merged`` is the identity that ended, ``merged_primary`` was the younger of the two
    primary contacts, and ``sizes`` are the numbers of contacts of the older one's identity and of
    the younger one's. ``pair`` are the two values that joined them, or that were seen together.
    ``primary`` is the primary contact afterwards; None where that is ``contact``, or nobody.
    ``source``, ``request`` and ``label`` are those of a `Source`.

    An adopted contact was a contact of ``identity`` in a table of others, so it need not have
    brought anything new. An erasure removes all other events of what it erases.
    """

    kind: Literal[
        "contact.created",
        "contact.adopted",
        "pair.seen",
        "identities.merged",
        "contact.deleted",
        "contact.erased",
        "identity.erased",
    ]
    identity: Ref
    version: int
    contact: Ref | None = None
    merged: Ref | None = None
    primary: Ref | None = None
    pair: Pair | None = None
    source: str | None = None
    request: str | None = None
    label: str | None = None
    merged_primary: Ref | None = None
    sizes: tuple[int, int] | None = None


class Erasure(msgspec.Struct, frozen=True):
    """What an erasure removes: ``identities`` with everything that has them as root, ``contacts``
    of other identities, and the values and texts in ``events`` (numbers) of other identities.

    It leaves a tombstone for each of ``pseudonyms``. They are made with ``secret``, which the store
    keeps if it has none yet.
    """

    id: str
    identities: list[int]
    contacts: list[int]
    events: list[int]
    secret: str
    pseudonyms: list[str]


class Changes(msgspec.Struct, frozen=True):
    """What a decision wants written, all of it or nothing; false when that is nothing.

    An identity that the same changes create and merge is in both ``created_identities`` and
    ``ended_identities``.
    """

    identities: list[IdentityChange]
    contacts: list[NewContact]
    events: list[Event]
    deleted: list[int] = []
    freed_emails: list[Email] = []
    freed_phones: list[Phone] = []
    erasure: Erasure | None = None

    def __bool__(self) -> bool:
        return bool(self.identities)

    @property
    def created_identities(self) -> list[Ref]:
        """The identities that begin with these changes."""
        return [change.id for change in self.identities if change.id < 0]

    @property
    def ended_identities(self) -> list[Ref]:
        """The identities that these changes merge into another one."""
        return [change.id for change in self.identities if change.root != change.id]

    @property
    def pairs_seen(self) -> list[Event]:
        """The events of pairs that are kept without a contact and without a merge."""
        return [event for event in self.events if event.kind == "pair.seen"]


class Committed(msgspec.Struct, frozen=True):
    """The outcome of a commit: an id and a ``created_at`` for each contact of the changes, in their
    order, and ``at``, the instant of the commit.
    """

    ids: list[int]
    created_at: list[int]
    at: int = 0

    def id_of(self, ref: Ref) -> int:
        """The stored id of a contact or an identity, new or not."""
        return ref if ref > 0 else self.ids[-1 - ref]


class ErasureCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How much an erasure removes; it does not say whose.

    ``emails`` and ``phones`` are the data subject's own values, also those that only deleted
    contacts carry; ``identifiers`` are those in use by a live contact. ``pairs`` are facts of two
    values, which a contact or an event shows.
    """

    identities: int
    contacts: int
    identifiers: int
    emails: int
    phones: int
    pairs: int
    events: int


class Receipt(ErasureCounts, frozen=True, kw_only=True):
    """How much an erasure has removed, and when."""

    id: str
    at: int
    pseudonyms: list[str]


class Tombstones(msgspec.Struct, frozen=True):
    """When the values behind pseudonyms were erased, in microseconds since 1970.

    ``secret`` is None as long as nothing was ever erased.
    """

    secret: str | None
    erased_at: dict[str, int]
