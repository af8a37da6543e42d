"""The rule on hand-made snapshots: what it decides, and what each observation is answered."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitespeed.errors import NotFound
from bitespeed.model.changes import Committed, Event, NewContact, Pair
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer, Contact, Identity, Snapshot
from bitespeed.model.sources import Source
from bitespeed.rules.delete import delete
from bitespeed.rules.identify import absorb, identify, may_confirm
from bitespeed.rules.look_up import answer_for_contact, look_up

NOW = 1_000_000
FIRST_NEW_ID = 101


def contact(id_, email=None, phone=None, at=None):
    return Contact(id_, id_ * 10 if at is None else at, email, phone)


def identity(*members, id_=None, version=1):
    primary = min(members, key=lambda c: (c.created_at, c.id))
    id_ = primary.id if id_ is None else id_
    return Identity(
        id_, version, stamp(id_), primary.id, primary.created_at, len(members), list(members)
    )


def stamp(id_):
    return 1000 + id_


def snapshot(*identities):
    held = [(c, i.id) for i in identities for c in i.members]
    return Snapshot(
        {i.id: i for i in identities},
        {c.email: id_ for c, id_ in held if c.email},
        {c.phone: id_ for c, id_ in held if c.phone},
    )


def answers(changes, replies):
    """As they are sent once a store has committed the changes."""
    ids = list(range(FIRST_NEW_ID, FIRST_NEW_ID + len(changes.contacts)))
    committed = Committed(ids, [max(NOW, c.not_before) for c in changes.contacts])
    return [reply.answer(committed) for reply in replies]


def decide(known, *sent):
    changes, replies = identify(known, [observe(*one) for one in sent])
    return changes, answers(changes, replies)


def by_id(changes):
    assert len({change.id for change in changes.identities}) == len(changes.identities)
    return {change.id: change for change in changes.identities}


def primary_in(changes):
    """The primary of the one identity that all changes lead to."""
    changed = by_id(changes)
    (root,) = {change.root for change in changed.values()}
    return changed[root].primary


NOBODY = snapshot()
LORRAINE = identity(contact(1, "lorraine@x", "123"))
GEORGE = identity(contact(11, "george@x", "919"))
BIFF = identity(contact(27, "biff@x", "717"))
DOC = identity(contact(30, "doc@x", "555"))


def test_a_stranger_founds_an_identity():
    changes, (answer,) = decide(NOBODY, ("a@x", "1"))
    assert answer == Answer(101, ["a@x"], ["1"], [])
    assert changes.contacts == [NewContact(-1, "a@x", "1", None, None, True, True, 0)]
    (created,) = changes.identities
    assert (created.id, created.root, created.primary, created.contacts) == (-1, -1, -1, 1)
    assert (created.stamp, created.primary_at) == (0, None)
    assert changes.events == [Event("contact.created", -1, 1, contact=-1)]


@pytest.mark.parametrize(("email", "phone"), [("a@x", None), (None, "1")])
def test_half_an_observation_founds_an_identity_too(email, phone):
    _, (answer,) = decide(NOBODY, (email, phone))
    assert answer == Answer(101, [email] if email else [], [phone] if phone else [], [])


def test_new_email_with_known_phone_becomes_a_secondary():
    changes, (answer,) = decide(snapshot(LORRAINE), ("mcfly@x", "123"))
    assert answer == Answer(1, ["lorraine@x", "mcfly@x"], ["123"], [101])
    assert changes.contacts == [NewContact(1, "mcfly@x", "123", None, None, True, False, 10)]
    (change,) = changes.identities
    assert (change.id, change.root, change.primary, change.primary_at) == (1, 1, 1, 10)
    assert (change.contacts, change.stamp) == (2, stamp(change.id))
    assert changes.events == [Event("contact.created", 1, 2, contact=-1, primary=1)]


def test_new_phone_with_known_email_becomes_a_secondary():
    changes, (answer,) = decide(snapshot(LORRAINE), ("lorraine@x", "456"))
    assert answer == Answer(1, ["lorraine@x"], ["123", "456"], [101])
    assert changes.contacts == [NewContact(1, "lorraine@x", "456", None, None, False, True, 10)]


def test_spelling_sent_is_kept_with_the_contact():
    changes, _ = decide(NOBODY, (" A@x", "1-2"))
    assert changes.contacts == [NewContact(-1, "a@x", "12", " A@x", "1-2", True, True, 0)]


TWO_CONTACTS = identity(contact(1, "a@x", "1"), contact(2, "b@x", "2"))
A2 = ("email", "a@x", "phone", "2")
B1 = ("email", "b@x", "phone", "1")


@pytest.mark.parametrize("sent", [("a@x", "1"), ("a@x", None), (None, "2"), ("B@x", " 2 ")])
def test_nothing_new_writes_nothing(sent):
    changes, (answer,) = decide(snapshot(TWO_CONTACTS), sent)
    assert not changes
    assert (changes.contacts, changes.identities, changes.events) == ([], [], [])
    assert answer == Answer(1, ["a@x", "b@x"], ["1", "2"], [2])


def test_values_never_seen_together_are_kept_once():
    known = snapshot(msgspec.structs.replace(TWO_CONTACTS, pairs=[A2]))
    sent = [("a@x", "2"), ("B@x", "1"), ("b@x", "1"), ("a@x", "1")]
    changes, answers = decide(known, *sent)
    assert answers == [Answer(1, ["a@x", "b@x"], ["1", "2"], [2])] * 4
    assert changes.contacts == []
    (change,) = changes.identities
    assert (change.root, change.primary, change.contacts, change.stamp) == (1, 1, 2, stamp(1))
    assert changes.events == [
        Event("pair.seen", 1, 2, primary=1, pair=Pair(*B1, raw_value="B@x")),
    ]


def test_answer_to_a_new_pair_waits_for_commit():
    _, (reply,) = identify(snapshot(TWO_CONTACTS), [observe("a@x", "2")])
    assert reply.needs_commit


def test_pairs_of_a_batch_are_seen_later():
    sent = [("n@x", "8"), ("n@x", "9"), ("m@x", "8"), ("m@x", "9"), ("m@x", "9"), ("n@x", "8")]
    changes, _ = decide(NOBODY, *sent)
    kinds = [event.kind for event in changes.events]
    assert kinds == ["contact.created"] * 3 + ["pair.seen"]


def test_a_merge_is_the_pair_that_joined_the_two():
    changes, _ = decide(snapshot(GEORGE, BIFF), ("george@x", "717"), ("george@x", "717"))
    assert [event.kind for event in changes.events] == ["identities.merged"]


def test_the_source_of_each_observation_is_in_its_events():
    sources = [Source("k1", "r1"), Source("k2", "r2", "shop"), Source("k3", "r3")]
    observations = [observe(*sent) for sent in (("a@x", "1"), ("new@x", "7"), ("a@x", "2"))]
    changes, _ = identify(snapshot(TWO_CONTACTS), observations, sources)
    named = [(e.kind, e.source, e.request, e.label) for e in changes.events]
    assert named == [
        ("contact.created", "k2", "r2", "shop"),
        ("pair.seen", "k3", "r3", None),
    ]


def test_known_email_and_phone_merge_without_new_contact():
    changes, (answer,) = decide(snapshot(GEORGE, BIFF), ("george@x", "717"))
    assert answer == Answer(11, ["george@x", "biff@x"], ["919", "717"], [27])
    assert changes.contacts == []
    merged = by_id(changes)
    assert (merged[11].root, merged[11].primary, merged[11].contacts) == (11, 11, 2)
    assert (merged[27].root, merged[27].stamp) == (11, stamp(27))
    pair = Pair("email", "george@x", "phone", "717")
    parts = {"merged_primary": 27, "sizes": (1, 1)}
    joined = Event("identities.merged", 11, 2, merged=27, primary=11, pair=pair, **parts)
    assert changes.events == [joined]


@pytest.mark.parametrize("sent", [("george@x", "717"), ("biff@x", "919")])
def test_the_older_primary_wins_whichever_value_names_it(sent):
    changes, (answer,) = decide(snapshot(GEORGE, BIFF), sent)
    assert answer.primary_id == primary_in(changes) == 11


def test_older_primary_of_smaller_identity_wins():
    large = identity(*[contact(n, f"biff{n}@x", "717") for n in (27, 28, 29)])
    changes, (answer,) = decide(snapshot(GEORGE, large), ("george@x", "717"))
    assert answer == Answer(
        11, ["george@x", "biff27@x", "biff28@x", "biff29@x"], ["919", "717"], [27, 28, 29]
    )
    merged = by_id(changes)
    assert (merged[27].root, merged[27].primary, merged[27].primary_at) == (27, 11, 110)
    assert merged[27].contacts == 4
    assert merged[11].root == 27


@pytest.mark.parametrize("sent", [("a@x", "2"), ("b@x", "1")])
def test_lower_id_is_older_when_ages_are_equal(sent):
    one = identity(contact(5, "a@x", "1", at=70))
    other = identity(contact(4, "b@x", "2", at=70))
    changes, (answer,) = decide(snapshot(one, other), sent)
    assert answer == Answer(4, ["b@x", "a@x"], ["2", "1"], [5])
    assert primary_in(changes) == 4


@pytest.mark.parametrize("sent", [("a@x", "2"), ("b@x", "1")])
def test_the_age_decides_before_the_id(sent):
    one = identity(contact(5, "a@x", "1", at=70))
    other = identity(contact(4, "b@x", "2", at=80))
    changes, (answer,) = decide(snapshot(one, other), sent)
    assert answer == Answer(5, ["a@x", "b@x"], ["1", "2"], [4])
    assert primary_in(changes) == 5


def test_reply_has_primary_first_then_order_of_age():
    person = identity(
        contact(9, "c@x", "3", at=30),
        contact(7, "b@x", "1", at=20),
        contact(8, "a@x", "2", at=20),
        contact(10, "z@x", "9", at=10),
    )
    _, (answer,) = decide(snapshot(person), ("a@x", None))
    assert answer == Answer(10, ["z@x", "b@x", "a@x", "c@x"], ["9", "1", "2", "3"], [7, 8, 9])


def test_a_reply_names_each_value_once():
    person = identity(contact(1, "a@x", "1"), contact(2, "a@x", "2"), contact(3, "b@x", "1"))
    _, (answer,) = decide(snapshot(person), ("b@x", None))
    assert answer == Answer(1, ["a@x", "b@x"], ["1", "2"], [2, 3])


def test_a_contact_without_a_value_adds_none():
    person = identity(contact(1, None, "1"), contact(2, "a@x", "1"), contact(3, "a@x", None))
    _, (answer,) = decide(snapshot(person), ("a@x", None))
    assert answer == Answer(1, ["a@x"], ["1"], [2, 3])


def test_three_identities_joined_by_two_observations():
    changes, (first, second) = decide(
        snapshot(LORRAINE, GEORGE, BIFF), ("biff@x", "919"), ("george@x", "123")
    )
    assert first == Answer(11, ["george@x", "biff@x"], ["919", "717"], [27])
    assert second == Answer(
        1, ["lorraine@x", "george@x", "biff@x"], ["123", "919", "717"], [11, 27]
    )
    merged = by_id(changes)
    roots = {change.root for change in merged.values()}
    assert len(merged) == 3
    assert len(roots) == 1
    (root,) = roots
    assert (merged[root].primary, merged[root].primary_at, merged[root].contacts) == (1, 10, 3)


def test_two_pairs_merge_in_one_batch():
    changes, _ = decide(
        snapshot(LORRAINE, GEORGE, BIFF, DOC), ("lorraine@x", "919"), ("doc@x", "717")
    )
    merged = by_id(changes)
    assert {merged[1].root, merged[11].root} <= {1, 11}
    assert merged[1].root == merged[11].root
    assert merged[27].root == merged[30].root
    assert merged[1].root != merged[27].root


def test_merged_pairs_merge_in_the_same_batch():
    changes, replies = decide(
        snapshot(LORRAINE, GEORGE, BIFF, DOC),
        ("george@x", "555"),
        ("biff@x", "123"),
        ("doc@x", "717"),
        ("george@x", "717"),
    )
    assert [answer.primary_id for answer in replies] == [11, 1, 1, 1]
    merged = by_id(changes)
    (root,) = {change.root for change in merged.values()}
    assert (len(merged), merged[root].contacts, merged[root].primary) == (4, 4, 1)
    assert [event.kind for event in changes.events] == ["identities.merged"] * 3 + ["pair.seen"]


def test_identity_is_created_and_merged_in_one_batch():
    changes, (born, merged) = decide(snapshot(LORRAINE), ("new@x", "7"), ("new@x", "123"))
    assert born == Answer(101, ["new@x"], ["7"], [])
    assert merged == Answer(1, ["lorraine@x", "new@x"], ["123", "7"], [101])
    ended = by_id(changes)
    assert (ended[-1].root, ended[-1].stamp, ended[1].contacts) == (1, 0, 2)
    (new,) = changes.contacts
    assert new.identity == -1


def test_stored_identity_stays_primary_over_larger_new_one():
    changes, (*_, last) = decide(
        snapshot(LORRAINE), ("a@x", "7"), ("b@x", "7"), ("c@x", "7"), ("a@x", "123")
    )
    assert last == Answer(1, ["lorraine@x", "a@x", "b@x", "c@x"], ["123", "7"], [101, 102, 103])
    assert by_id(changes)[-1].root == 1


def test_earlier_of_two_new_identities_stays_primary():
    changes, (*_, last) = decide(
        NOBODY, ("a@x", "1"), ("b@x", "2"), ("b@x", "3"), ("c@x", "2"), ("b@x", "1")
    )
    assert last == Answer(101, ["a@x", "b@x", "c@x"], ["1", "2", "3"], [102, 103, 104])
    ended = by_id(changes)
    assert (ended[-1].root, ended[-2].root, ended[-2].primary) == (-2, -2, -1)


def test_new_identity_joins_two_stored_ones():
    changes, (*_, last) = decide(
        snapshot(GEORGE, BIFF), ("new@x", "7"), ("new@x", "717"), ("george@x", "7")
    )
    assert last == Answer(11, ["george@x", "biff@x", "new@x"], ["919", "717", "7"], [27, 101])
    (root,) = {change.root for change in changes.identities}
    assert root > 0
    assert by_id(changes)[root].contacts == 3


def test_repeats_in_one_batch_add_nothing():
    once = ("a@x", "1")
    changes, replies = decide(NOBODY, once, once, ("a@x", None), (None, "1"), once)
    assert len(changes.contacts) == 1
    assert replies == [Answer(101, ["a@x"], ["1"], [])] * 5


def test_a_merge_repeated_in_one_batch_happens_once():
    changes, replies = decide(
        snapshot(GEORGE, BIFF), ("george@x", "717"), ("biff@x", "919"), ("george@x", "717")
    )
    assert [event.kind for event in changes.events] == ["identities.merged", "pair.seen"]
    assert replies[0] == replies[1] == replies[2]


def test_pairs_of_merged_identities_stay_known():
    couple = identity(contact(11, "george@x", "919"), contact(12, "biff@x", "717"))
    couple = msgspec.structs.replace(couple, pairs=[("email", "biff@x", "phone", "919")])
    crowd = identity(*(contact(n, f"crowd{n}@x", "7") for n in range(30, 34)))
    changes, _ = decide(snapshot(couple, crowd), ("george@x", "7"), ("biff@x", "919"))
    assert by_id(changes)[11].root == 30
    assert [event.kind for event in changes.events] == ["identities.merged"]


def test_value_is_known_to_later_observations_of_batch():
    changes, (_, second, third) = decide(
        snapshot(LORRAINE), ("new@x", "123"), ("new@x", "7"), ("x@x", "7")
    )
    assert second == Answer(1, ["lorraine@x", "new@x"], ["123", "7"], [101, 102])
    assert third == Answer(1, ["lorraine@x", "new@x", "x@x"], ["123", "7"], [101, 102, 103])
    assert [(c.new_email, c.new_phone) for c in changes.contacts] == [
        (True, False),
        (False, True),
        (True, False),
    ]


def test_value_of_merged_identity_belongs_to_the_survivor():
    changes, (_, linked) = decide(
        snapshot(LORRAINE, GEORGE), ("lorraine@x", "919"), ("george@x", "7")
    )
    assert linked == Answer(1, ["lorraine@x", "george@x"], ["123", "919", "7"], [11, 101])
    (new,) = changes.contacts
    survivor = by_id(changes)[1].root
    assert new.identity == survivor


def test_reply_shows_nothing_of_later_observations_of_batch():
    _, replies = decide(
        snapshot(LORRAINE, GEORGE),
        ("lorraine@x", None),
        ("lorraine@x", "7"),
        ("lorraine@x", "7"),
        ("george@x", "123"),
        ("new@x", "7"),
    )
    assert replies == [
        Answer(1, ["lorraine@x"], ["123"], []),
        Answer(1, ["lorraine@x"], ["123", "7"], [101]),
        Answer(1, ["lorraine@x"], ["123", "7"], [101]),
        Answer(1, ["lorraine@x", "george@x"], ["123", "919", "7"], [11, 101]),
        Answer(1, ["lorraine@x", "george@x", "new@x"], ["123", "919", "7"], [11, 101, 102]),
    ]


def test_reply_stays_unchanged_when_its_identity_ends_later():
    _, (before, after) = decide(snapshot(LORRAINE, GEORGE), ("george@x", "7"), ("lorraine@x", "7"))
    assert before == Answer(11, ["george@x"], ["919", "7"], [101])
    assert after == Answer(1, ["lorraine@x", "george@x"], ["123", "919", "7"], [11, 101])


def test_reply_needs_commit_unless_it_shows_only_the_snapshot():
    known = snapshot(LORRAINE, GEORGE, BIFF)
    sent = [
        ("lorraine@x", "123"),  # a repeat
        ("new@x", "5"),  # a stranger
        ("new@x", "5"),  # a repeat of the stranger
        ("lorraine@x", "7"),  # attaches a contact
        ("lorraine@x", None),  # a repeat after that
        ("george@x", "717"),  # a merge
        ("biff@x", None),  # a repeat of one that was merged
    ]
    changes, replies = identify(known, [observe(*one) for one in sent])
    needing = [reply.needs_commit for reply in replies]
    assert needing == [False, True, True, True, True, True, True]
    assert replies[0].answer() == Answer(1, ["lorraine@x"], ["123"], [])
    assert changes


def test_repeat_needs_no_commit_beside_an_attached_contact():
    sent = [("lorraine@x", "7"), ("george@x", "919")]
    _, replies = identify(snapshot(LORRAINE, GEORGE), [observe(*one) for one in sent])
    assert [reply.needs_commit for reply in replies] == [True, False]


def test_no_observations_change_nothing():
    changes, replies = identify(snapshot(LORRAINE), [])
    assert not changes
    assert replies == []


def test_a_snapshot_is_not_changed_by_deciding():
    person = identity(contact(1, "a@x", "1"))
    other = identity(contact(2, "b@x", "2"))
    decide(snapshot(person, other), ("a@x", "3"), ("a@x", "2"), ("b@x", "4"))
    assert person == identity(contact(1, "a@x", "1"))
    assert other == identity(contact(2, "b@x", "2"))


def test_event_carries_next_version_of_its_identity():
    known = snapshot(identity(contact(1, "a@x", "1"), version=7), GEORGE)
    changes, _ = decide(known, ("a@x", "2"), ("a@x", "3"), ("george@x", "4"), ("new@x", None))
    assert [(e.identity, e.version) for e in changes.events] == [(1, 8), (1, 8), (11, 2), (-4, 1)]


def test_new_contact_is_never_older_than_its_primary():
    changes, _ = decide(snapshot(BIFF), ("biff@x", "1"), ("new@x", "2"), ("new@x", "717"))
    assert [c.not_before for c in changes.contacts] == [270, 270]


def test_new_contact_is_never_older_than_primary_in_reply():
    changes, _ = decide(snapshot(LORRAINE, BIFF), ("biff@x", "7"), ("lorraine@x", "7"))
    (new,) = changes.contacts
    assert new.not_before >= BIFF.primary_at


PEOPLE = [
    identity(contact(2, "a@x", "1"), contact(5, "b@x", None)),
    identity(contact(3, "c@x", "2", at=10)),
    identity(contact(4, None, "3"), contact(9, "d@x", "3"), contact(6, "e@x", "4"), version=5),
    identity(contact(7, "f@x", None, at=10), id_=8, version=2),
]
OBSERVATIONS = st.builds(
    observe,
    st.sampled_from([f"{letter}@x" for letter in "abcdefghij"]),
    st.sampled_from([None, *"1234567"]),
) | st.builds(observe, st.none(), st.sampled_from("1234567"))
BATCHES = st.lists(OBSERVATIONS, max_size=12)


def with_few_members(known, batch):
    """The snapshot with the members that `absorb` needs, and no others."""
    needed = {known.emails[o.email] for o in may_confirm(known, batch)}
    bare = [
        i
        if i.id in needed
        else Identity(i.id, i.version, i.stamp, i.primary_id, i.primary_at, i.contacts)
        for i in PEOPLE
    ]
    return Snapshot({i.id: i for i in bare}, known.emails, known.phones)


@given(BATCHES)
def test_absorbing_changes_the_same_as_identifying(batch):
    known = snapshot(*PEOPLE)
    changes, _ = identify(known, batch)
    assert absorb(known, batch) == changes
    assert absorb(with_few_members(known, batch), batch) == changes


@given(BATCHES)
def test_every_change_leads_straight_to_a_live_identity(batch):
    changes = absorb(snapshot(*PEOPLE), batch)
    changed = by_id(changes)
    for change in changed.values():
        root = changed[change.root]
        assert root.root == root.id
        assert root.id > 0 or change.id < 0


@given(BATCHES)
def test_contacts_are_neither_lost_nor_counted_twice(batch):
    changes = absorb(snapshot(*PEOPLE), batch)
    untouched = {p.id for p in PEOPLE} - {c.id for c in changes.identities}
    counted = sum(c.contacts for c in changes.identities if c.root == c.id)
    counted += sum(p.contacts for p in PEOPLE if p.id in untouched)
    assert counted == sum(p.contacts for p in PEOPLE) + len(changes.contacts)


@given(BATCHES)
def test_every_new_contact_brings_a_new_value(batch):
    known = snapshot(*PEOPLE)
    changes = absorb(known, batch)
    held = {*known.emails, *known.phones}
    for new in changes.contacts:
        brought = {
            v for v, is_new in ((new.email, new.new_email), (new.phone, new.new_phone)) if is_new
        }
        assert brought
        assert not brought & held
        held |= brought
    assert held >= {v for o in batch for v in (o.email, o.phone) if v}


def test_deleted_secondary_frees_the_values_only_it_carries():
    person = identity(contact(1, "a@x", "1"), contact(2, "b@x", "1"), version=4)
    changes = delete(snapshot(person), 2)
    assert (changes.deleted, changes.freed_emails, changes.freed_phones) == ([2], ["b@x"], [])
    (change,) = changes.identities
    assert (change.id, change.root, change.primary, change.primary_at) == (1, 1, 1, 10)
    assert (change.contacts, change.stamp) == (1, stamp(change.id))
    assert changes.events == [Event("contact.deleted", 1, 5, contact=2, primary=1)]
    assert changes.contacts == []


def test_the_next_oldest_contact_succeeds_a_deleted_primary():
    person = identity(
        contact(1, "a@x", "1"), contact(4, "c@x", "1", at=30), contact(3, "a@x", "3", at=30)
    )
    changes = delete(snapshot(person), 1)
    (change,) = changes.identities
    assert (change.id, change.primary, change.primary_at, change.contacts) == (1, 3, 30, 2)
    assert (changes.freed_emails, changes.freed_phones) == ([], [])


def test_identity_without_contacts_has_no_primary():
    changes = delete(snapshot(LORRAINE), 1)
    (change,) = changes.identities
    assert (change.primary, change.primary_at, change.contacts) == (None, None, 0)
    assert (changes.freed_emails, changes.freed_phones) == (["lorraine@x"], ["123"])


def test_deleting_a_contact_that_is_not_there_is_refused():
    with pytest.raises(NotFound, match="There is no contact with this id"):
        delete(snapshot(LORRAINE), 2)
    with pytest.raises(NotFound):
        delete(NOBODY, 1)


@pytest.mark.parametrize(
    ("email", "phone"), [("a@x", None), (None, "2"), ("b@x", "1"), ("a@x", "9")]
)
def test_lookup_shows_the_identity_of_the_values(email, phone):
    known = snapshot(TWO_CONTACTS, GEORGE)
    assert look_up(known, email, phone) == Answer(1, ["a@x", "b@x"], ["1", "2"], [2])


def test_lookup_of_unknown_values_finds_nothing():
    with pytest.raises(NotFound, match="No contact has this email or phoneNumber"):
        look_up(snapshot(GEORGE), "a@x", "1")


def test_lookup_of_values_of_two_identities_finds_nothing():
    with pytest.raises(NotFound, match="belong to different identities"):
        look_up(snapshot(GEORGE, BIFF), "george@x", "717")


def test_a_contact_leads_to_the_whole_identity():
    known = snapshot(TWO_CONTACTS)
    assert answer_for_contact(known, 2) == Answer(1, ["a@x", "b@x"], ["1", "2"], [2])
    with pytest.raises(NotFound, match="There is no contact with this id"):
        answer_for_contact(known, 3)
