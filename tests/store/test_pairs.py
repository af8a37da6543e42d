"""What every store keeps of two known values that are seen together for the first time."""

from contextlib import aclosing

import pytest

from bitespeed.errors import Conflict
from bitespeed.model.identifiers import observe
from bitespeed.model.records import EventRecord
from bitespeed.model.sources import SameSource, Source
from bitespeed.rules.identify import absorb
from bitespeed.stores.protocols import BulkStore
from bitespeed.tenant import DEFAULT_TENANT
from support.backends import on_one_store, on_two_stores, rows
from support.stores import decide, delete_contact, snapshot_for, store_at, write

PEOPLE = [("a@x", "1"), ("b@x", "1"), ("b@x", "2")]  # who never said a@x with 2
A2 = ("email", "a@x", "phone", "2")


async def everything(store):
    async with aclosing(store.scan()) as pages:
        return [identity async for page in pages for identity in page]


async def pair_events(store):
    identities = await everything(store)
    return [e for identity in identities for e in identity.events if e.kind == "pair.seen"]


async def last_event(store):
    return max(event.seq for identity in await everything(store) for event in identity.events)


async def pairs_of(store, email="b@x"):
    """The pairs of an identity that no contact of it shows."""
    (identity,) = (await store.read(DEFAULT_TENANT, emails=[email])).identities.values()
    return identity.pairs


def test_pair_is_kept_with_all_that_was_sent(backend):
    async def test(store):
        await write(store, *PEOPLE)
        before = await last_event(store)
        observation = observe(" A@x", "2 ")
        snapshot = await snapshot_for(store, [observation])
        source = SameSource(Source("key", "request", "label"))
        committed = await store.commit(DEFAULT_TENANT, absorb(snapshot, [observation], source))
        assert committed.ids == []
        (kept,) = await pair_events(store)
        assert kept.seq > before
        assert kept == EventRecord(
            seq=kept.seq,
            tenant=DEFAULT_TENANT,
            at=committed.at,
            kind="pair.seen",
            identity_id=1,
            version=4,
            contact_id=None,
            merged_id=None,
            primary_id=1,
            kind_of_value="email",
            value="a@x",
            kind_of_other="phone",
            other="2",
            raw_value=" A@x",
            raw_other="2 ",
            source="key",
            request="request",
            label="label",
        )
        (identity,) = (await store.read(DEFAULT_TENANT, emails=["a@x"])).identities.values()
        assert (identity.version, identity.contacts, identity.pairs) == (4, 3, [A2])
        assert identity.stamp != snapshot.identities[1].stamp

    on_one_store(backend, test)


def test_country_of_a_phone_is_kept(backend):
    async def test(store):
        await write(store, ("a@x", "+496502530000"), ("a@x", "+496502530001"))
        await write(store, ("b@x", "+496502530000"))
        observation = observe("b@x", "6502530001", "DE")
        snapshot = await snapshot_for(store, [observation])
        await store.commit(DEFAULT_TENANT, absorb(snapshot, [observation]))
        (kept,) = await pair_events(store)
        sent = kept.other, kept.raw_other, kept.country
        assert sent == ("+496502530001", "6502530001", observation.country)
        assert observation.country == "DE"

    on_one_store(backend, test)


def test_repeat_of_a_pair_writes_nothing(backend):
    async def test(store, other):
        await write(store, *PEOPLE, ("a@x", "2"))
        before, last = rows(backend), await last_event(store)
        for one in (store, other):
            for sent in [*PEOPLE, ("a@x", "2"), ("A@x ", " 2")]:
                changes = await decide(one, sent)
                assert not changes
                await one.commit(DEFAULT_TENANT, changes)
        assert rows(backend) == before
        assert await last_event(store) == last

    on_two_stores(backend, test)


def test_pair_that_two_writers_bring_is_kept_once(backend):
    async def test(store, other):
        await write(store, *PEOPLE)
        changes = await decide(other, ("a@x", "2"))
        await write(store, ("a@x", "2"))
        with pytest.raises(Conflict):
            await other.commit(DEFAULT_TENANT, changes)
        assert not await decide(other, ("a@x", "2"))
        assert len(await pair_events(store)) == 1

    on_two_stores(backend, test)


def test_read_without_members_has_no_pairs(backend):
    async def test(store):
        await write(store, *PEOPLE, ("a@x", "2"))
        snapshot = await store.read(DEFAULT_TENANT, emails=["a@x"], members=False)
        assert [identity.pairs for identity in snapshot.identities.values()] == [[]]

    on_one_store(backend, test)


