"""Every store refuses changes that were decided on a state which has changed."""

import asyncio

import pytest

from bitespeed.errors import Conflict
from bitespeed.model.identity import Answer
from bitespeed.rules.delete import delete
from bitespeed.tenant import DEFAULT_TENANT
from support.backends import (
    contact_ids,
    on_two_stores,
    rows,
    stores,
)
from support.stores import (
    another_attaches,
    another_deletes,
    another_merges,
    another_takes_the_value,
    decide,
    delete_contact,
    who,
    write,
)


@pytest.mark.parametrize(
    "meanwhile",
    [another_attaches, another_takes_the_value, another_merges, another_deletes],
)
@pytest.mark.parametrize(
    "sent",
    [
        [("a@x", "3"), ("new@x", "4")],
        [("new@x", "4"), ("a@x", "3")],
        [("new@x", "4"), ("a@x", "2"), ("c@x", "5")],
    ],
    ids=["link then found", "found then link", "found, merge, link"],
)
def test_changes_decided_on_a_stale_snapshot_write_nothing(backend, meanwhile, sent):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "2"), ("c@x", None))
        changes = await decide(store, *sent)
        await meanwhile(other)
        before = rows(backend)
        with pytest.raises(Conflict):
            await store.commit(DEFAULT_TENANT, changes)
        assert rows(backend) == before
        await store.commit(DEFAULT_TENANT, await decide(store, *sent))

    on_two_stores(backend, test)


def test_conflict_on_the_last_of_many_values_writes_nothing(backend):
    async def test(store, other):
        sent = [(f"{n:03}@x", f"{n:03}") for n in range(100)]
        changes = await decide(store, *sent)
        await write(other, ("zz@x", "099"))
        before = rows(backend)
        with pytest.raises(Conflict, match="A new value has been taken"):
            await store.commit(DEFAULT_TENANT, changes)
        assert rows(backend) == before

    on_two_stores(backend, test)


def test_changes_of_a_merged_identity_conflict(backend):
    async def test(store, other):
        await write(store, ("old@x", "1"), ("young@x", "2"))
        link_to_the_ended = await decide(store, ("young@x", "3"))
        await write(other, ("old@x", "2"))
        assert backend.query("select root_id from identity order by id") == [(1,), (1,)]
        with pytest.raises(Conflict, match="An identity has changed"):
            await store.commit(DEFAULT_TENANT, link_to_the_ended)
        assert await who(store, "young@x") == Answer(1, ["old@x", "young@x"], ["1", "2"], [2])

    on_two_stores(backend, test)


def test_changes_of_a_merged_identity_conflict_at_equal_version(backend):
    async def main():
        async with stores(backend) as (store,):
            await write(store, ("old@x", "1"), ("young@x", "2"))
            link_to_the_ended = await decide(store, ("young@x", "3"))
            backend.query("update identity set root_id = 1 where id = 2")
            with pytest.raises(Conflict):
                await store.commit(DEFAULT_TENANT, link_to_the_ended)

    asyncio.run(main())


def test_second_identity_with_the_same_value_conflicts(backend):
    async def test(store, other):
        first = await decide(store, ("a@x", "1"))
        second = await decide(other, ("b@x", "1"))
        await store.commit(DEFAULT_TENANT, first)
        with pytest.raises(Conflict, match="A new value has been taken"):
            await other.commit(DEFAULT_TENANT, second)
        assert backend.query("select id, email, phonenumber from contact") == [(1, "a@x", "1")]
        await other.commit(DEFAULT_TENANT, await decide(other, ("b@x", "1")))
        _, second_id = contact_ids(backend)
        assert await who(store, "b@x") == Answer(1, ["a@x", "b@x"], ["1"], [second_id])

    on_two_stores(backend, test)


def test_second_merge_of_an_identity_conflicts_then_succeeds(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "2"), ("c@x", "3"))
        first, second = await decide(store, ("a@x", "2")), await decide(other, ("b@x", "3"))
        await store.commit(DEFAULT_TENANT, first)
        with pytest.raises(Conflict):
            await other.commit(DEFAULT_TENANT, second)
        await other.commit(DEFAULT_TENANT, await decide(other, ("b@x", "3")))
        everybody = Answer(1, ["a@x", "b@x", "c@x"], ["1", "2", "3"], [2, 3])
        assert await who(store, "c@x") == await who(other, "a@x") == everybody

    on_two_stores(backend, test)


