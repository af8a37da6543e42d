"""What every store writes in a commit, also when the caller or the store goes away."""

import asyncio
from collections import Counter

import pytest

from bitespeed.model.changes import Changes
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer
from bitespeed.tenant import DEFAULT_TENANT
from support.backends import (
    contact_ids,
    on_one_store,
    on_two_stores,
    rows,
)
from support.invariants import assert_clean
from support.stores import (
    decide,
    delete_contact,
    service_on,
    who,
    write,
)


def test_each_change_raises_the_version_by_one(backend):
    async def test(store):
        def versions():
            return backend.query("select id, version from identity order by id")

        await write(store, ("a@x", "1"), ("b@x", "2"))
        assert versions() == [(1, 1), (2, 1)]
        await store.commit(DEFAULT_TENANT, await decide(store, ("a@x", "3"), ("a@x", "4")))
        assert versions() == [(1, 2), (2, 1)]
        await write(store, ("a@x", "2"))
        assert versions() == [(1, 3), (2, 2)]
        await delete_contact(store, 3)
        assert versions() == [(1, 4), (2, 2)]

    on_one_store(backend, test)


def test_later_merge_relabels_identities_merged_earlier(backend):
    async def test(store):
        def roots():
            return [root for (root,) in backend.query("select root_id from identity order by id")]

        await write(store, ("a@x", "1"), ("a2@x", "1"), ("a3@x", "1"))
        await write(store, ("b@x", "2"), ("c@x", "3"), ("c@x", "2"))
        _, *roots_of_b_and_c = roots()
        assert roots_of_b_and_c in ([4, 4], [5, 5])
        await write(store, ("a@x", "3"))
        assert roots() == [1, 1, 1]
        assert await who(store, "c@x") == await who(store, "a@x")
        assert (await who(store, None, "3")).secondary_ids == [2, 3, 4, 5]

    on_one_store(backend, test)


def test_single_commit_creates_attaches_merges_and_relabels(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "2"), ("b@x", "3"), ("c@x", "4"), ("c@x", "2"))
        sent = [
            ("d@x", "5"),  # founds
            ("d@x", "6"),  # links to it
            ("e@x", "7"),  # founds
            ("e@x", "6"),  # merges the two that are new
            ("c@x", "5"),  # and both into one that is stored, which has taken over another
            ("a@x", "7"),  # and that into an older one
            ("f@x", "7"),  # links to what they have become
            ("g@x", "8"),  # founds, and stays alone
        ]
        committed = await store.commit(DEFAULT_TENANT, await decide(store, *sent))
        assert committed.ids == [5, 6, 7, 8, 9]
        everybody = Answer(
            1,
            ["a@x", "b@x", "c@x", "d@x", "e@x", "f@x"],
            ["1", "2", "3", "4", "5", "6", "7"],
            [2, 3, 4, 5, 6, 7, 8],
        )
        for reader in (store, other):
            assert await who(reader, "e@x") == await who(reader, None, "3") == everybody
            assert await who(reader, "g@x") == Answer(9, ["g@x"], ["8"], [])
        roots = {root for (root,) in backend.query("select root_id from identity")}
        assert len(roots) == 2
        kinds = Counter(kind for (kind,) in backend.query("select kind from event"))
        assert kinds == {"contact.created": 9, "identities.merged": 4}

    on_two_stores(backend, test)


def test_events_are_in_the_order_of_the_changes(backend):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "2"), ("b@x", "3"))
        await store.commit(DEFAULT_TENANT, await decide(store, ("a@x", "3"), ("c@x", "1")))
        await delete_contact(store, 1)
        columns = "kind, identity_id, version, contact_id, merged_id, primary_id"
        assert backend.query(f"select {columns} from event order by seq") == [
            ("contact.created", 1, 1, 1, None, None),
            ("contact.created", 2, 1, 2, None, None),
            ("contact.created", 2, 2, 3, None, 2),
            ("identities.merged", 2, 3, None, 1, 1),
            ("contact.created", 2, 3, 4, None, 1),
            ("contact.deleted", 2, 4, 1, None, 2),
        ]
        pair = "kind_of_value, value, kind_of_other, other"
        assert backend.query(f"select {pair} from event where value is not null") == [
            ("email", "a@x", "phone", "3")
        ]
        assert {t for (t,) in backend.query("select tenant from event")} == {DEFAULT_TENANT}
        instants = [at for (at,) in backend.query("select at from event order by seq")]
        assert instants == sorted(instants)

    on_one_store(backend, test)


def test_cancelled_commit_is_complete_or_absent(backend):
    async def test(store):
        await write(store, ("a@x", "1"))
        changes = await decide(store, ("a@x", "2"), ("new@x", "3"))
        with backend.held():
            commit = asyncio.create_task(store.commit(DEFAULT_TENANT, changes))
            await backend.somebody_waits()
            commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
        async with service_on(store) as service:
            written = await service.identify(observe("b@x", "1"))
        assert written.emails == ["a@x", "b@x"]
        assert len(contact_ids(backend)) in (2, 4)

    on_one_store(backend, test)


def test_closing_a_store_finishes_its_commit(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"))
        changes = await decide(store, ("a@x", "2"))
        with backend.held():
            commit = asyncio.create_task(store.commit(DEFAULT_TENANT, changes))
            await backend.somebody_waits()
            closing = asyncio.create_task(store.close())
            await asyncio.sleep(0.02)
            assert not closing.done()
        assert (await commit).ids == [2]
        await closing
        assert await who(other, "a@x") == Answer(1, ["a@x"], ["1", "2"], [2])

    async def main():
        store, other = await backend.open(), await backend.open()
        try:
            await test(store, other)
            await assert_clean(other)
        finally:
            await other.close()

    asyncio.run(main())


def test_store_can_be_closed_twice(backend):
    async def main():
        store = await backend.open()
        await store.ping()
        await store.close()
        await store.close()

    asyncio.run(main())


def test_ids_may_exceed_32_bits(backend, request):
    large = 3_000_000_000
    if backend.name == "sqlite":
        move_on = f"insert into sqlite_sequence values ('contact_record', {large - 1})"
    else:
        move_on = f"select setval('contact_id', {large - 1})"

    async def test(store):
        backend.query(move_on)
        await write(store, ("a@x", "1"), ("a@x", "2"), ("b@x", "3"), ("b@x", "1"))
        answer = Answer(large, ["a@x", "b@x"], ["1", "2", "3"], [large + 1, large + 2])
        assert await who(store, "b@x") == answer
        await delete_contact(store, large)
        assert (await who(store, "b@x")).primary_id == large + 1

    on_one_store(backend, test)


def test_empty_changes_write_nothing(backend):
    async def test(store):
        await write(store, ("a@x", "1"))
        before = rows(backend)
        committed = await store.commit(DEFAULT_TENANT, Changes([], [], []))
        assert (committed.ids, committed.created_at) == ([], [])
        assert rows(backend) == before

    on_one_store(backend, test)
