"""What is stored against what its facts make of it: what is found, and what an erasure excuses."""

import random

from hypothesis import given
from hypothesis import strategies as st

from bitespeed.model.facts import Node
from bitespeed.model.records import ContactRecord, EventRecord, IdentityRecords
from bitespeed.rules.partition import parts_of
from bitespeed.rules.record_parts import StoredFact, faults_of_parts, replay

EMAILS = [Node("email", f"{letter}@x") for letter in "abcdef"]
PHONES = [Node("phone", digit) for digit in "123456"]
PAIRS = st.lists(st.tuples(st.sampled_from(EMAILS), st.sampled_from(PHONES)), max_size=12)


def contact(id_: int, email: str | None, phone: str | None, **others: object) -> ContactRecord:
    row = ContactRecord(id_, "default", 1, email, phone, None, None, id_, id_, None)
    return row._replace(**others)


def event(number: int, kind: str, contact_id: int | None = None, **others: object) -> EventRecord:
    return EventRecord(number, "default", number, kind, 1, number, contact_id, None)._replace(
        **others
    )


def pair(number: int, email: str | None, phone: str | None) -> EventRecord:
    kinds = {"kind_of_value": email and "email", "kind_of_other": phone and "phone"}
    return event(number, "pair.seen", value=email, other=phone, **kinds)


def faults(identity: IdentityRecords) -> list[str]:
    return [*faults_of_parts(identity, replay(identity))]


def created(*contacts: ContactRecord) -> IdentityRecords:
    events = [event(c.id, "contact.created", c.id) for c in contacts]
    return IdentityRecords(1, contacts=[*contacts], events=events)


def strangers(count: int) -> IdentityRecords:
    return created(*(contact(n, f"{n}@x", str(n)) for n in range(1, count + 1)))


@given(PAIRS, st.randoms(use_true_random=False))
def test_parts_are_the_same_in_any_order_of_arrival(pairs, rng: random.Random):
    facts = [StoredFact(number, nodes) for number, nodes in enumerate(pairs)]
    shuffled = rng.sample(facts, len(facts))
    one, other = parts_of(facts), parts_of(shuffled)
    nodes = EMAILS + PHONES
    assert [[one.of(n) == one.of(m) for m in nodes] for n in nodes] == [
        [other.of(n) == other.of(m) for m in nodes] for n in nodes
    ]


def test_value_alone_links_nothing():
    parts = parts_of([StoredFact(1, (EMAILS[0],)), StoredFact(2, (PHONES[0],))])
    assert parts.of(EMAILS[0]) != parts.of(PHONES[0])


def test_contact_that_brought_the_phone_alone_goes_with_it():
    first, second = contact(1, "a@x", "1"), contact(2, "a@x", "2", anchor="phone")
    assert faults(created(first, second)) == []
    by_email = created(first, second._replace(anchor=None))
    assert faults(by_email) == ["contact 2 goes with a value that it did not bring"]


def test_value_ends_with_the_event_that_freed_it():
    old = contact(1, "a@x", "1", deleted_at=2, email_until=2, phone_until=2)
    identity = created(old)
    identity.events.append(event(2, "contact.deleted", 1))
    assert faults(identity) == []
    identity.contacts[0] = old._replace(phone_until=None)
    assert faults(identity) == ["the phone of contact 1 ends with event None instead of 2"]
    identity.contacts[0] = old._replace(email_until=1)
    assert faults(identity) == ["the email of contact 1 ends with event 1 instead of 2"]


def test_value_that_comes_again_has_not_ended():
    old = contact(1, "a@x", "1", deleted_at=3, email_until=3)
    other, again = contact(2, "b@x", "1"), contact(4, "a@x", "1")
    identity = created(old, other, again)
    identity.events.insert(2, event(3, "contact.deleted", 1))
    assert faults(identity) == []
    identity.contacts[2] = again._replace(email_until=3)
    assert faults(identity) == ["the email of contact 4 ends with event 3 instead of None"]


def test_value_that_another_contact_has_does_not_end():
    first = contact(1, "a@x", "1", deleted_at=3, phone_until=3)
    second = contact(2, "a@x", "2", anchor="phone")
    identity = created(first, second)
    identity.events.append(event(3, "contact.deleted", 1))
    assert faults(identity) == []


def test_pair_of_strangers_is_found():
    identity = created(contact(1, "a@x", "1"))
    identity.events.append(pair(2, "b@x", "2"))
    assert faults(identity) == ["event 2 has the pair of another identity"]


def test_erasure_excuses_the_links_it_may_have_taken():
    assert faults(strangers(2)) == ["nothing connects contacts 1, 2"]
    three, four = strangers(3), strangers(4)
    for identity in (three, four):
        identity.events.append(event(9, "contact.erased", 8))
    assert faults(three) == []
    assert faults(four) == ["nothing connects contacts 1, 2, 3, 4"]
    four.events.append(pair(10, None, None))
    assert faults(four) == []


def test_pair_without_values_excuses_nothing_by_itself():
    identity = strangers(2)
    identity.events.append(pair(3, None, None))
    assert faults(identity) == ["nothing connects contacts 1, 2"]


def test_contacts_without_a_value_belong_to_their_adoption():
    identity = created(contact(1, None, None), contact(2, None, None))
    assert faults(identity) == ["nothing connects contacts 1, 2"]
    identity.events = [event(n, "contact.adopted", n) for n in (1, 2)]
    assert faults(identity) == []
    identity.events[1] = identity.events[1]._replace(identity_id=2)
    assert faults(identity) == ["nothing connects contacts 1, 2"]
