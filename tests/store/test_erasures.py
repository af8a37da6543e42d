"""Erasing a person from each of the stores."""

import asyncio
import time

import pytest

from bitespeed.errors import Conflict, NotFound
from bitespeed.model.changes import Changes
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer
from bitespeed.model.sources import SameSource, Source
from bitespeed.rules.delete import delete
from bitespeed.rules.erase import Subject, erase, erasure_of, subject_records
from bitespeed.rules.identify import absorb
from bitespeed.tenant import DEFAULT_TENANT
from support.backends import (
    TABLES,
    contact_ids,
    on_one_store,
    on_two_stores,
    rows,
)
from support.invariants import assert_clean
from support.stores import (
    Watched,
    decide,
    delete_contact,
    service_on,
    snapshot_for,
    who,
    write,
)


async def erased(store, email=None, phone=None, contact=None):
    """The receipt of an erasure by a service of its own."""
    async with service_on(store) as service:
        return await service.erase(Subject(email, phone, contact))


def told(backend, *values):
    """Which of the values is anywhere in the database."""
    everything = repr([backend.query(f"select * from {t}") for t in (*TABLES, "tombstone")])
    return {value for value in values if repr(value) in everything}


def test_erasure_removes_every_value_of_the_subject(backend):
    async def test(store, other):
        await write(
            store, ("Ann@Shop.test", "771"), ("ann@work.test", "771"), ("bob@shop.test", "773")
        )
        await write(store, ("cat@shop.test", "772"), ("ann@work.test", "772"))  # 4 ends in 1
        await delete_contact(other, 2)
        await write(other, (None, "774"))
        before = rows(backend)
        ann = ("ann@shop.test", "Ann@Shop.test", "771", "cat@shop.test", "772")
        assert told(backend, *ann, "ann@work.test") == {*ann, "ann@work.test"}

        receipt = await erased(store, "cat@shop.test")
        assert (receipt.identities, receipt.contacts, receipt.identifiers) == (2, 3, 4)
        assert (receipt.events, len(receipt.pseudonyms)) == (5, 5)
        assert told(backend, *ann, "ann@work.test") == set()
        assert not told(backend, *receipt.pseudonyms) ^ {*receipt.pseudonyms}
        after = rows(backend)
        for table in TABLES:
            lost = [row for row in before[table] if row not in after[table]]
            assert not [row for row in lost if {3, 5} & {*row[:1]} and table != "event_record"]
        assert await who(other, "bob@shop.test") == Answer(3, ["bob@shop.test"], ["773"], [])
        for one in (store, other):
            assert not (await one.read(DEFAULT_TENANT, emails=ann[:1], contact=1)).identities
        with pytest.raises(NotFound):
            await erased(other, "cat@shop.test")
        (again,) = (await write(other, ("ann@shop.test", "772"))).ids
        assert await who(store, phone="772") == Answer(again, ["ann@shop.test"], ["772"], [])

    on_two_stores(backend, test)


def test_erasure_clears_values_in_deleted_contacts_of_others(backend):
    """And of them no more than that; a value that somebody else has by now is that one's."""

    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "1"), ("b@x", "2"), ("c@x", "2"))
        for contact in (1, 3):
            await delete_contact(store, contact)
        await write(store, ("a@x", "9"))  # a stranger to those before
        receipt = await erased(store, phone="9")
        assert (receipt.identities, receipt.contacts) == (1, 2)
        assert told(backend, "a@x", "9") == set()
        assert await who(store, "b@x") == Answer(2, ["b@x", "c@x"], ["1", "2"], [4])
        await assert_clean(store)
        assert (await erased(store, contact=3)).contacts == 3
        assert contact_ids(backend) == []

    on_one_store(backend, test)


async def say(store, email, phone, label):
    """One observation with a label."""
    observation = observe(email, phone)
    snapshot = await snapshot_for(store, [observation])
    source = SameSource(Source("key", f"request-{label}", label))
    await store.commit(DEFAULT_TENANT, absorb(snapshot, [observation], source))


def test_erasure_clears_texts_in_events_about_the_subject(backend):
    """Those about other values of the same identity keep theirs."""

    async def test(store):
        await say(store, "b@x", "1", "of-b")
        await say(store, "a@x", "1", "of-a")
        await say(store, "b@x", "2", "of-b-again")
        await say(store, " A@x", "2", "of-a-again")
        snapshot = await store.read(DEFAULT_TENANT, contact=2)
        deletion = delete(snapshot, 2, Source("key", "request-of-deletion", "of-deletion"))
        await store.commit(DEFAULT_TENANT, deletion)
        receipt = await erased(store, "a@x")
        assert (receipt.contacts, receipt.pairs, receipt.events) == (1, 2, 1)
        of_a = ("a@x", " A@x", "of-a", "of-a-again", "request-of-a", "request-of-a-again")
        assert told(backend, *of_a, "of-deletion", "request-of-deletion") == set()
        of_b = ("b@x", "of-b", "of-b-again", "request-of-b")
        assert told(backend, *of_b) == {*of_b}
        await assert_clean(store)

    on_one_store(backend, test)


