"""Do the rows of an identity keep the invariants?

I1 every live identity has exactly one primary; I2 it is the oldest contact; I3 every
secondary points straight at it; I4 no identifier in two identities, none without a live
contact, no live contact's value without its identifier; I5 every contact and every pair
brought something new; I8 counts and versions are true; I9 an identity is what its facts make of it,
see `record_parts.py`; I11 and I14 are about times and values, see `record_values.py`; I12 is about
the schema, which the store inspects itself; I13 no id or number in use is given out again. I6 is
about answers at the time they are given, so stored rows cannot show it.

Contacts that were adopted from a table of others need not have brought anything new.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bitespeed.model.records import (
    ContactRecord,
    IdentityRecord,
    IdentityRecords,
    SequenceRecord,
)
from bitespeed.rules.record_parts import Replay, faults_of_parts, replay, some, values_of
from bitespeed.rules.record_values import faults_of_times, faults_of_values

INVARIANTS = {
    "I1": "every live identity has exactly one primary",
    "I2": "the primary is the oldest contact",
    "I3": "every secondary points straight at the primary",
    "I4": "identifiers and the values of live contacts agree",
    "I5": "every contact and every pair brought something new",
    "I8": "counts and versions are true",
    "I9": "every identity is what its facts make of it",
    "I11": "times are in order, and none is in the future",
    "I12": "the schema is complete, and the file sound",
    "I13": "no id or number in use is given out again",
    "I14": "values are in canonical form",
}


class Violation(NamedTuple):
    """One broken invariant; ``what`` names rows by their ids alone, so it may be logged."""

    invariant: str
    identity: int | None
    what: str


def violations_of(identity: IdentityRecords) -> Iterator[Violation]:
    """The broken invariants of the rows under one root, but for those of values and times."""
    root = identity.root_id
    if root is None and _is_left_by_erasures(identity):
        return
    head = next((h for h in identity.heads if h.id == root), None)
    if head is None or head.root_id != root:
        ids = sorted(c.id for c in identity.contacts) or sorted(h.id for h in identity.heads)
        yield Violation("I3", root, f"leads to no live identity: {some(ids)}")
        return
    live = identity.live_contacts
    replayed = replay(identity)
    broken: list[tuple[str, str]] = [
        *_primary(head, live),
        *_tenant(head, identity),
        *_identifiers(identity, live),
        *_events(identity),
        *_novelty(replayed),
        *(("I9", what) for what in faults_of_parts(identity, replayed)),
        *_pairs(identity),
        *_numbers(head, identity, live),
    ]
    for invariant, what in broken:
        yield Violation(invariant, root, what)


def violations_of_values(identity: IdentityRecords, now: int) -> Iterator[Violation]:
    """Impossible values and times under one root; ``now`` is in microseconds since 1970."""
    for invariant, what in (*faults_of_values(identity), *faults_of_times(identity, now)):
        yield Violation(invariant, identity.root_id, what)


def violations_of_schema(faults: Iterable[str]) -> Iterator[Violation]:
    """What is missing or damaged, one sentence each."""
    for fault in faults:
        yield Violation("I12", None, fault)


def violations_of_sequence(sequence: SequenceRecord) -> Iterator[Violation]:
    """Whether the sequence is behind its table, as after logical replication."""
    name, next_, highest = sequence
    if highest is not None and next_ <= highest:
        yield Violation("I13", None, f"{name} gives out {next_} next, and {highest} is in use")


def _is_left_by_erasures(identity: IdentityRecords) -> bool:
    """Whether there is nothing but the events of identities that were erased whole."""
    rows = (identity.heads, identity.contacts, identity.identifiers)
    return not any(rows) and all(event.kind == "identity.erased" for event in identity.events)


def _primary(head: IdentityRecord, live: list[ContactRecord]) -> Iterator[tuple[str, str]]:
    if not live:
        if head.primary_id is not None:
            yield "I1", f"primary {head.primary_id} of an identity without live contacts"
        return
    primary = next((c for c in live if c.id == head.primary_id), None)
    if primary is None:
        yield "I1", f"primary {head.primary_id} is none of its live contacts"
        return
    oldest = min(live, key=lambda c: (c.created_at, c.id))
    if primary is not oldest:
        yield "I2", f"primary {primary.id} is younger than contact {oldest.id}"
    if head.primary_at != primary.created_at:
        yield "I8", f"age of primary {primary.id} is wrong"


def _tenant(head: IdentityRecord, identity: IdentityRecords) -> Iterator[tuple[str, str]]:
    for row in (*identity.heads, *identity.contacts, *identity.identifiers):
        if row.tenant != head.tenant:
            yield "I4", "has rows of two tenants"
            return
    for event in identity.events:
        if event.tenant != head.tenant:
            yield "I4", f"event {event.seq} belongs to another tenant"


def _identifiers(identity: IdentityRecords, live: list[ContactRecord]) -> Iterator[tuple[str, str]]:
    carried = {value: contact.id for contact in live for value in values_of(contact)}
    stored = Counter((i.kind, i.value) for i in identity.identifiers)
    for value, contact in carried.items():
        if value not in stored:
            yield "I4", f"the {value[0]} of contact {contact} has no identifier here"
    for value, count in stored.items():
        if value not in carried:
            yield "I4", f"an identifier ({value[0]}) that no live contact carries"
        elif count > 1:
            yield "I4", f"the {value[0]} of contact {carried[value]} has {count} identifiers"


def _events(identity: IdentityRecords) -> Iterator[tuple[str, str]]:
    """Each contact must be created or adopted by one event and, if it is deleted, deleted by one;
    each identity that ended must be merged by one.
    """
    erased = _erased(identity)
    recorded = Counter(
        (event.kind, event.contact_id or event.merged_id)
        for event in identity.events
        if event.kind != "pair.seen"
        and (event.contact_id is None or event.contact_id not in erased)
    )
    expected: Counter[tuple[str, int | None]] = Counter()
    adopted = _adopted(identity)
    for contact in identity.contacts:
        expected["contact.adopted" if contact.id in adopted else "contact.created", contact.id] += 1
        if contact.deleted_at is not None:
            expected["contact.deleted", contact.id] += 1
    for head in identity.heads:
        if head.id != identity.root_id:
            expected["identities.merged", head.id] += 1
    for kind, id_ in (recorded - expected) | (expected - recorded):
        yield "I8", f"events do not match the records: {kind} {id_}"


def _novelty(replayed: Replay) -> Iterator[tuple[str, str]]:
    """A contact must bring a value that no live one carried at its creation."""
    for contact, values in replayed.brought.items():
        if not values:
            yield "I5", f"contact {contact} brought nothing new"


def _pairs(identity: IdentityRecords) -> Iterator[tuple[str, str]]:
    """A pair that is kept must be of two values that were never seen together before."""
    adopted = _adopted(identity)
    seen = {
        contact.nodes: f"contact {contact.id}"
        for contact in identity.contacts
        if contact.id not in adopted
    }
    for event in identity.events:
        if len(event.nodes) == 2:
            before = seen.setdefault(event.nodes, f"event {event.seq}")
            if before != f"event {event.seq}":
                yield "I5", f"event {event.seq} keeps the pair of {before} again"


def _adopted(identity: IdentityRecords) -> set[int | None]:
    return {event.contact_id for event in identity.events if event.kind == "contact.adopted"}


def _erased(identity: IdentityRecords) -> set[int | None]:
    return {event.contact_id for event in identity.events if event.kind == "contact.erased"}


def _numbers(
    head: IdentityRecord, identity: IdentityRecords, live: list[ContactRecord]
) -> Iterator[tuple[str, str]]:
    if head.contacts != len(live):
        yield "I8", f"counts {head.contacts} live contacts, has {len(live)}"
    version = max((e.version for e in identity.events if e.identity_id == head.id), default=0)
    if head.version != version:
        yield "I8", f"is at version {head.version}, its events at {version}"
