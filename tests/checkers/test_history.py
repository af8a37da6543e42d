"""The history checker accepts what is right and catches each way of being wrong.

Right histories come from a naive model of the contract. Wrong ones are right ones, damaged.
"""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bitespeed.model.records import ContactRecord, EventRecord, IdentityRecords
from support.history_checker import KINDS, Answer, Operation, check
from support.model_histories import STEP, Final, History, Model, overlapping, serial, with_pair

seeds = st.integers(0, 2**32)


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_sequential_requests_are_accepted(seed: int) -> None:
    assert check(*serial(seed)) == []


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_overlapping_requests_with_a_serial_order_are_accepted(seed: int) -> None:
    assert check(*overlapping(seed)) == []


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_requests_that_all_overlap_are_accepted(seed: int) -> None:
    assert check(*overlapping(seed, spread=1000 * STEP)) == []


def test_look_ups_connect_nothing() -> None:
    model = Model()
    known = model.identify("a@x", "1")
    history = [
        Operation(0, 1, 2, "a@x", "1", known),
        Operation(0, 3, 4, "a@x", "2", None, 404, is_look_up=True),
        Operation(0, 5, 6, "a@x", None, known, is_look_up=True),
    ]
    assert check(history, model.final()) == []
    looked = Operation(0, 3, 4, "a@x", "2", Answer(1, ("a@x",), ("1", "2"), ()), is_look_up=True)
    assert "future" in kinds([*history, looked])


# Damage. Each takes a right history and makes it wrong, or returns None where it cannot.

Damage = Callable[[History, Final, random.Random], tuple[History, Final] | None]


def kinds(history: History, final: Final | None = None) -> set[str]:
    found = {violation.kind for violation in check(history, final)}
    assert found <= KINDS.keys()
    return found


def put(history: History, old: Operation, new: Operation) -> History:
    return [new if op is old else op for op in history]


def without(answer: Answer, node: str | int) -> Answer:
    return Answer(
        answer.primary_id,
        *(tuple(n for n in part if n != node) for part in answer[1:]),
    )


def with_values(answer: Answer, *values: str) -> Answer:
    return answer._replace(emails=(*answer.emails, *(v for v in values if "@" in v)))


def acknowledged_before(history: History, op: Operation) -> set[str | int]:
    earlier = [o.answer.nodes() for o in history if o.answer and o.end < op.begin]
    return set().union(*earlier)


def pick_node(
    history: History, rng: random.Random, of: Callable[[Answer], tuple[str | int, ...]]
) -> tuple[Operation, str | int] | None:
    """An answer and one of its parts that was acknowledged earlier and was not sent."""
    found = [
        (op, node)
        for op in history
        if op.answer
        for node in of(op.answer)
        if node not in op.values() and node in acknowledged_before(history, op)
    ]
    return rng.choice(found) if found else None


def drop_a_value(history: History, final: Final, rng: random.Random):
    picked = pick_node(history, rng, lambda answer: answer.emails + answer.phones)
    if picked is None:
        return None
    op, node = picked
    return put(history, op, op._replace(answer=without(op.answer, node))), final


def drop_a_contact(history: History, final: Final, rng: random.Random):
    picked = pick_node(history, rng, lambda answer: answer.secondary_ids)
    if picked is None:
        return None
    op, node = picked
    return put(history, op, op._replace(answer=without(op.answer, node))), final


def answer_from_a_cache(history: History, final: Final, rng: random.Random):
    """A repeat is given the answer of the first time, though more was acknowledged since."""
    found = [
        (op, old)
        for op in history
        for old in history
        if op.answer
        and old.answer
        and old.values() == op.values()
        and any(
            old.answer.nodes() < o.answer.nodes() for o in history if o.answer and o.end < op.begin
        )
    ]
    if not found:
        return None
    op, old = rng.choice(found)
    return put(history, op, op._replace(answer=old.answer)), final


def show_the_future(history: History, final: Final, rng: random.Random):
    """An answer with a value whose first request began after the answer had arrived."""
    first: dict[str, int] = {}
    for op in sorted(history, key=lambda op: op.begin):
        for value in op.values():
            first.setdefault(value, op.begin)
    found = [
        (op, value)
        for op in history
        for value, begin in first.items()
        if op.answer and "@" in value and op.end < begin
    ]
    if not found:
        return None
    op, value = rng.choice(found)
    return put(history, op, op._replace(answer=with_values(op.answer, value))), final


