"""Ages that observations bring along: who is the primary."""

import pytest

from bitespeed.model.changes import Event
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Contact, Identity, Snapshot
from bitespeed.rules.identify import absorb

STAMP = 7


def identity(id_, email, phone, at):
    return Identity(id_, 1, STAMP, id_, at, 1, [Contact(id_, at, email, phone)])


def snapshot(*identities):
    members = [(member, i.id) for i in identities for member in i.members]
    return Snapshot(
        {i.id: i for i in identities},
        {m.email: id_ for m, id_ in members},
        {m.phone: id_ for m, id_ in members},
    )


LORRAINE = identity(1, "lorraine@x", "1", at=100)
MARTY = identity(2, "marty@x", "2", at=200)


def take(known, *rows):
    """The changes of rows, each an email, a phone and a date."""
    observations = [observe(email, phone) for email, phone, _ in rows]
    return absorb(known, observations, dates=[at for *_, at in rows])


def live(changes):
    """The identity that all changes lead to: its id, its primary and the age of that."""
    (root,) = {change.root for change in changes.identities}
    (change,) = (change for change in changes.identities if change.id == root)
    return root, change.primary, change.primary_at


def test_contact_with_older_date_becomes_primary_of_stored_identity():
    changes = take(snapshot(LORRAINE), ("lorraine@x", "9", 50))
    assert live(changes) == (1, -1, 50)
    assert [contact.created_at for contact in changes.contacts] == [50]
    assert changes.events == [Event("contact.created", 1, 2, contact=-1, primary=None)]


@pytest.mark.parametrize("at", [100, 101, None])
def test_contact_that_is_not_older_becomes_a_secondary(at):
    changes = take(snapshot(LORRAINE), ("lorraine@x", "9", at))
    assert live(changes) == (1, 1, 100)
    assert changes.events == [Event("contact.created", 1, 2, contact=-1, primary=1)]


@pytest.mark.parametrize(
    ("dates", "primary"),
    [
        ((50, 40), -2),
        ((40, 50), -1),
        ((50, 50), -1),
        ((None, 50), -2),
        ((50, None), -1),
        ((None, None), -1),
    ],
)
def test_oldest_new_contact_is_the_primary(dates, primary):
    first, second = dates
    changes = take(snapshot(), ("a@x", "8", first), ("a@x", "9", second))
    assert live(changes)[1] == primary
    assert changes.events[1].primary == (None if primary == -2 else -1)


def test_contact_without_date_is_younger_than_all_beside_it():
    changes = take(snapshot(), ("a@x", "7", None), ("a@x", "8", 40), ("a@x", "9", 60))
    assert changes.contacts[0].not_before == 61
    assert live(changes) == (-1, -2, 40)


def test_repeat_with_an_older_date_changes_nothing():
    assert not take(snapshot(LORRAINE), ("lorraine@x", "1", 50), ("lorraine@x", None, 40))


@pytest.mark.parametrize(
    ("at", "expected"),
    [(50, (1, -1, 50)), (100, (1, 1, 100)), (150, (1, 1, 100)), (None, (1, 1, 100))],
)
def test_oldest_by_date_is_primary_after_a_merge(at, expected):
    changes = take(snapshot(LORRAINE), ("doc@x", "5", at), ("lorraine@x", "5", 300))
    assert live(changes) == expected
    merge = changes.events[-1]
    assert (merge.primary, merge.merged_primary) == (expected[1], 1 if expected[1] < 0 else -1)


@pytest.mark.parametrize("at", [50, 150, 250])
def test_row_between_two_identities_brings_no_age(at):
    changes = take(snapshot(LORRAINE, MARTY), ("marty@x", "1", at))
    assert changes.contacts == []
    assert live(changes)[1:] == (1, 100)


def test_primary_by_date_stays_primary_in_next_merge():
    rows = ("marty@x", "9", 50), ("marty@x", "1", 300)
    changes = take(snapshot(LORRAINE, MARTY), *rows)
    assert live(changes) == (2, -1, 50)
    assert (changes.events[-1].primary, changes.events[-1].merged_primary) == (-1, 1)
