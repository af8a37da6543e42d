"""Whether requests, deletions among them, could have come one after the other: the search accepts
what is right and catches each way of being wrong.

Right histories come from carrying requests out one after the other, naively, and spreading their
times so that they overlap. Wrong ones are right ones, damaged.
"""

import random
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bitespeed.model.records import ContactRecord, EventRecord, IdentityRecords
from support.history_checker import Answer, Operation
from support.linearizability_checker import check

STEP = 1000  # nanoseconds between two requests

History = list[Operation]
Final = list[IdentityRecords]


class Shop:
    """The contract and deletions, as naively as can be."""

    def __init__(self) -> None:
        self.contacts: list[ContactRecord] = []
        self.person: dict[int, int] = {}  # of each live contact
        self.events: list[EventRecord] = []  # of pairs

    def live(self, person: int | None = None) -> list[ContactRecord]:
        return [
            c for c in self.contacts if c.id in self.person and person in (None, self.person[c.id])
        ]

    def identify(self, email: str | None, phone: str | None) -> Answer:
        values = {email, phone} - {None}
        known = {value: self.person[c.id] for c in self.live() for value in (c.email, c.phone)}
        persons = sorted({known[value] for value in values if value in known})
        if len(persons) == 2:
            self.person = {
                id_: persons[0] if person == persons[1] else person
                for id_, person in self.person.items()
            }
        elif not values <= known.keys():
            id_ = len(self.contacts) + 1
            self.contacts.append(
                ContactRecord(id_, "default", 0, email, phone, None, None, id_, id_, None)
            )
            self.person[id_] = persons[0] if persons else id_
            persons = [self.person[id_]]
        if email and phone and (email, phone) not in {(c.email, c.phone) for c in self.contacts}:
            self.events.append(
                EventRecord(
                    *(len(self.events) + 1, "default", 0, "pair.seen", persons[0], 0, None, None),
                    kind_of_value="email",
                    value=email,
                    kind_of_other="phone",
                    other=phone,
                )
            )
        members = self.live(persons[0])
        return Answer(
            members[0].id,
            tuple(dict.fromkeys(c.email for c in members if c.email)),
            tuple(dict.fromkeys(c.phone for c in members if c.phone)),
            tuple(c.id for c in members[1:]),
        )

    def delete(self, id_: int) -> int:
        return 404 if self.person.pop(id_, None) is None else 204

    def final(self) -> Final:
        """The deleted ones are among those that nobody is with any more, as are all pairs."""
        identities = {person: IdentityRecords(person) for person in [*self.person.values(), 0]}
        identities[0].events += self.events
        for contact in self.contacts:
            is_live = contact.id in self.person
            row = contact if is_live else contact._replace(deleted_at=10_000)
            identities[self.person.get(contact.id, 0)].contacts.append(row)
        return list(identities.values())


@cache
def overlapping(seed: int, spread: int = 4 * STEP, unknown: float = 0.1) -> tuple[History, Final]:
    """Requests that begin up to ``spread`` before, and end up to ``spread`` after, they are
    carried out; a share of them without an answer, and half of those not carried out.
    """
    rng = random.Random(seed)
    shop = Shop()
    history: History = []
    for turn in range(60):
        instant = (turn + 10) * STEP
        begin, end = instant - rng.randint(1, spread), instant + rng.randint(1, spread)
        is_known = rng.random() >= unknown
        is_done = is_known or rng.random() < 0.5
        if shop.contacts and rng.random() < 0.2:
            id_ = rng.choice(shop.contacts).id
            status = shop.delete(id_) if is_done else 0
            op = Operation(0, begin, end, None, None, None, status, deletes=id_)
        else:
            email, phone = f"e{rng.randrange(6)}@x", f"{rng.randrange(6)}"
            answer = shop.identify(email, phone) if is_done else None
            op = Operation(0, begin, end, email, phone, answer)
        history.append(op if is_known else op._replace(answer=None, status=0))
    rng.shuffle(history)
    return history, shop.final()