def show_a_stranger(history: History, final: Final, rng: random.Random):
    """An answer with a known value of somebody else, subject nothing connects."""
    found = [
        (op, contact.email)
        for op in history
        for identity in final
        for contact in identity.contacts
        if op.answer and contact.email and identity.contacts[0].id != op.answer.primary_id
        if not {c.email for c in identity.contacts} & {*op.answer.emails}
        if not {c.phone for c in identity.contacts} & {*op.answer.phones}
    ]
    if not found:
        return None
    op, value = rng.choice(found)
    return put(history, op, op._replace(answer=with_values(op.answer, value))), final


def double_an_id(history: History, final: Final, rng: random.Random):
    op = rng.choice([op for op in history if op.answer])
    ids = (*op.answer.secondary_ids, op.answer.primary_id)
    return put(history, op, op._replace(answer=op.answer._replace(secondary_ids=ids))), final


def double_an_email(history: History, final: Final, rng: random.Random):
    op = rng.choice([op for op in history if op.answer and op.answer.emails])
    emails = (*op.answer.emails, op.answer.emails[0])
    return put(history, op, op._replace(answer=op.answer._replace(emails=emails))), final


def forget_a_value_sent(history: History, final: Final, rng: random.Random):
    op = rng.choice([op for op in history if op.answer])
    answer = without(op.answer, rng.choice(op.values()))
    return put(history, op, op._replace(answer=answer)), final


def swap_the_primary(history: History, final: Final, rng: random.Random):
    found = [op for op in history if op.answer and op.answer.secondary_ids]
    if not found:
        return None
    op = rng.choice(found)
    first, *rest = op.answer.secondary_ids
    answer = op.answer._replace(primary_id=first, secondary_ids=(op.answer.primary_id, *rest))
    return put(history, op, op._replace(answer=answer)), final


def put_values_out_of_order(history: History, final: Final, rng: random.Random):
    found = [op for op in history if op.answer and len(op.answer.phones) > 1]
    if not found:
        return None
    op = rng.choice(found)
    answer = op.answer._replace(phones=op.answer.phones[::-1])
    return put(history, op, op._replace(answer=answer)), final


def lose_a_contact(history: History, final: Final, rng: random.Random):
    """The last contact of an identity is not there in the end."""
    found = [i for i in final if len(i.contacts) > 1]
    if not found:
        return None
    identity = rng.choice(found)
    gone = identity.contacts[-1]
    if not any(gone.id in op.answer.nodes() for op in history if op.answer):
        return None
    return history, [replace(i, contacts=[c for c in i.contacts if c is not gone]) for i in final]


def lose_a_merge(history: History, final: Final, rng: random.Random):
    """Each contact is an identity of its own in the end."""
    if not any(op.answer and op.answer.secondary_ids for op in history):
        return None
    return history, [
        IdentityRecords(contact.id, contacts=[contact]) for i in final for contact in i.contacts
    ]


def world_of(identity: IdentityRecords) -> str:
    contact = identity.contacts[0]
    return contact.email[-1] if contact.email else contact.phone[0]


def weld_two_strangers(history: History, final: Final, rng: random.Random):
    """Of different worlds, so that no request without an answer may have joined them."""
    one, other = rng.sample(final, 2)
    if world_of(one) == world_of(other):
        return None
    welded = replace(
        one,
        contacts=sorted([*one.contacts, *other.contacts]),
        events=sorted([*one.events, *other.events]),
    )
    return history, [welded, *(i for i in final if i is not one and i is not other)]


def repeat_a_contact(history: History, final: Final, rng: random.Random):
    """A second contact with the same values."""
    identity = rng.choice(final)
    contact = rng.choice(identity.contacts)
    second = contact._replace(id=1000, created_at=1000)
    return history, [
        replace(i, contacts=[*i.contacts, second]) if i is identity else i for i in final
    ]


def close_a_ring(history: History, final: Final, rng: random.Random):
    """A contact at last whose values are known from two different contacts of its identity."""
    found = [
        (i, one.email, other.phone)
        for i in final
        for one in i.contacts
        for other in i.contacts
        if one.email and other.phone and one is not other
    ]
    if not found:
        return None
    identity, email, phone = rng.choice(found)
    return history, with_contact(final, identity, email, phone)


def invent_a_contact(history: History, final: Final, rng: random.Random):
    """A contact that no request explains, with its event."""
    identity = rng.choice(final)
    email = identity.contacts[0].email
    return history, with_contact(final, identity, email, "999")


