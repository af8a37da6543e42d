"""Is an identity what its facts make of it?

I9: the contacts stored under one identity, and the pairs, are one part of all that is stored there
(`partition.py`); each contact goes with the value it brought; and each value that was given up ends
with the event that freed it. That no fact links two identities follows with I4: a value that
somebody has belongs to one, and one that was given up to the identity of the event it ends with.

Adopted contacts count as linked by their adoption. After an erasure, what is left may be in as many
parts more as there were facts that are gone, and nothing shows who brought what.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from bitespeed.model.facts import Node
from bitespeed.model.records import ContactRecord, EventRecord, IdentityRecords
from bitespeed.rules.partition import parts_of

Value = tuple[str, str]
"""Its kind and itself."""


class StoredFact(NamedTuple):
    """What a contact or an event says, by the number of its event."""

    number: int
    nodes: tuple[Node, ...]


class Replay(NamedTuple):
    """What became of values, event by event."""

    brought: dict[int, list[Value]]
    """By each contact that was created: the values that no live contact had."""
    freed: dict[Value, list[int]]
    """By value: the events after which no live contact had it."""


def replay(identity: IdentityRecords) -> Replay:
    """The events of an identity in their order."""
    brought: dict[int, list[Value]] = {}
    freed: defaultdict[Value, list[int]] = defaultdict(list)
    carriers: Counter[Value] = Counter()
    for event, contact in _events_of_contacts(identity):
        values = values_of(contact)
        if event.kind == "contact.deleted":
            carriers.subtract(values)
            for value in values:
                if carriers[value] <= 0:
                    freed[value].append(event.seq)
            continue
        if event.kind == "contact.created":
            brought[contact.id] = [value for value in values if carriers[value] <= 0]
        carriers.update(values)
    return Replay(brought, freed)


def facts_of(identity: IdentityRecords) -> list[StoredFact]:
    """The facts that are stored in it, with a link of each adopted contact to its adoption."""
    facts = [StoredFact(event.seq, event.nodes) for event in identity.events if event.nodes]
    for event, contact in _events_of_contacts(identity):
        if event.kind != "contact.deleted":
            facts.append(StoredFact(event.seq, contact.nodes))
        if event.kind == "contact.adopted":
            adoption = Node("adopted into", str(event.identity_id))
            facts.append(StoredFact(event.seq, (_anchor(contact), adoption)))
    return facts


def faults_of_parts(identity: IdentityRecords, replayed: Replay) -> Iterator[str]:
    """What is stored otherwise than the facts make it, by ids alone."""
    facts = facts_of(identity)
    lost = _erased_links(identity)
    yield from _apart(identity, facts, lost)
    if not lost:
        yield from _anchors(identity, replayed)
        yield from _ends(identity, facts, replayed)


def values_of(contact: ContactRecord) -> list[Value]:
    """The values that it shows or showed."""
    return [(node.kind, node.value) for node in contact.nodes]


def _apart(identity: IdentityRecords, facts: list[StoredFact], lost: int) -> Iterator[str]:
    """Contacts in several parts, and pairs in no part of a contact."""
    parts = parts_of(facts)
    firsts: dict[int, int] = {}
    for contact in identity.contacts:
        firsts.setdefault(parts.of(_anchor(contact)), contact.id)
    if len(firsts) > 1 + lost:
        yield f"nothing connects contacts {some(sorted(firsts.values()))}"
    for event in identity.events:
        if event.nodes and parts.of(event.nodes[0]) not in firsts and not lost:
            yield f"event {event.seq} has the pair of another identity"


def _anchors(identity: IdentityRecords, replayed: Replay) -> Iterator[str]:
    """A contact goes with its email, unless that was known and it brought the phone alone."""
    for contact in identity.contacts:
        brought = [kind for kind, _ in replayed.brought.get(contact.id, [])]
        is_by_phone = contact.email is not None and brought == ["phone"]
        if contact.anchor != ("phone" if is_by_phone else None):
            yield f"contact {contact.id} goes with a value that it did not bring"


def _ends(identity: IdentityRecords, facts: list[StoredFact], replayed: Replay) -> Iterator[str]:
    """A value ends with the first event after its fact that frees it."""
    names = {event.seq: f"contact {c.id}" for event, c in _events_of_contacts(identity)}
    for number, nodes in facts:
        for kind, value, until in nodes:
            freed = (seq for seq in replayed.freed.get((kind, value), ()) if seq > number)
            if until != (expected := next(freed, None)):
                name = names.get(number, f"event {number}")
                yield f"the {kind} of {name} ends with event {until} instead of {expected}"


def _erased_links(identity: IdentityRecords) -> int:
    """How many links an erasure may have taken: two of each contact, the adopted one's adoption
    included, and one of each pair.
    """
    contacts = sum(event.kind == "contact.erased" for event in identity.events)
    pairs = sum(
        event.kind in {"pair.seen", "identities.merged"} and not event.nodes
        for event in identity.events
    )
    return 2 * contacts + pairs if contacts else 0


def _events_of_contacts(identity: IdentityRecords) -> Iterator[tuple[EventRecord, ContactRecord]]:
    """The events that create, adopt or delete a contact which is still there."""
    contacts = {contact.id: contact for contact in identity.contacts}
    for event in identity.events:
        contact = contacts.get(event.contact_id or 0)
        if contact is not None:
            yield event, contact


def _anchor(contact: ContactRecord) -> Node:
    return contact.anchor_node or Node("contact", str(contact.id))


def some(ids: list[int], limit: int = 10) -> str:
    """The ids for people, the first of many."""
    shown = ", ".join(map(str, ids[:limit]))
    return shown if len(ids) <= limit else f"{shown} and {len(ids) - limit} more"
