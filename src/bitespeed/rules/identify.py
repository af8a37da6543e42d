"""The rule: who is this, and what has to be written so that it stays known?

Pure functions from a snapshot to changes. `identify` decides observations one after the other,
each in the light of those before it:

- If neither of its values is known, it creates an identity and becomes its primary contact.
- If one value is known and the other is new, it becomes a contact of the identity that has the
  known one.
- If its values belong to two identities, the two merge under the oldest contact of both.
- Otherwise it brings nothing new, and nothing is written.

Deleting, looking up and erasing stand beside this: `delete.py`, `look_up.py`, `erase.py`.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

import msgspec

from bitespeed.model.changes import Changes, Committed, Event, IdentityChange, NewContact, Ref
from bitespeed.model.identifiers import Email, Observation, Phone
from bitespeed.model.identity import Answer, Contact, Identity, Snapshot
from bitespeed.rules.answer import answer_of_one, consolidate


def identify(
    snapshot: Snapshot, observations: Sequence[Observation]
) -> tuple[Changes, list["Reply"]]:
    """The changes that the observations make in their order, and a reply to each as of its turn.

    The snapshot must have been read for every identifier of the observations.
    """
    draft = _Draft(snapshot)
    replies = [_place(draft, observation).reply() for observation in observations]
    return draft.changes(), replies


def absorb(snapshot: Snapshot, observations: Iterable[Observation]) -> Changes:
    """The changes of `identify`, without replies; the snapshot needs no members."""
    draft = _Draft(snapshot)
    for observation in observations:
        _place(draft, observation)
    return draft.changes()


def _place(draft: "_Draft", observation: Observation) -> "_Person":
    """The person that one observation belongs to from now on."""
    email, phone = observation.email, observation.phone
    of_email = draft.person_with_email(email) if email is not None else None
    of_phone = draft.person_with_phone(phone) if phone is not None else None

    if of_email is None and of_phone is None:
        return draft.create_identity(observation)
    if of_email is not None and of_phone is not None:
        return of_email if of_email is of_phone else draft.merge(of_email, of_phone, observation)
    if of_email is not None:
        return of_email if phone is None else draft.attach(of_email, observation, new_phone=True)
    assert of_phone is not None  # noqa: S101 - the first `if` has returned otherwise
    return of_phone if email is None else draft.attach(of_phone, observation, new_email=True)


class Reply(msgspec.Struct, eq=False):
    """The reply to one observation, as of its turn.

    Unless it ``needs_commit``, it shows nothing but the snapshot, so that it is true whatever
    happens to the changes. Otherwise it is true once they are committed.
    """

    members: "_Members"
    created: tuple["_Created", ...]
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


_Members = tuple[list[Contact], ...]
"""The stored contacts of a person, in parts: joining two of them copies no contact."""

_Created = tuple[int, Observation]
"""A contact that the changes create: its position among them, and its observation."""


class _Person(msgspec.Struct, eq=False):
    """An identity while a batch is being decided."""

    id: Ref
    version: int
    stamp: int
    primary: Ref
    primary_at: int | None
    contacts: int
    members: _Members
    not_before: int = 0  # its new contacts may not be older than any primary it has had
    created: tuple[_Created, ...] = ()
    is_changed: bool = False
    merged_into: "_Person | None" = None
    last_reply: "Reply | None" = None

    def change(self) -> None:
        self.is_changed = True
        self.last_reply = None

    def reply(self) -> Reply:
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

    def is_older_than(self, other: "_Person") -> bool:
        """Compare the primaries' ages; a new contact is younger than every stored one."""
        if self.primary_at is None or other.primary_at is None:
            return other.primary_at is None and (
                self.primary_at is not None or self.primary > other.primary
            )
        return (self.primary_at, self.primary) < (other.primary_at, other.primary)


def _person(identity: Identity) -> _Person:
    return _Person(
        identity.id,
        identity.version,
        identity.stamp,
        identity.primary_id,
        identity.primary_at,
        identity.contacts,
        (identity.members,),
        identity.primary_at,
    )


class _Draft:
    """The snapshot as the observations decided so far have changed it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._persons: dict[Ref, _Person] = {}
        self._emails: dict[Email, _Person] = {}
        self._phones: dict[Phone, _Person] = {}
        self._contacts: list[tuple[_Person, Ref, Observation, bool, bool]] = []
        self._events: list[Event] = []

    def person_with_email(self, email: Email) -> _Person | None:
        person = self._emails.get(email)
        if person is not None:
            return _survivor(person)
        identity_id = self._snapshot.emails.get(email)
        return None if identity_id is None else self._person(identity_id)

    def person_with_phone(self, phone: Phone) -> _Person | None:
        person = self._phones.get(phone)
        if person is not None:
            return _survivor(person)
        identity_id = self._snapshot.phones.get(phone)
        return None if identity_id is None else self._person(identity_id)

    def _person(self, identity_id: int) -> _Person:
        person = self._persons.get(identity_id)
        if person is None:
            person = self._persons[identity_id] = _person(self._snapshot.identities[identity_id])
            return person
        return _survivor(person)

    def create_identity(self, observation: Observation) -> _Person:
        """Create an identity with the observation as its primary contact."""
        primary = -1 - len(self._contacts)
        person = self._persons[primary] = _Person(primary, 0, 0, primary, None, 0, ())
        return self.attach(
            person,
            observation,
            new_email=observation.email is not None,
            new_phone=observation.phone is not None,
        )

    def attach(
        self,
        person: _Person,
        observation: Observation,
        *,
        new_email: bool = False,
        new_phone: bool = False,
    ) -> _Person:
        """Add the observation to the person as a contact that brings a new value."""
        position = len(self._contacts)
        person.change()
        person.contacts += 1
        person.created += ((position, observation),)
        if new_email and observation.email is not None:
            self._emails[observation.email] = person
        if new_phone and observation.phone is not None:
            self._phones[observation.phone] = person
        self._contacts.append((person, person.id, observation, new_email, new_phone))
        self._events.append(
            Event("contact.created", person.id, person.version + 1, contact=-1 - position)
        )
        return person

    def merge(self, one: _Person, other: _Person, observation: Observation) -> _Person:
        """Join two identities under the older primary.

        The larger one keeps its id, so that fewer rows have to be relabelled.
        """
        elder = one if one.is_older_than(other) else other
        larger, smaller = (one, other) if _rank(one) >= _rank(other) else (other, one)
        larger.change()
        larger.primary, larger.primary_at = elder.primary, elder.primary_at
        larger.not_before = max(larger.not_before, smaller.not_before)
        larger.contacts += smaller.contacts
        larger.members += smaller.members
        larger.created += smaller.created
        smaller.is_changed = True
        smaller.merged_into = larger
        self._events.append(
            Event(
                "identities.merged",
                larger.id,
                larger.version + 1,
                merged=smaller.id,
                email=observation.email,
                phone=observation.phone,
            )
        )
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
                )
                for person, created_in, observation, new_email, new_phone in self._contacts
            ],
            events=self._events,
        )


def _rank(person: _Person) -> tuple[bool, int]:
    """Stored before new, then by size: a new identity never takes over a stored one."""
    return person.version > 0, person.contacts


def _survivor(person: _Person) -> _Person:
    while person.merged_into is not None:
        person = person.merged_into
    return person


def _change(person: _Person) -> IdentityChange:
    return IdentityChange(
        person.id,
        _survivor(person).id,
        person.primary,
        person.primary_at,
        person.contacts,
        person.stamp,
    )