def with_contact(
    final: Final, identity: IdentityRecords, email: str | None, phone: str | None
) -> Final:
    root = identity.root_id or 0
    contact = ContactRecord(1000, "default", root, email, phone, None, None, 1000, 1000, None)
    event = EventRecord(1000, "default", 0, "contact.created", root, 0, 1000, None)
    more = replace(
        identity, contacts=[*identity.contacts, contact], events=[*identity.events, event]
    )
    return [more if i is identity else i for i in final]


def pairs_seen(history: History, final: Final) -> list[tuple[IdentityRecords, EventRecord]]:
    """Those of requests that were acknowledged."""
    acknowledged = {(op.email, op.phone) for op in history if op.answer}
    return [
        (identity, event)
        for identity in final
        for event in identity.events
        if event.kind == "pair.seen" and (event.value, event.other) in acknowledged
    ]


def with_events(final: Final, identity: IdentityRecords, events: list[EventRecord]) -> Final:
    return [replace(i, events=events) if i is identity else i for i in final]


def drop_a_pair(history: History, final: Final, rng: random.Random):
    """Two values that were acknowledged are together in the end, but not as what was sent."""
    found = pairs_seen(history, final)
    if not found:
        return None
    identity, gone = rng.choice(found)
    rest = [event for event in identity.events if event is not gone]
    return history, with_events(final, identity, rest)


def repeat_a_pair(history: History, final: Final, rng: random.Random):
    """A pair that a contact or an event has is kept again."""
    identity = rng.choice(final)
    known = [(c.email, c.phone) for c in identity.contacts if c.email and c.phone]
    known += [(e.value, e.other) for e in identity.events if e.value]
    if not known:
        return None
    event = EventRecord(1000, "default", 0, "pair.seen", identity.root_id or 0, 0, None, None)
    event = with_pair(event, *rng.choice(known))
    return history, with_events(final, identity, [*identity.events, event])


def invent_a_pair(history: History, final: Final, rng: random.Random):
    """Two values of one identity that no request has had together."""
    sent = {(op.email, op.phone) for op in history}
    found = [
        (i, one.email, other.phone)
        for i in final
        for one in i.contacts
        for other in i.contacts
        if one.email and other.phone and (one.email, other.phone) not in sent
    ]
    if not found:
        return None
    identity, email, phone = rng.choice(found)
    event = EventRecord(1000, "default", 0, "pair.seen", identity.root_id or 0, 0, None, None)
    event = with_pair(event, email, phone)
    return history, with_events(final, identity, [*identity.events, event])


def keep_a_pair_late(history: History, final: Final, rng: random.Random):
    """A pair is kept after an event whose request began when the pair had been acknowledged."""
    first_begin: dict[tuple[str | None, str | None], int] = {}
    for op in sorted(history, key=lambda op: -op.begin):
        first_begin[op.email, op.phone] = op.begin
    ends = {
        (op.email, op.phone): op.end for op in sorted(history, key=lambda op: -op.end) if op.answer
    }
    found = []
    for identity, event in pairs_seen(history, final):
        contacts = {c.id: (c.email, c.phone) for c in identity.contacts}
        last = identity.events[-1]
        begin = first_begin[contacts.get(last.contact_id or 0, (last.value, last.other))]
        if ends[event.value, event.other] < begin:
            found.append((identity, event))
    if not found:
        return None
    identity, event = rng.choice(found)
    rest = [e for e in identity.events if e is not event]
    late = event._replace(identity_id=rest[-1].identity_id)
    return history, with_events(final, identity, [*rest, late])


DAMAGES: list[tuple[Damage, str]] = [
    (drop_a_value, "stale"),
    (drop_a_contact, "stale"),
    (answer_from_a_cache, "stale"),
    (show_the_future, "future"),
    (show_a_stranger, "future"),
    (double_an_id, "shape"),
    (double_an_email, "shape"),
    (forget_a_value_sent, "shape"),
    (swap_the_primary, "shape"),
    (put_values_out_of_order, "shape"),
    (lose_a_contact, "lost"),
    (lose_a_merge, "lost"),
    (weld_two_strangers, "welded"),
    (repeat_a_contact, "repeat"),
    (close_a_ring, "repeat"),
    (invent_a_contact, "invented"),
    (drop_a_pair, "unkept"),
    (repeat_a_pair, "repeat"),
    (invent_a_pair, "invented"),
    (keep_a_pair_late, "order"),
]


