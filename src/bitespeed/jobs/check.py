"""Do the stored data keep the invariants?

I1 every live identity has exactly one primary; I2 it is the oldest contact; I3 every
secondary points straight at it; I4 no identifier in two identities, none without a live
contact, no live contact's value without its identifier; I5 every contact brought something
new; I7 an identity is what its observations connect, no more; I8 counts and versions are
true. I6 is about answers as they are given, so no look at the data can tell.

Contacts that were adopted from a table of others need not have brought anything, and those
adopted into one identity are connected: what they were is taken as it was. What connected the
contacts of an identity may have been erased.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing
from itertools import pairwise
from typing import NamedTuple

from bitespeed.model.records import ContactRecord, EventRecord, IdentityRecord, IdentityRecords
from bitespeed.stores.protocols import ScannableStore

INVARIANTS = {
    "I1": "every live identity has exactly one primary",
    "I2": "the primary is the oldest contact",
    "I3": "every secondary points straight at the primary",
    "I4": "identifiers and the values of live contacts agree",
    "I5": "every contact brought something new",
    "I7": "every identity is connected by its observations",
    "I8": "counts and versions are true",
}

MAX_VIOLATIONS = 1000  # found before the search ends; by then the cause matters, not the number

Value = tuple[str, str]


class Violation(NamedTuple):
    """One broken invariant; told by ids, so that it may be logged."""

    invariant: str
    identity: int | None
    what: str


async def check(
    store: ScannableStore, on_page: Callable[[int], None] = lambda _: None
) -> list[Violation]:
    """Every broken invariant in the store, up to `MAX_VIOLATIONS`; none when it is sound.

    ``on_page`` is told the number of identities looked at, now and then.
    """
    violations: list[Violation] = []
    async with aclosing(store.scan()) as pages:
        async for page in pages:
            for identity in page:
                violations.extend(broken(identity))
            on_page(sum(identity.root_id is not None for identity in page))
            if len(violations) >= MAX_VIOLATIONS:
                break
    return violations[:MAX_VIOLATIONS]


def broken(identity: IdentityRecords) -> Iterator[Violation]:
    """What is wrong with all that is stored under one root."""
    root = identity.root_id
    if root is None and _is_what_erasures_leave(identity):
        return
    head = next((h for h in identity.heads if h.id == root), None)
    if head is None or head.root_id != root:
        ids = sorted(c.id for c in identity.contacts) or sorted(h.id for h in identity.heads)
        yield Violation("I3", root, f"leads to no live identity: {_some(ids)}")
        return
    live = [contact for contact in identity.contacts if contact.deleted_at is None]
    found: list[tuple[str, str]] = [
        *_primary(head, live),
        *_tenant(head, identity),
        *_identifiers(identity, live),
        *_events(identity),
        *_novelty(identity),
        *_connection(identity),
        *_numbers(head, identity, live),
    ]
    for invariant, what in found:
        yield Violation(invariant, root, what)


def _is_what_erasures_leave(identity: IdentityRecords) -> bool:
    """Of those who are gone as a whole."""
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
            yield "I4", "holds rows of two tenants"
            return


def _identifiers(identity: IdentityRecords, live: list[ContactRecord]) -> Iterator[tuple[str, str]]:
    carried = {value: contact.id for contact in live for value in _values(contact)}
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
    """Each contact created or adopted once, deleted once if it is, each merged identity ended
    once.
    """
    erased = _erased(identity)
    told = Counter(
        (event.kind, event.contact_id or event.merged_id)
        for event in identity.events
        if event.contact_id is None or event.contact_id not in erased
    )
    true: Counter[tuple[str, int | None]] = Counter()
    adopted = _adopted(identity)
    for contact in identity.contacts:
        true["contact.adopted" if contact.id in adopted else "contact.created", contact.id] += 1
        if contact.deleted_at is not None:
            true["contact.deleted", contact.id] += 1
    for head in identity.heads:
        if head.id != identity.root_id:
            true["identities.merged", head.id] += 1
    for kind, id_ in (told - true) | (true - told):
        yield "I8", f"events do not tell the truth: {kind} {id_}"


def _novelty(identity: IdentityRecords) -> Iterator[tuple[str, str]]:
    """Replay the events: each contact created must bring a value that no live one carried then."""
    contacts = {contact.id: contact for contact in identity.contacts}
    carriers: Counter[Value] = Counter()
    for event in identity.events:
        contact = contacts.get(event.contact_id or 0)
        if contact is None:
            continue
        if event.kind == "contact.created":
            if all(carriers[value] for value in _values(contact)):
                yield "I5", f"contact {contact.id} brought nothing new"
            carriers.update(_values(contact))
        elif event.kind == "contact.adopted":
            carriers.update(_values(contact))
        elif event.kind == "contact.deleted":
            carriers.subtract(_values(contact))


def _connection(identity: IdentityRecords) -> Iterator[tuple[str, str]]:
    """All contacts ever, and the observations that merged identities, must hang together."""
    if _erased(identity):
        return
    parent: dict[Value, Value] = {}

    def find(value: Value) -> Value:
        parent.setdefault(value, value)
        while parent[value] != value:
            parent[value] = value = parent[parent[value]]
        return value

    for one, other in _ties(identity):
        parent[find(one)] = find(other)
    groups: dict[Value, int] = {}
    for contact in identity.contacts:
        for value in _values(contact)[:1]:
            groups.setdefault(find(value), contact.id)
    if len(groups) > 1:
        yield "I7", f"nothing connects contacts {_some(sorted(groups.values()))}"


def _ties(identity: IdentityRecords) -> Iterator[tuple[Value, Value]]:
    """What was said in one breath, and what was adopted together."""
    for row in (*identity.contacts, *identity.events):
        yield from pairwise(_values(row))
    adopted = _adopted(identity)
    for contact in identity.contacts:
        if contact.id in adopted:
            for value in _values(contact)[:1]:
                yield value, ("adopted into", str(contact.identity_id))


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


def _values(row: ContactRecord | EventRecord) -> list[Value]:
    values: list[Value] = []
    if row.email is not None:
        values.append(("email", row.email))
    if row.phone is not None:
        values.append(("phone", row.phone))
    return values


def _some(ids: list[int], most: int = 10) -> str:
    shown = ", ".join(map(str, ids[:most]))
    return shown if len(ids) <= most else f"{shown} and {len(ids) - most} more"