def test_erasing_a_freed_value_spares_live_identities(backend):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "1"), ("c@x", "3"), ("d@x", "3"))
        for contact in (2, 3, 4):
            await delete_contact(store, contact)
        assert (await erased(store, "b@x")).contacts == 1
        assert await who(store, "a@x") == Answer(1, ["a@x"], ["1"], [])
        assert (await erased(store, "c@x")).contacts == 2  # nobody lives there
        assert told(backend, "b@x", "c@x", "3", "d@x") == set()

    on_one_store(backend, test)


async def erasure_changes(store, email, secret="s" * 64):
    """What would be committed to erase a person who holds the email."""
    person = subject_records(await store.records(DEFAULT_TENANT, [email]), Subject(email))
    erasure = erasure_of(DEFAULT_TENANT, person, "e", secret)
    return erase(person, erasure)


def test_concurrent_erasure_and_change_conflict(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "2"))
        for one, two in ((store, other), (other, store)):
            change, erasure = await decide(one, ("a@x", "2")), await erasure_changes(two, "a@x")
            await one.commit(DEFAULT_TENANT, change)
            before = rows(backend)
            with pytest.raises(Conflict):
                await two.commit(DEFAULT_TENANT, erasure)
            assert rows(backend) == before
            change, erasure = await decide(one, ("c@x", "2")), await erasure_changes(two, "a@x")
            await two.commit(DEFAULT_TENANT, erasure)
            with pytest.raises(Conflict):
                await one.commit(DEFAULT_TENANT, change)
            await write(store, ("a@x", "1"), ("b@x", "2"))

    on_two_stores(backend, test)


def test_concurrent_erasures_agree_on_the_secret(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "2"))
        one, two = (
            await erasure_changes(store, "a@x", "s"),
            await erasure_changes(other, "b@x", "t"),
        )
        await store.commit(DEFAULT_TENANT, one)
        with pytest.raises(Conflict):
            await other.commit(DEFAULT_TENANT, two)
        await erased(other, "b@x")
        assert (await store.tombstones(DEFAULT_TENANT)).secret == "s"

    on_two_stores(backend, test)


def test_only_later_observations_of_an_erased_value_are_absorbed(backend):
    async def test(store):
        async with service_on(store) as service:
            old = [observe("a@x", "1"), observe("a@x", "2"), observe("b@x", "3")]
            await service.absorb(old)
            at = (await service.erase(Subject("a@x"))).at
            for made_at in ((), (at - 1, at, None)):
                changes, left_out = await service.absorb(old, made_at)
                assert (bool(changes), left_out) == (False, 2)
            assert told(backend, "a@x", "2") == set()
            assert await service.absorb(old[:1], [at - 1]) == (Changes([], [], []), 1)
            changes, left_out = await service.absorb(old, [at + 1, at, None])
            assert (len(changes.contacts), left_out) == (1, 1)
            assert not (await store.tombstones("other", ["x"])).erased_at
        assert await who(store, "a@x")

    on_one_store(backend, test)


def test_import_in_flight_does_not_restore_erased_values(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"))
        slow = Watched(store)
        async with service_on(slow) as service:
            slow.committing.shut()
            importing = asyncio.create_task(service.absorb([observe("a@x", "2")]))
            await slow.committing.has_come.wait()
            await erased(other, "a@x")
            slow.committing.open()
            assert await importing == (Changes([], [], []), 1)
        assert told(backend, "a@x", "2") == set()

    on_two_stores(backend, test)


@pytest.mark.parametrize("door", ["reading", "committing"])
def test_observation_made_before_the_erasure_is_refused(backend, door):
    async def test(store, other):
        await write(store, ("a@x", "1"))
        slow = Watched(store)
        said_at = time.time_ns() // 1000
        async with service_on(slow) as service:
            getattr(slow, door).shut()
            sent = [observe("a@x", "2"), observe("b@x", "3")]
            said = asyncio.create_task(service.identify_all(sent, None, [said_at] * 2))
            await getattr(slow, door).has_come.wait()
            await erased(other, "a@x")
            getattr(slow, door).open()
            refusal, answer = await said
            assert isinstance(refusal, NotFound)
            assert answer.emails == ["b@x"]
            assert told(backend, "a@x", "2") == set()
            later = [time.time_ns() // 1000]
            (back,) = await service.identify_all([observe("a@x", "2")], None, later)
            assert back.emails == ["a@x"]
            (refusal,) = await service.identify_all([observe("a@x", "4")], None, [said_at])
            assert isinstance(refusal, NotFound)
            (repeat,) = await service.identify_all([observe("a@x", "2")])
            assert repeat == back

    on_two_stores(backend, test)