@pytest.mark.parametrize(("damage", "kind"), DAMAGES, ids=lambda p: getattr(p, "__name__", p))
@pytest.mark.parametrize("make", [serial, overlapping], ids=["serial", "overlapping"])
def test_each_damage_is_caught_wherever_it_is_done(damage: Damage, kind: str, make) -> None:
    caught = 0
    for seed in range(30):
        damaged = damage(*make(seed), random.Random(seed))
        if damaged is not None:
            assert kind in kinds(*damaged), f"seed {seed}"
            caught += 1
    assert caught >= 10


# Histories written out, for what only a certain order in time gives away


def request(begin: int, end: int, email: str, phone: str, answer: Answer | None) -> Operation:
    return Operation(0, begin, end, email, phone, answer)


def test_two_halves_of_one_merge_are_torn() -> None:
    """Each of two simultaneous answers shows one part of what the other one lacks."""
    left = request(0, 100, "a@x", "1", Answer(1, ("a@x",), ("1", "2"), (2,)))
    right = request(0, 100, "a@x", "3", Answer(1, ("a@x",), ("1", "3"), (3,)))
    both = request(0, 100, "a@x", "2", None)
    (violation,) = check([left, right, both])
    assert violation.kind == "torn"
    assert set(violation.operations) == {left, right}


def test_stale_answer_is_reported_with_the_answer_it_missed() -> None:
    seen = request(0, 10, "a@x", "2", Answer(1, ("a@x",), ("1", "2"), (2,)))
    stale = request(11, 20, "a@x", "1", Answer(1, ("a@x",), ("1",), ()))
    first = request(0, 5, "a@x", "1", None)
    (violation,) = check([first, seen, stale])
    assert (violation.kind, violation.operations) == ("stale", (stale, seen))


def test_answer_may_lack_what_was_acknowledged_after_it_began() -> None:
    seen = request(0, 10, "a@x", "2", Answer(1, ("a@x",), ("1", "2"), (2,)))
    late = request(10, 20, "a@x", "1", Answer(1, ("a@x",), ("1",), ()))
    first = request(0, 5, "a@x", "1", None)
    assert check([first, seen, late]) == []


def test_answer_from_the_future_is_reported_with_its_request() -> None:
    early = request(0, 10, "a@x", "1", Answer(1, ("a@x",), ("1", "2"), (2,)))
    later = request(11, 20, "a@x", "2", Answer(1, ("a@x",), ("1", "2"), (2,)))
    (violation,) = check([early, later])
    assert (violation.kind, violation.operations) == ("future", (early, later))


def test_write_seen_before_its_predecessor_is_out_of_order() -> None:
    """What no pair of answers gives away: phone 2 came before phone 3, says the store. Somebody
    saw the identity with it until 20 and without 3, and somebody else, who was gone at 10, saw 3.
    """
    model = Model()
    model.identify("a@x", "1")
    small = model.identify("a@x", "1")
    model.identify("a@x", "2")
    middle = model.identify("a@x", "1")
    large = model.identify("a@x", "3")
    history = [
        request(0, 1, "a@x", "1", small),
        request(2, 40, "a@x", "2", None),
        request(2, 40, "a@x", "3", None),
        request(20, 30, "a@x", "1", small),
        request(3, 40, "a@x", "1", middle),
        request(4, 10, "a@x", "1", large),
    ]
    assert "order" in kinds(history, model.final())
    without_the_early_one = history[:-1]
    assert check(without_the_early_one, model.final()) == []


def test_identity_that_never_existed_is_out_of_order() -> None:
    """Both links are there in the end, and all overlap, but the store made them the other way."""
    model = Model()
    model.identify("a@x", "1")
    model.identify("a@x", "2")
    large = model.identify("a@x", "3")
    never = Answer(1, ("a@x",), ("1", "3"), (3,))
    history = [
        request(0, 100, "a@x", "1", None),
        request(0, 100, "a@x", "2", large),
        request(0, 100, "a@x", "3", never),
    ]
    assert kinds(history, model.final()) == {"order"}


def test_request_of_unknown_outcome_may_be_stored_or_not() -> None:
    done, undone = Model(), Model()
    for model in (done, undone):
        model.identify("a@x", "1")
        known = model.identify("b@x", "2")
    done.identify("a@x", "2")
    history = [
        request(0, 1, "a@x", "1", Answer(1, ("a@x",), ("1",), ())),
        request(2, 3, "b@x", "2", known),
        request(4, 5, "a@x", "2", None),
    ]
    assert check(history, done.final()) == check(history, undone.final()) == []
    assert kinds(history[:2], done.final()) == {"welded", "invented"}
    acknowledged = [*history[:2], request(4, 5, "a@x", "2", done.answer(1))]
    assert kinds(acknowledged, undone.final()) >= {"lost"}
