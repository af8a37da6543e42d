"""The rule: who is this, and what has to be written so that it stays known?

Pure functions from a snapshot to changes. `identify` decides observations one after the other,
each in the light of those before it:

- If neither of its values is known, it creates an identity and becomes its primary contact.
- If one value is known and the other is new, it becomes a contact of the identity that has the
  known one.
- If its values belong to two identities, the two merge under the oldest contact of both.
- Otherwise it brings no contact. Two values that were never seen together are kept as a pair, since
  they confirm what others have said; else nothing is written.

Deleting, looking up and erasing stand beside this: `delete.py`, `look_up.py`, `erase.py`.
"""

from collections.abc import Iterable, Sequence

from bitespeed.model.changes import Changes
from bitespeed.model.identifiers import Observation
from bitespeed.model.identity import Snapshot
from bitespeed.model.sources import NO_SOURCE, SameSource
from bitespeed.rules.draft import Draft, Person, Reply, Sources

_NO_SOURCES = SameSource(NO_SOURCE)


def identify(
    snapshot: Snapshot,
    observations: Sequence[Observation],
    sources: Sources = _NO_SOURCES,
) -> tuple[Changes, list[Reply]]:
    """The changes that the observations make in their order, and a reply to each as of its turn.

    The snapshot must have been read for every identifier of the observations.
    """
    draft = Draft(snapshot, sources)
    replies = [_place(draft, observation).reply() for observation in observations]
    return draft.changes(), replies


def absorb(
    snapshot: Snapshot,
    observations: Iterable[Observation],
    sources: Sources = _NO_SOURCES,
    dates: Sequence[int | None] = (),
) -> Changes:
    """The changes of `identify`, without replies; the snapshot needs members only for the
    identities of `may_confirm`.

    With ``dates``, one for each observation, a new contact is as old as its date says, and may
    become the primary of an identity that is stored. Without a date it is as of the commit.
    """
    draft = Draft(snapshot, sources, dates)
    for observation in observations:
        _place(draft, observation)
    return draft.changes()


def may_confirm(snapshot: Snapshot, observations: Iterable[Observation]) -> list[Observation]:
    """The observations of two values that one identity of several contacts has: whether they were
    seen together is not known without its members.
    """
    emails, phones, identities = snapshot.emails, snapshot.phones, snapshot.identities
    return [
        o
        for o in observations
        if o.email is not None
        and o.phone is not None
        and (id_ := emails.get(o.email)) is not None
        and id_ == phones.get(o.phone)
        and identities[id_].contacts > 1
    ]


def _place(draft: Draft, observation: Observation) -> Person:
    """The person that one observation belongs to from now on."""
    draft.place += 1
    email, phone = observation.email, observation.phone
    of_email = draft.person_with_email(email) if email is not None else None
    of_phone = draft.person_with_phone(phone) if phone is not None else None

    if of_email is None and of_phone is None:
        return draft.create_identity(observation)
    if of_email is not None and of_phone is not None:
        if of_email is not of_phone:
            return draft.merge(of_email, of_phone, observation)
        # Whoever has one contact that shows both values has seen them together.
        return of_email if of_email.contacts == 1 else draft.confirm(of_email, observation)
    if of_email is not None:
        return of_email if phone is None else draft.attach(of_email, observation, new_phone=True)
    assert of_phone is not None  # noqa: S101 - the first `if` has returned otherwise
    return of_phone if email is None else draft.attach(of_phone, observation, new_email=True)
