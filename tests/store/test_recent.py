"""Identities that a store remembers, and when it reads them again."""

import asyncio

import pytest

from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer, Contact, Identity
from bitespeed.stores import recent
from bitespeed.stores.recent import Recent
from bitespeed.tenant import DEFAULT_TENANT
from support.backends import (
    on_one_store,
    on_two_stores,
    stores,
)
from support.stores import (
    another_attaches,
    another_merges,
    delete_contact,
    snapshot_for,
    who,
    write,
)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (another_attaches, Answer(1, ["a@x"], ["1", "9"], [3])),
        (another_merges, Answer(1, ["a@x", "b@x"], ["1", "2"], [2])),
    ],
)
def test_identity_is_read_again_after_another_store_changed_it(backend, change, expected):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "2"))
        for _ in range(2):
            assert (await who(store, "a@x")).secondary_ids == []
        await change(other)
        assert await who(store, "a@x") == expected
        assert await who(store, None, "1") == expected

    on_two_stores(backend, test)


def test_remembered_identity_merged_elsewhere_reads_the_survivor(backend):
    async def test(store, other):
        await write(store, ("old@x", "1"), ("young@x", "2"))
        await who(store, "young@x")
        await write(other, ("old@x", "2"))
        merged = Answer(1, ["old@x", "young@x"], ["1", "2"], [2])
        assert await who(store, "young@x") == await who(store, "old@x") == merged
        assert await who(store, "young@x", "1") == merged

    on_two_stores(backend, test)


def test_remembered_identity_merged_at_equal_version_is_not_used(backend):
    async def main():
        async with stores(backend) as (store,):
            await write(store, ("old@x", "1"), ("young@x", "2"))
            await who(store, "young@x")
            backend.query("update identity set root_id = 1 where id = 2")
            assert (await store.read(DEFAULT_TENANT, emails=["young@x"])).emails == {"young@x": 1}

    asyncio.run(main())


def test_remembered_value_taken_by_another_identity_reads_that_one(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "1"), ("c@x", "3"))
        await who(store, "b@x")
        await who(store, "c@x")
        await delete_contact(other, 2)
        await write(other, ("b@x", "3"))
        assert await who(store, "b@x") == Answer(3, ["c@x", "b@x"], ["3"], [4])
        assert await who(store, "a@x") == Answer(1, ["a@x"], ["1"], [])
        await delete_contact(other, 1)
        assert not (await store.read(DEFAULT_TENANT, emails=["a@x"], phones=["1"])).identities

    on_two_stores(backend, test)


def test_single_read_mixes_remembered_and_new_identities(backend):
    async def test(store, other):
        await write(other, ("a@x", "1"), ("b@x", "2"), ("c@x", "3"))
        await who(store, "a@x")
        await who(store, "b@x")
        await write(other, ("b@x", "4"))
        observations = [observe("a@x", "4"), observe("b@x", "3"), observe("zz@x", "9")]
        snapshot = await snapshot_for(store, observations)
        assert snapshot.emails == {"a@x": 1, "b@x": 2}
        assert snapshot.phones == {"3": 3, "4": 2}
        assert {i.id: i.contacts for i in snapshot.identities.values()} == {1: 1, 2: 2, 3: 1}
        for identity in snapshot.identities.values():
            assert len(identity.members) == identity.contacts

    on_two_stores(backend, test)


def test_remembered_identity_serves_its_other_values_and_contacts(backend):
    async def test(store, other):
        await write(other, ("a@x", "1"), ("b@x", "1"), ("c@x", "3"))
        await who(store, "a@x")
        snapshot = await store.read(DEFAULT_TENANT, emails=["a@x", "b@x"], contact=2)
        assert snapshot.identities.keys() == {1}
        assert len(snapshot.identities[1].members) == 2
        snapshot = await store.read(DEFAULT_TENANT, emails=["a@x"], contact=3)
        assert {i.id: len(i.members) for i in snapshot.identities.values()} == {1: 2, 3: 1}
        bare = await store.read(DEFAULT_TENANT, emails=["a@x"], members=False)
        assert bare.identities[1].members == []
        assert len((await who(store, "a@x")).emails) == 2

    on_two_stores(backend, test)


def test_identity_changed_by_its_store_is_read_again(backend):
    async def test(store):
        await write(store, ("a@x", "1"))
        for n in range(3):
            assert (await who(store, "a@x")).phones == ["1", *(f"2{m}" for m in range(n))]
            await write(store, ("a@x", f"2{n}"))
        await delete_contact(store, 1)
        assert await who(store, "a@x") == Answer(2, ["a@x"], ["20", "21", "22"], [3, 4])

    on_one_store(backend, test)


def test_read_larger_than_the_memory_is_complete(backend, monkeypatch):
    monkeypatch.setattr(recent, "MAX_CONTACTS", 3)

    async def test(store):
        await write(store, *[(f"{n}@x", f"{n}") for n in range(10)])
        for _ in range(3):
            emails = [f"{n}@x" for n in range(10)]
            snapshot = await store.read(DEFAULT_TENANT, emails=emails)
            assert {i.members[0].email for i in snapshot.identities.values()} == set(emails)

    on_one_store(backend, test)


def person(id_, contacts=1, version=1):
    members = [Contact(id_ * 1000 + n, 0, f"{id_}-{n}@x", f"{id_}{n:03}") for n in range(contacts)]
    return Identity(id_, version, version, id_ * 1000, 0, contacts, members)


def remembered(kept):
    return [id_ for id_ in range(100) if kept.holders("shop", [f"{id_}-0@x"])]


def test_least_recently_used_identities_are_forgotten_first(monkeypatch):
    monkeypatch.setattr(recent, "MAX_CONTACTS", 6)
    kept = Recent()
    for id_ in (1, 2, 3):
        kept.remember("shop", person(id_, contacts=2))
    kept.use(1)
    kept.remember("shop", person(4, contacts=2))
    assert remembered(kept) == [1, 3, 4]
    kept.remember("shop", person(5, contacts=5))
    assert remembered(kept) == [5]


def test_memory_stays_within_its_limit(monkeypatch):
    monkeypatch.setattr(recent, "MAX_CONTACTS", 50)
    people = [person(id_, contacts=7) for id_ in range(37)]
    values = [value for p in people for m in p.members for value in (m.email, m.phone)]
    kept = Recent()
    for n in range(500):
        kept.remember("shop", person(n % 37, contacts=1 + n % 7, version=n))
        held = kept.holders("shop", values)
        members = [m for id_ in set(held.values()) for m in kept.use(id_).members]
        assert len(members) <= 50
        assert set(held) == {value for m in members for value in (m.email, m.phone)}
        assert set(kept._identities) == set(held.values())


def test_identity_above_the_limit_is_not_remembered():
    kept = Recent(max_identity=3)
    kept.remember("shop", person(1, contacts=3))
    kept.remember("shop", person(2, contacts=4))
    assert remembered(kept) == [1]
    kept.remember("shop", person(1, contacts=4, version=2))
    assert remembered(kept) == []


def test_memory_of_one_tenant_is_unknown_to_another():
    kept = Recent()
    kept.remember("shop", person(1))
    assert kept.holders("shop", ["1-0@x"]) == {"1-0@x": 1}
    assert kept.holders("other shop", ["1-0@x"]) == {}
