"""The rule: who is this, and what has to be written so that it stays known?

Everything that decides about identities is here, as pure functions from a
snapshot to changes. `identify` takes observations one after the other, each in
the light of those before it:

- nobody holds any of its values: it founds an identity, as its primary contact;
- somebody does, and it brings a value that nobody holds: it becomes a contact of
  that identity;
- two identities hold its values: they merge, under the oldest contact of both;
- otherwise it brings nothing new, and nothing is written.

What it means to erase a person stands beside this, in `erasing.py`.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter

import msgspec

from bitespeed.errors import NotFound
from bitespeed.model.identifiers import Email, Observation, Phone
from bitespeed.model.identity import (
    Answer,
    Changes,
    Committed,
    Contact,
    Event,
    Identity,
    IdentityChange,
    NewContact,
    Ref,
    Snapshot,
)


def identify(
    snapshot: Snapshot, observations: Sequence[Observation]
) -> tuple[Changes, list["Reply"]]:
    """Decide the observations in their order, with a reply for each as of its own turn.

    The snapshot must have been asked for every identifier of the observations.
    """
    draft = _Draft(snapshot)
    replies = [_place(draft, observation).reply() for observation in observations]
    return draft.changes(), replies


def absorb(snapshot: Snapshot, observations: Iterable[Observation]) -> Changes:
    """The changes of `identify` without its replies; a snapshot without members will do."""
    draft = _Draft(snapshot)
    for observation in observations:
        _place(draft, observation)
    return draft.changes()


def _place(draft: "_Draft", observation: Observation) -> "_Person":
    """Find or found the person that one observation belongs to."""
    email, phone = observation.email, observation.phone
    of_email = draft.holder_of_email(email) if email is not None else None
    of_phone = draft.holder_of_phone(phone) if phone is not None else None

    if of_email is None and of_phone is None:
        return draft.found(observation)
    if of_email is not None and of_phone is not None:
        return of_email if of_email is of_phone else draft.merge(of_email, of_phone, observation)
    if of_email is not None:
        return of_email if phone is None else draft.link(of_email, observation, new_phone=True)
    assert of_phone is not None  # noqa: S101 - one of the two is known, see the first test
    return of_phone if email is None else draft.link(of_phone, observation, new_email=True)


def delete(snapshot: Snapshot, contact_id: int) -> Changes:
    """Delete one live contact. Values that no live contact carries any more become free,
    and the next oldest contact becomes primary if it was the primary.

    Raises `NotFound` unless the contact is a member of an identity in the snapshot.
    """
    identity, contact = _find(snapshot, contact_id)
    rest = sorted((c for c in identity.members if c is not contact), key=_AGE)
    heir = rest[0] if rest else None
    change = IdentityChange(
        identity.id,
        identity.id,
        heir.id if heir else None,
        heir.created_at if heir else None,
        len(rest),
        identity.version,
    )
    event = Event("contact.deleted", identity.id, identity.version + 1, contact.id)
    email, phone = contact.email, contact.phone
    return Changes(
        identities=[change],
        contacts=[],
        events=[event],
        deleted=[contact.id],
        freed_emails=[email] if email and all(c.email != email for c in rest) else [],
        freed_phones=[phone] if phone and all(c.phone != phone for c in rest) else [],
    )


def look_up(snapshot: Snapshot, email: Email | None, phone: Phone | None) -> Answer:
    """The identity that holds the values given, as `identify` would see it before writing.

    Raises `NotFound` when nobody holds any of them, or two different identities do.
    """
    holders = {snapshot.emails.get(email) if email else None}
    holders.add(snapshot.phones.get(phone) if phone else None)
    holders.discard(None)
    if not holders:
        raise NotFound("No contact has this email or phoneNumber")
    if len(holders) > 1:
        raise NotFound("No one identity has both; look the email and the phoneNumber up singly")
    (identity_id,) = holders
    assert identity_id is not None  # noqa: S101 - discarded above
    return consolidate(snapshot.identities[identity_id].members)


def answer_for_contact(snapshot: Snapshot, contact_id: int) -> Answer:
    """The identity that a live contact belongs to. Raises `NotFound` when there is none."""
    identity, _ = _find(snapshot, contact_id)
    return consolidate(identity.members)


def _find(snapshot: Snapshot, contact_id: int) -> tuple[Identity, Contact]:
    for identity in snapshot.identities.values():
        for contact in identity.members:
            if contact.id == contact_id:
                return identity, contact
    raise NotFound("There is no contact with this id")  # which may be a phone number by mistake


class Reply(msgspec.Struct, eq=False):
    """What one observation is answered, as of its own turn.

    ``is_settled`` tells that it shows nothing but the snapshot, so that it is true
    whatever becomes of the changes; otherwise it holds once they are committed.
    """

    members: list[Contact]
    created: tuple["_Created", ...]
    is_settled: bool
    last_answer: Answer | None = None

    def answer(self, committed: Committed | None = None) -> Answer:
        """The answer, with the ids and ages that the commit gave out."""
        if self.last_answer is None:
            members = self.members
            if committed is not None and self.created:
                members = members + [
                    Contact(
                        committed.ids[position], committed.created_at[position], o.email, o.phone
                    )
                    for position, o in self.created
                ]
            self.last_answer = consolidate(members)
        return self.last_answer


_AGE = attrgetter("created_at", "id")

_Created = tuple[int, Observation]
"""A contact that the changes create: its position among them and what it is made from."""


def consolidate(members: Sequence[Contact]) -> Answer:
    """The answer that live contacts of one identity, at least one, in any order, add up to."""
    if len(members) == 1:  # most people; a third of the time of the way below
        (only,) = members
        return Answer(
            only.id,
            [] if only.email is None else [only.email],
            [] if only.phone is None else [only.phone],
            [],
        )
    members = sorted(members, key=_AGE)
    return Answer(
        primary_id=members[0].id,
        emails=list(dict.fromkeys([c.email for c in members if c.email is not None])),
        phones=list(dict.fromkeys([c.phone for c in members if c.phone is not None])),
        secondary_ids=[c.id for c in members[1:]],
    )


class _Person(msgspec.Struct, eq=False):
    """An identity while a batch is being decided; see `Identity` for what it starts from."""

    id: Ref
    version: int
    primary: Ref
    primary_at: int | None
    contacts: int
    members: list[Contact]
    not_before: int = 0  # no contact it gets may be older than a primary it has had on the way
    created: tuple[_Created, ...] = ()
    is_changed: bool = False
    merged_into: "_Person | None" = None
    last_reply: "Reply | None" = None

    def change(self) -> None:
        self.is_changed = True
        self.last_reply = None

    def reply(self) -> Reply:
        if self.last_reply is None:
            self.last_reply = Reply(self.members, self.created, not self.is_changed)
        return self.last_reply

    def is_older_than(self, other: "_Person") -> bool:
        """By the primary's age; what this batch creates is younger than all that is stored."""
        if self.primary_at is None or other.primary_at is None:
            return other.primary_at is None and (
                self.primary_at is not None or self.primary > other.primary
            )
        return (self.primary_at, self.primary) < (other.primary_at, other.primary)


