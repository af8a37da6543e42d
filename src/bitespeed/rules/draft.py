"""A snapshot as observations change it, one after the other, and the replies to them."""

from collections.abc import Sequence
from itertools import chain
from typing import Literal, Protocol

import msgspec

from bitespeed.model.changes import (
    Changes,
    Committed,
    Event,
    IdentityChange,
    NewContact,
    Pair,
    Ref,
)
from bitespeed.model.identifiers import Email, Observation, Phone
from bitespeed.model.identity import Answer, Contact, Identity, Snapshot
from bitespeed.model.sources import Source
from bitespeed.rules.answer import answer_of_one, consolidate


class Sources(Protocol):
    """The source of each observation, by its place among them; asked only for what is written."""

    def __getitem__(self, place: int, /) -> Source:
        """The source of one."""
        ...


class Reply(msgspec.Struct, eq=False):
    """The reply to one observation, as of its turn.

    Unless it ``needs_commit``, it shows nothing but the snapshot, so that it is true whatever
    happens to the changes. Otherwise it is true once they are committed.
    """

    members: "Members"
    created: tuple["Created", ...]
    needs_commit: bool
    contacts: int
    """How many contacts the answer shows, whose work grows with them."""
    primary: Ref
    stamp: int | None = None
    """The stamp of the stored identity that the answer shows; None if it has changed since."""
    last_answer: Answer | None = None

    def answer(self, committed: Committed | None = None) -> Answer:
        """The answer, with the ids and ages that the commit gave its new contacts."""
        if self.last_answer is None:
            parts = self.members
            if committed is not None and self.created:
                ids, ages = committed.ids, committed.created_at
                if self.contacts == 1:
                    ((n, o),) = self.created
                    self.last_answer = answer_of_one(ids[n], o.email, o.phone)
                    return self.last_answer
                parts += ([Contact(ids[n], ages[n], o.email, o.phone) for n, o in self.created],)
            self.last_answer = consolidate(
                parts[0] if len(parts) == 1 else list(chain.from_iterable(parts))
            )
        return self.last_answer

    def primary_id(self, committed: Committed | None = None) -> int:
        """The id of the primary contact, without making the answer."""
        return self.primary if committed is None else committed.id_of(self.primary)


Members = tuple[list[Contact], ...]
"""The stored contacts of a person, in parts: joining two of them copies no contact."""

Created = tuple[int, Observation]
"""A contact that the changes create: its position among them, and its observation."""


class Person(msgspec.Struct, eq=False):
    """An identity while a batch is being decided."""

    id: Ref
    version: int
    stamp: int
    primary: Ref
    primary_at: int | None
    contacts: int
    members: Members
    pairs: tuple[list[tuple[str, str, str, str]], ...] = ()
    not_before: int = 0  # its contacts without a date may not be older than any primary it has had
    created: tuple[Created, ...] = ()
    is_changed: bool = False
    merged_into: "Person | None" = None
    last_reply: "Reply | None" = None
    seen: set[tuple[str | None, str | None]] | None = None
    """The emails and phones that were seen together; None until that is asked."""

    def has_seen(self, email: Email | None, phone: Phone | None) -> bool:
        """Whether the two were seen together, in the snapshot or in the draft."""
        if self.seen is None:
            self.seen = {(c.email, c.phone) for part in self.members for c in part}
            self.seen.update((o.email, o.phone) for _, o in self.created)
            self.seen.update((value, other) for part in self.pairs for _, value, _, other in part)
        return (email, phone) in self.seen

    def see(self, email: Email | None, phone: Phone | None) -> None:
        """Keep that the two were seen together."""
        if self.seen is not None:
            self.seen.add((email, phone))

    def change(self) -> None:
        """Answer the next observation anew, after a commit."""
        self.is_changed = True
        self.last_reply = None

    def reply(self) -> Reply:
        """The reply as of now; the same one until something changes."""
        if self.last_reply is None:
            self.last_reply = Reply(
                self.members,
                self.created,
                self.is_changed,
                self.contacts,
                self.primary,
                None if self.is_changed else self.stamp,
            )
        return self.last_reply

    def is_older_than(self, other: "Person") -> bool:
        """Compare the primaries' ages."""
        return _age(self.primary_at, self.primary) < _age(other.primary_at, other.primary)

    def add_dated(self, contact: Ref, at: int) -> None:
        """Make a new contact of this date the primary, if it is the oldest."""
        if _age(at, contact) < _age(self.primary_at, self.primary):
            self.primary, self.primary_at = contact, at
        # Later than the date, also where the clock is behind it.
        self.not_before = max(self.not_before, at + 1)


def _age(at: int | None, contact: Ref) -> tuple[bool, int, bool, int]:
    """Sorts contacts by age. A new one is younger than a stored one of its date, and than every
    other one if it has no date.
    """
    return at is None, at or 0, contact < 0, abs(contact)


def _person(identity: Identity) -> Person:
    return Person(
        identity.id,
        identity.version,
        identity.stamp,
        identity.primary_id,
        identity.primary_at,
        identity.contacts,
        (identity.members,),
        (identity.pairs,),
        identity.primary_at,
    )


