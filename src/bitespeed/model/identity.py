"""What is known (snapshots), what is to be written (changes) and what is answered.

Plain values without behaviour of their own; the rule makes one from another,
the stores read and write them. Structs marked ``array_like`` travel to and from
the stores as JSON arrays, so the order of their fields is part of each store's SQL.

A `Ref` names a contact or an identity inside changes: a positive number is an id
that the store gave out, ``-n`` stands for the n-th contact created by the same
changes. An identity is called after the contact that founded it.
"""

from typing import Literal

import msgspec

from bitespeed.model.identifiers import Email, Phone

Ref = int


class Contact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A live contact as stored. ``created_at`` is in microseconds since 1970, UTC."""

    id: int
    created_at: int
    email: Email | None
    phone: Phone | None


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """One person at one version.

    ``contacts`` counts the live contacts; ``members`` holds them, in no particular
    order, unless the snapshot was read without members.
    """

    id: int
    version: int
    primary_id: int
    primary_at: int
    contacts: int
    members: list[Contact] = []


class Snapshot(msgspec.Struct, frozen=True):
    """The identities that a set of identifiers touches, as of one instant.

    ``emails`` and ``phones`` say which identity holds which of the values asked
    for; a value that nobody holds is absent.
    """

    identities: dict[int, Identity]
    emails: dict[Email, int]
    phones: dict[Phone, int]


class NewContact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A contact to be created, born in ``identity``.

    ``new_email`` and ``new_phone`` tell which of its values nobody holds yet. Its
    age is the instant of the commit, but not below ``not_before``.
    """

    identity: Ref
    email: Email | None
    phone: Phone | None
    raw_email: str | None
    raw_phone: str | None
    new_email: bool
    new_phone: bool
    not_before: int


class IdentityChange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What becomes of one touched identity.

    ``root`` is itself while it lives, else the identity it is merged into.
    ``version`` is the one that was read, 0 for an identity founded by the same
    changes; the store writes the next one. ``primary_at`` is None where the
    primary is created by the same changes, ``primary`` where no contact is left.
    """

    id: Ref
    root: Ref
    primary: Ref | None
    primary_at: int | None
    contacts: int
    version: int


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One thing that happened to ``identity``, which got ``version`` by it.

    ``merged`` is the identity that ended in a merge; ``email`` and ``phone`` are
    then the observation that joined the two. A contact that was adopted had been one before,
    and of ``identity``: whether it brought anything new was not ours to decide. Of what was erased
    no other event is left.
    """

    kind: Literal[
        "contact.created",
        "contact.adopted",
        "identities.merged",
        "contact.deleted",
        "contact.erased",
        "identity.erased",
    ]
    identity: Ref
    version: int
    contact: Ref | None = None
    merged: Ref | None = None
    email: Email | None = None
    phone: Phone | None = None


class Erasure(msgspec.Struct, frozen=True):
    """What is removed for good: ``identities`` with all that has them as root, the ``contacts`` of
    others, and the values in the ``events`` of others, which are named by their number.

    ``pseudonyms`` are those of tombstones, made with ``secret``, which the store takes as its own
    if it has none yet.
    """

    id: str
    identities: list[int]
    contacts: list[int]
    events: list[int]
    secret: str
    pseudonyms: list[str]


class Changes(msgspec.Struct, frozen=True):
    """What a decision wants written, all of it or nothing."""

    identities: list[IdentityChange]
    contacts: list[NewContact]
    events: list[Event]
    deleted: list[int] = []
    freed_emails: list[Email] = []
    freed_phones: list[Phone] = []
    erasure: Erasure | None = None

    def __bool__(self) -> bool:
        return bool(self.identities)


class Committed(msgspec.Struct, frozen=True):
    """The ids and ages that a store gave the contacts of some changes, in their order, and ``at``,
    the instant of the commit.
    """

    ids: list[int]
    created_at: list[int]
    at: int = 0

    def stored(self, ref: Ref) -> int:
        """The id of what may have been created by the changes."""
        return ref if ref > 0 else self.ids[-1 - ref]


class Receipt(msgspec.Struct, frozen=True):
    """What an erasure has removed, without saying of subject."""

    id: str
    at: int
    identities: int
    contacts: int
    identifiers: int
    events: int
    pseudonyms: list[str]


class Tombstones(msgspec.Struct, frozen=True):
    """When the values behind pseudonyms were erased. Without ``secret`` nothing ever was."""

    secret: str | None
    erased_at: dict[str, int]


class Answer(msgspec.Struct, frozen=True):
    """Who it is: values and ids by age, the primary's own first, each once."""

    primary_id: int
    emails: list[Email]
    phones: list[Phone]
    secondary_ids: list[int]


class KeptAnswer(msgspec.Struct, frozen=True, array_like=True):
    """An `Answer` as it was kept, with its identity and version; the lists are JSON still, since
    most who get it only pass it on.
    """

    identity: int
    version: int
    primary_id: int
    emails: msgspec.Raw
    phones: msgspec.Raw
    secondary_ids: msgspec.Raw

    def answer(self) -> Answer:
        """The same to be read."""
        return Answer(
            self.primary_id,
            _emails.decode(self.emails),
            _phones.decode(self.phones),
            _ids.decode(self.secondary_ids),
        )


_emails = msgspec.json.Decoder(list[Email])
_phones = msgspec.json.Decoder(list[Phone])
_ids = msgspec.json.Decoder(list[int])