def serial(seed: int) -> tuple[History, Final]:
    """One request after the other."""
    return overlapping(seed, STEP // 3, 0)


seeds = st.integers(0, 2**32)


@given(seeds)
@settings(max_examples=100, deadline=None)
def test_sequential_requests_are_accepted(seed: int) -> None:
    assert check(*serial(seed)) == []


@given(seeds)
@settings(max_examples=200, deadline=None)
def test_overlapping_requests_with_a_serial_order_are_accepted(seed: int) -> None:
    assert check(*overlapping(seed)) == []


# Damage. Each takes a right history and makes it wrong, or returns None where it cannot.

Damaged = tuple[History, Final] | None


def put(history: History, old: Operation, **new: object) -> History:
    return [op._replace(**new) if op is old else op for op in history]


def answered(history: History) -> History:
    return [op for op in history if op.answer]


def pick(found: list, rng: random.Random):
    return rng.choice(found) if found else None


def drop_a_contact(history: History, final: Final, rng: random.Random) -> Damaged:
    op = pick([op for op in answered(history) if op.answer.secondary_ids], rng)
    if op is None:
        return None
    answer = op.answer._replace(secondary_ids=op.answer.secondary_ids[:-1])
    return put(history, op, answer=answer), final


def show_what_was_deleted(history: History, final: Final, rng: random.Random) -> Damaged:
    """An answer given to the same request before a deletion is given again after it."""
    found = [
        (late, early)
        for late in answered(history)
        for early in answered(history)
        for gone in history
        if gone.status == 204
        and early.end < gone.begin
        and gone.end < late.begin
        and gone.deletes in early.answer.ids()
        and early.values() == late.values()
    ]
    picked = pick(found, rng)
    return picked and (put(history, picked[0], answer=picked[1].answer), final)


def delete_twice(history: History, final: Final, rng: random.Random) -> Damaged:
    op = pick([op for op in history if op.status == 404], rng)
    return op and (put(history, op, status=204), final)


def deny_what_is_there(history: History, final: Final, rng: random.Random) -> Damaged:
    op = pick([op for op in history if op.status == 204], rng)
    return op and (put(history, op, status=404), final)


def keep_what_was_deleted(history: History, final: Final, rng: random.Random) -> Damaged:
    gone = pick([op.deletes for op in history if op.status == 204], rng)
    return gone and (
        history,
        [
            replace(
                i,
                contacts=[c._replace(deleted_at=None) if c.id == gone else c for c in i.contacts],
            )
            for i in final
        ],
    )


def lose_a_contact(history: History, final: Final, rng: random.Random) -> Damaged:
    answered_ids = {id_ for op in answered(history) for id_ in op.answer.ids()}
    gone = pick([c for i in final for c in i.contacts if c.id in answered_ids], rng)
    return gone and (
        history,
        [replace(i, contacts=[c for c in i.contacts if c is not gone]) for i in final],
    )


def add_a_contact(history: History, final: Final, rng: random.Random) -> Damaged:
    """A second one with the same values: a repeat that was not noticed."""
    identity = final[0]
    if not identity.contacts or identity.contacts[0].deleted_at is not None:
        return None
    double = identity.contacts[0]._replace(id=1000, created_at=1000)
    return history, [replace(identity, contacts=[*identity.contacts, double]), *final[1:]]


def split_a_person(history: History, final: Final, rng: random.Random) -> Damaged:
    identity = pick([i for i in final if i.root_id and len(i.contacts) > 1], rng)
    return identity and (
        history,
        [
            *(i for i in final if i is not identity),
            replace(identity, contacts=identity.contacts[1:]),
            IdentityRecords(999, contacts=identity.contacts[:1]),
        ],
    )


def drop_a_pair(history: History, final: Final, rng: random.Random) -> Damaged:
    """Two values that were acknowledged are no fact in the end."""
    acknowledged = {(op.email, op.phone) for op in answered(history)}
    acknowledged -= {(c.email, c.phone) for i in final for c in i.contacts}
    found = [e for i in final for e in i.events if (e.value, e.other) in acknowledged]
    gone = pick(found, rng)
    return gone and (
        history,
        [
            replace(
                i, events=[e for e in i.events if (e.value, e.other) != (gone.value, gone.other)]
            )
            for i in final
        ],
    )


@pytest.mark.parametrize(
    "damage",
    [
        drop_a_pair,
        drop_a_contact,
        show_what_was_deleted,
        delete_twice,
        deny_what_is_there,
        keep_what_was_deleted,
        lose_a_contact,
        add_a_contact,
        split_a_person,
    ],
    ids=lambda damage: damage.__name__,
)
def test_each_damage_is_caught(damage: Callable[..., Damaged]) -> None:
    """Not in each history: some other request may explain it, above all among those unknown."""
    tried = caught = 0
    for seed in range(40):
        damaged = damage(*serial(seed), random.Random(seed))
        if damaged is not None:
            tried += 1
            caught += bool(check(*damaged))
    assert caught == tried >= 10


def test_two_answers_without_a_serial_order_are_both_reported() -> None:
    """Somebody saw the contact after another had seen it deleted."""
    alone = Answer(1, ("a@x",), ("1",), ())
    both = Answer(1, ("a@x",), ("1", "2"), (2,))
    final = [
        IdentityRecords(
            1,
            contacts=[
                ContactRecord(1, "default", 1, "a@x", "1", None, None, 1, 1, None),
                ContactRecord(2, "default", 1, "a@x", "2", None, None, 2, 2, 9),
            ],
        )
    ]
    history = [
        Operation(0, 0, 1, "a@x", "1", alone),
        Operation(0, 2, 3, "a@x", "2", both),
        Operation(0, 4, 20, None, None, None, 204, deletes=2),
        Operation(1, 5, 6, "a@x", None, alone),
        Operation(1, 7, 8, "a@x", None, both),
    ]
    assert [violation.kind for violation in check(history, final)] == ["order"]
    assert check(history[:-1], final) == []
    assert check([*history[:-2], history[-1]], final) == []


def test_pair_of_an_erased_value_need_not_be_kept() -> None:
    alone = Answer(1, ("a@x",), ("1",), ())
    history = [
        Operation(0, 0, 1, "a@x", "1", alone),
        Operation(0, 2, 3, None, None, None, 200, erases="a@x"),
    ]
    contact = ContactRecord(1, "default", 1, "a@x", "1", None, None, 1, 1, None)
    assert check(history, [], [contact]) == []
    assert "unkept" in {violation.kind for violation in check(history, [])}