def _stored(identity: Identity) -> _Person:
    return _Person(
        identity.id,
        identity.version,
        identity.primary_id,
        identity.primary_at,
        identity.contacts,
        identity.members,
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

    def holder_of_email(self, email: Email) -> _Person | None:
        person = self._emails.get(email)
        if person is not None:
            return _survivor(person)
        identity_id = self._snapshot.emails.get(email)
        return None if identity_id is None else self._person(identity_id)

    def holder_of_phone(self, phone: Phone) -> _Person | None:
        person = self._phones.get(phone)
        if person is not None:
            return _survivor(person)
        identity_id = self._snapshot.phones.get(phone)
        return None if identity_id is None else self._person(identity_id)

    def _person(self, identity_id: int) -> _Person:
        person = self._persons.get(identity_id)
        if person is None:
            person = self._persons[identity_id] = _stored(self._snapshot.identities[identity_id])
            return person
        return _survivor(person)

    def found(self, observation: Observation) -> _Person:
        """A new identity, with the observation as its primary contact."""
        founder = -1 - len(self._contacts)
        person = self._persons[founder] = _Person(founder, 0, founder, None, 0, [])
        return self.link(
            person,
            observation,
            new_email=observation.email is not None,
            new_phone=observation.phone is not None,
        )

    def link(
        self,
        person: _Person,
        observation: Observation,
        *,
        new_email: bool = False,
        new_phone: bool = False,
    ) -> _Person:
        """Add the observation to the identity as a contact that brings a new value."""
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
        """Join two identities under the older primary; the larger keeps its id, so that
        the fewer rows change hands.
        """
        elder = one if one.is_older_than(other) else other
        larger, smaller = (one, other) if _rank(one) >= _rank(other) else (other, one)
        larger.change()
        larger.primary, larger.primary_at = elder.primary, elder.primary_at
        larger.not_before = max(larger.not_before, smaller.not_before)
        larger.contacts += smaller.contacts
        larger.members = larger.members + smaller.members
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
        """All that has been decided so far, as it ends."""
        return Changes(
            identities=[_change(p) for p in self._persons.values() if p.is_changed],
            contacts=[
                NewContact(
                    born_in,
                    observation.email,
                    observation.phone,
                    observation.raw_email,
                    observation.raw_phone,
                    new_email,
                    new_phone,
                    _survivor(person).not_before,
                )
                for person, born_in, observation, new_email, new_phone in self._contacts
            ],
            events=self._events,
        )


def _rank(person: _Person) -> tuple[bool, int]:
    """Stored before size: an identity founded by the batch never takes over a stored one."""
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
        person.version,
    )