def test_merged_identities_have_the_pairs_of_both(backend):
    async def test(store):
        await write(store, *PEOPLE, ("a@x", "2"), ("c@x", "7"), ("d@x", "7"), ("d@x", "8"))
        await write(store, ("c@x", "8"), ("c@x", "1"))
        c8, c1 = ("email", "c@x", "phone", "8"), ("email", "c@x", "phone", "1")
        assert sorted(await pairs_of(store)) == sorted([A2, c8, c1])
        for sent in (("a@x", "2"), ("c@x", "8"), ("c@x", "1")):
            assert not await decide(store, sent)
        changes = await decide(store, ("a@x", "7"))
        assert [event.kind for event in changes.events] == ["pair.seen"]

    on_one_store(backend, test)


def test_pairs_survive_a_contact_whose_values_others_have(backend):
    async def test(store):
        await write(store, *PEOPLE, ("c@x", "1"), ("a@x", "3"), ("a@x", "2"))
        await delete_contact(store, 1)
        assert sorted(await pairs_of(store)) == [("email", "a@x", "phone", "1"), A2]
        assert not await decide(store, ("a@x", "1"))
        assert not await decide(store, ("a@x", "2"))
        (kept,) = await pair_events(store)
        assert (kept.value_until, kept.other_until) == (None, None)
        (identity,) = await everything(store)
        ends = [(c.email_until, c.phone_until) for c in identity.contacts]
        assert ends == [(None, None)] * 5

    on_one_store(backend, test)


def test_pairs_of_a_freed_email_are_new_again(backend):
    async def test(store):
        await write(store, *PEOPLE, ("a@x", "2"))
        await delete_contact(store, 1)
        deletion = await last_event(store)
        (before,) = await pair_events(store)
        assert (before.value_until, before.other_until) == (deletion, None)
        (identity,) = await everything(store)
        ends = {c.id: (c.email_until, c.phone_until) for c in identity.contacts}
        assert ends == {1: (deletion, None), 2: (None, None), 3: (None, None)}
        assert await pairs_of(store) == []
        assert (await write(store, ("a@x", "1"), ("a@x", "2"), ("a@x", "2"))).ids == [4]
        kept = [(e.value, e.other, e.value_until) for e in await pair_events(store)]
        assert kept == [("a@x", "2", deletion), ("a@x", "2", None)]
        await delete_contact(store, 4)
        again = await last_event(store)
        ended = [e.value_until for e in await pair_events(store)]
        assert ended == [deletion, again]

    on_one_store(backend, test)


def test_pairs_of_a_freed_phone_number_are_new_again(backend):
    async def test(store):
        await write(store, *PEOPLE, ("a@x", "2"))
        await delete_contact(store, 3)
        deletion = await last_event(store)
        (before,) = await pair_events(store)
        assert (before.value_until, before.other_until) == (None, deletion)
        (identity,) = await everything(store)
        ends = {c.id: (c.email_until, c.phone_until) for c in identity.contacts}
        assert ends == {1: (None, None), 2: (None, None), 3: (None, deletion)}
        await write(store, ("c@x", "2"), ("c@x", "1"), ("a@x", "2"), ("b@x", "2"))
        assert [(e.value, e.other) for e in await pair_events(store)] == [
            ("a@x", "2"),
            ("a@x", "2"),
            ("b@x", "2"),
        ]

    on_one_store(backend, test)


def test_deletion_ends_no_pair_of_another_tenant(backend):
    async def test(store):
        for tenant in (DEFAULT_TENANT, "other"):
            for sent in (*PEOPLE, ("a@x", "2")):
                await store.commit(tenant, await decide(store, sent, tenant=tenant))
        await delete_contact(store, 1)
        await delete_contact(store, 3)
        ended = {e.tenant: (e.value_until, e.other_until) for e in await pair_events(store)}
        assert None not in ended[DEFAULT_TENANT]
        assert ended["other"] == (None, None)
        assert not await decide(store, ("a@x", "2"), tenant="other")

    on_one_store(backend, test)


def test_scans_records_and_copies_have_every_pair(backend, tmp_path):
    async def test(store):
        await write(store, *PEOPLE, ("a@x", "2"), ("c@x", "7"), ("c@x", "1"))
        await delete_contact(store, 1)
        scanned = await everything(store)
        assert [len(identity.events) for identity in scanned] == [7]
        recorded = await store.records(DEFAULT_TENANT, ["b@x"])
        for identity in (*scanned, *recorded):
            identity.identifiers.sort()
        assert recorded == scanned
        async with store_at(tmp_path / "copy.db") as copy:
            assert isinstance(copy, BulkStore)
            await copy.load(store.scan())
            (copied,) = await everything(copy)
            copied.identifiers.sort()
            assert [copied] == scanned
            assert await pairs_of(copy) == await pairs_of(store)

    on_one_store(backend, test)
