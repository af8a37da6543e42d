"""Contacts, identities, what a store has read of them (snapshots) and what is answered.

Plain values without behaviour of their own. The stores read them, the rules decide on them. Structs
marked ``array_like`` travel to and from the stores as JSON arrays, so the order of their fields is
part of each store's SQL.
"""

import msgspec

from bitespeed.model.identifiers import Email, Phone


class Contact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A live contact as stored. ``created_at`` is in microseconds since 1970, UTC."""

    id: int
    created_at: int
    email: Email | None
    phone: Phone | None


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """One person at one version.

    Every change raises ``version`` by one and draws another ``stamp``, a random number of 53 bits,
    so that no two states of an identity share a stamp, whatever was restored from a backup.
    ``contacts`` is the number of live contacts; ``members`` are those contacts in no particular
    order, or nothing if the snapshot was read without members. ``pairs`` are the pairs of values
    seen together that no member shows, also nothing without members.
    """

    id: int
    version: int
    stamp: int
    primary_id: int
    primary_at: int
    contacts: int
    members: list[Contact] = []
    pairs: list[tuple[str, str, str, str]] = []
    """Each as the kind and the value of the one, then of the other."""


class Snapshot(msgspec.Struct, frozen=True):
    """The identities that a set of identifiers touches, as of one instant.

    ``emails`` and ``phones`` map the values read to the identities they belong to; a value that
    belongs to none is absent.
    """

    identities: dict[int, Identity]
    emails: dict[Email, int]
    phones: dict[Phone, int]


class Answer(msgspec.Struct, frozen=True, weakref=True):
    """One identity: values and ids by age, the primary's own first, each once."""

    primary_id: int
    emails: list[Email]
    phones: list[Phone]
    secondary_ids: list[int]


class KeptAnswer(msgspec.Struct, frozen=True, array_like=True):
    """An `Answer` as the cache keeps it, with its identity and stamp. Its lists are JSON still,
    since most callers only pass them on. ``pairs`` are the emails and phone numbers that were seen
    together; None for too many, and for one contact, which shows its only pair.
    """

    identity: int
    stamp: int
    primary_id: int
    emails: msgspec.Raw
    phones: msgspec.Raw
    secondary_ids: msgspec.Raw
    pairs: list[tuple[str, str]] | None = None

    def answer(self) -> Answer:
        """The same answer with its lists decoded."""
        return Answer(
            self.primary_id,
            _emails.decode(self.emails),
            _phones.decode(self.phones),
            _ids.decode(self.secondary_ids),
        )


_emails = msgspec.json.Decoder(list[Email])
_phones = msgspec.json.Decoder(list[Phone])
_ids = msgspec.json.Decoder(list[int])