class Draft:
    """The snapshot as the observations decided so far have changed it."""

    def __init__(
        self, snapshot: Snapshot, sources: Sources, dates: Sequence[int | None] = ()
    ) -> None:
        self._snapshot = snapshot
        self._sources = sources
        self._dates = dates
        self.place = -1  # of the observation that is decided, among all
        self._persons: dict[Ref, Person] = {}
        self._emails: dict[Email, Person] = {}
        self._phones: dict[Phone, Person] = {}
        self._contacts: list[tuple[Person, Ref, Observation, bool, bool, int | None]] = []
        self._events: list[Event] = []

    def person_with_email(self, email: Email) -> Person | None:
        """Whoever has the email by now."""
        person = self._emails.get(email)
        if person is not None:
            return _survivor(person)
        identity_id = self._snapshot.emails.get(email)
        return None if identity_id is None else self._person(identity_id)

    def person_with_phone(self, phone: Phone) -> Person | None:
        """Whoever has the phone number by now."""
        person = self._phones.get(phone)
        if person is not None:
            return _survivor(person)
        identity_id = self._snapshot.phones.get(phone)
        return None if identity_id is None else self._person(identity_id)

    def _person(self, identity_id: int) -> Person:
        person = self._persons.get(identity_id)
        if person is None:
            person = self._persons[identity_id] = _person(self._snapshot.identities[identity_id])
            return person
        return _survivor(person)

    def create_identity(self, observation: Observation) -> Person:
        """Create an identity with the observation as its primary contact."""
        primary = -1 - len(self._contacts)
        person = self._persons[primary] = Person(primary, 0, 0, primary, None, 0, ())
        return self.attach(
            person,
            observation,
            new_email=observation.email is not None,
            new_phone=observation.phone is not None,
        )

    def attach(
        self,
        person: Person,
        observation: Observation,
        *,
        new_email: bool = False,
        new_phone: bool = False,
    ) -> Person:
        """Add the observation to the person as a contact that brings a new value."""
        position = len(self._contacts)
        person.change()
        person.contacts += 1
        person.created += ((position, observation),)
        if new_email and observation.email is not None:
            self._emails[observation.email] = person
        if new_phone and observation.phone is not None:
            self._phones[observation.phone] = person
        person.see(observation.email, observation.phone)
        contact, source = -1 - position, self._sources[self.place]
        at = self._dates[self.place] if self._dates else None
        if at is not None:
            person.add_dated(contact, at)
        self._contacts.append((person, person.id, observation, new_email, new_phone, at))
        self._events.append(
            Event(
                "contact.created",
                person.id,
                person.version + 1,
                contact,
                None,
                None if person.primary == contact else person.primary,
                None,
                source.name,
                source.request,
                source.label,
            )
        )
        return person

    def confirm(self, person: Person, observation: Observation) -> Person:
        """Keep the two values as a pair, unless they were seen together."""
        if self._shows_both(observation) or person.has_seen(observation.email, observation.phone):
            return person
        person.change()
        self._add_pair("pair.seen", person, observation)
        return person

    def _shows_both(self, observation: Observation) -> bool:
        """Whether both values were of one contact, which was alone; its members may not be read."""
        snapshot = self._snapshot
        if observation.email is None or observation.phone is None:
            return False
        id_ = snapshot.emails.get(observation.email)
        return (
            id_ is not None
            and id_ == snapshot.phones.get(observation.phone)
            and snapshot.identities[id_].contacts == 1
        )

    def _add_pair(
        self,
        kind: Literal["pair.seen", "identities.merged"],
        person: Person,
        observation: Observation,
        merged: Ref | None = None,
        merged_primary: Ref | None = None,
        sizes: tuple[int, int] | None = None,
    ) -> None:
        """Add an event with the two values of an observation, which are a fact from now on."""
        email, phone, source = observation.email, observation.phone, self._sources[self.place]
        assert email is not None and phone is not None  # noqa: S101, PT018 - so callers promise
        seen: tuple[str, str, str, str] = ("email", email, "phone", phone)
        person.pairs = (*person.pairs, [seen])
        person.see(email, phone)
        pair = Pair(
            "email",
            email,
            "phone",
            phone,
            observation.raw_email,
            observation.raw_phone,
            observation.country,
        )
        self._events.append(
            Event(
                kind,
                person.id,
                person.version + 1,
                None,
                merged,
                person.primary,
                pair,
                source.name,
                source.request,
                source.label,
                merged_primary,
                sizes,
            )
        )

    def merge(self, one: Person, other: Person, observation: Observation) -> Person:
        """Join two identities under the older primary.

        The larger one keeps its id, so that fewer rows have to be relabelled.
        """
        elder, younger = (one, other) if one.is_older_than(other) else (other, one)
        sizes, younger_primary = (elder.contacts, younger.contacts), younger.primary
        larger, smaller = (one, other) if _rank(one) >= _rank(other) else (other, one)
        larger.change()
        larger.primary, larger.primary_at = elder.primary, elder.primary_at
        larger.not_before = max(larger.not_before, smaller.not_before)
        larger.contacts += smaller.contacts
        larger.members += smaller.members
        larger.created += smaller.created
        larger.pairs += smaller.pairs
        larger.seen = None
        smaller.is_changed = True
        smaller.merged_into = larger
        self._add_pair("identities.merged", larger, observation, smaller.id, younger_primary, sizes)
        return larger

    def changes(self) -> Changes:
        """Everything that has been decided so far."""
        return Changes(
            identities=[_change(p) for p in self._persons.values() if p.is_changed],
            contacts=[
                NewContact(
                    created_in,
                    observation.email,
                    observation.phone,
                    observation.raw_email,
                    observation.raw_phone,
                    new_email,
                    new_phone,
                    _survivor(person).not_before,
                    observation.country,
                    at,
                )
                for person, created_in, observation, new_email, new_phone, at in self._contacts
            ],
            events=self._events,
        )


def _rank(person: Person) -> tuple[bool, int]:
    """Stored before new, then by size: a new identity never takes over a stored one."""
    return person.version > 0, person.contacts


def _survivor(person: Person) -> Person:
    while person.merged_into is not None:
        person = person.merged_into
    return person


def _change(person: Person) -> IdentityChange:
    return IdentityChange(
        person.id,
        _survivor(person).id,
        person.primary,
        person.primary_at,
        person.contacts,
        person.stamp,
    )