def test_only_first_of_concurrent_commits_succeeds(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"))
        for n in range(10):
            changes = [
                await decide(store, ("a@x", f"1{n}")),
                await decide(other, ("a@x", f"2{n}")),
                await decide(store, ("a@x", f"3{n}")),
            ]
            outcomes = await asyncio.gather(
                *(
                    s.commit(DEFAULT_TENANT, c)
                    for s, c in zip((store, other, store), changes, strict=True)
                ),
                return_exceptions=True,
            )
            assert sorted(isinstance(o, Conflict) for o in outcomes) == [False, True, True]
        assert backend.query("select version, contacts from identity") == [(11, 11)]

    on_two_stores(backend, test)


def test_only_first_of_concurrent_new_identities_succeeds(backend):
    async def test(store, other):
        for n in range(10):
            changes = [
                await decide(store, (f"a{n}@x", f"{n}"), (f"{n}@x", None)),
                await decide(other, (f"{n}@x", None), (f"b{n}@x", f"{n}")),
            ]
            outcomes = await asyncio.gather(
                store.commit(DEFAULT_TENANT, changes[0]),
                other.commit(DEFAULT_TENANT, changes[1]),
                return_exceptions=True,
            )
            assert sorted(isinstance(o, Conflict) for o in outcomes) == [False, True]
        assert len(backend.query("select id from contact_record")) == 20

    on_two_stores(backend, test)


def test_crossing_concurrent_merges_do_not_deadlock(backend):
    async def test(store, other):
        for n in range(10):
            await write(store, (f"a{n}@x", f"1{n}"), (f"b{n}@x", f"2{n}"), (f"c{n}@x", f"3{n}"))
            changes = [
                await decide(store, (f"a{n}@x", f"2{n}"), (f"b{n}@x", f"3{n}")),
                await decide(other, (f"c{n}@x", f"2{n}"), (f"b{n}@x", f"1{n}")),
                await decide(store, (f"c{n}@x", f"1{n}")),
            ]
            outcomes = await asyncio.gather(
                *(
                    s.commit(DEFAULT_TENANT, c)
                    for s, c in zip((store, other, other), changes, strict=True)
                ),
                return_exceptions=True,
            )
            assert sorted(isinstance(o, Conflict) for o in outcomes) == [False, True, True]
            assert all(not isinstance(o, Exception) or "changed" in str(o) for o in outcomes)

    on_two_stores(backend, test)


def test_commit_that_waited_for_another_conflicts(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"))
        changes = [await decide(store, ("a@x", "2")), await decide(other, ("a@x", "3"))]
        with backend.held():
            waiting = [
                asyncio.create_task(s.commit(DEFAULT_TENANT, c))
                for s, c in zip((store, other), changes, strict=True)
            ]
            await backend.somebody_waits(2)
            assert not any(task.done() for task in waiting)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert sorted(isinstance(o, Conflict) for o in outcomes) == [False, True]

    on_two_stores(backend, test)


def test_deletion_conflicts_with_an_attached_contact(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"))
        snapshot = await store.read(DEFAULT_TENANT, contact=1)
        await write(other, ("b@x", "1"))
        with pytest.raises(Conflict):
            await store.commit(DEFAULT_TENANT, delete(snapshot, 1))
        await delete_contact(store, 1)
        assert await who(store, None, "1") == Answer(2, ["b@x"], ["1"], [])

    on_two_stores(backend, test)


def test_attaching_conflicts_when_the_value_was_freed(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "1"))
        link = await decide(store, ("b@x", "2"))
        await delete_contact(other, 2)
        with pytest.raises(Conflict):
            await store.commit(DEFAULT_TENANT, link)
        await write(store, ("b@x", "2"))
        assert await who(store, "b@x") == Answer(3, ["b@x"], ["2"], [])

    on_two_stores(backend, test)


def test_unrelated_changes_do_not_conflict(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "2"))
        first, second = await decide(store, ("a@x", "3")), await decide(other, ("b@x", "4"))
        assert (await store.commit(DEFAULT_TENANT, first)).ids == [3]
        assert (await other.commit(DEFAULT_TENANT, second)).ids == [4]

    on_two_stores(backend, test)
