"""Ages of contacts in every store, also when the clock steps back."""

from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer
from bitespeed.rules.identify import identify
from bitespeed.tenant import DEFAULT_TENANT
from support.backends import (
    FAR,
    backdate,
    on_one_store,
    roles,
)
from support.stores import decide, delete_contact, snapshot_for, who, write

TIMES = {"I11"}  # what a test breaks that sets the clock or an age


def ages(backend):
    return [at for (at,) in backend.query("select created_at from contact_record order by id")]


def test_ages_are_microseconds_and_grow_with_each_commit(backend):
    async def test(store):
        before = (await write(store, ("a@x", "1"))).created_at[0]
        assert 1_700_000_000_000_000 < before < FAR
        after = (await write(store, ("b@x", "1"))).created_at[0]
        assert before < after < before + 60_000_000
        assert ages(backend) == [before, after]

    on_one_store(backend, test)


def test_contact_is_never_older_than_its_primary(backend):
    async def test(store):
        await write(store, ("a@x", "1"))
        backdate(backend, 1, FAR)
        assert (await write(store, ("a@x", "2"))).created_at == [FAR]
        assert ages(backend) == [FAR, FAR]
        assert await who(store, "a@x") == Answer(1, ["a@x"], ["1", "2"], [2])
        await delete_contact(store, 2)
        deleted = "select deleted_at, updated_at from contact_record where deleted_at is not null"
        assert backend.query(deleted) == [(FAR, FAR)]

    on_one_store(backend, test, besides=TIMES)


def test_identity_created_while_the_clock_is_behind_stays_younger(backend):
    async def test(store):
        await write(store, ("a@x", "1"))
        backdate(backend, 1, FAR)
        changes = await decide(store, ("b@x", "2"), ("b@x", "3"), ("b@x", "1"))
        await store.commit(DEFAULT_TENANT, changes)
        assert await who(store, "b@x") == Answer(1, ["a@x", "b@x"], ["1", "2", "3"], [2, 3])

    on_one_store(backend, test, besides=TIMES)


def test_older_primary_wins_even_with_the_higher_id(backend):
    async def test(store):
        await write(store, ("a@x", "1"))
        backdate(backend, 1, FAR)
        await write(store, ("b@x", "2"), ("a@x", "2"))
        assert await who(store, "a@x") == Answer(2, ["b@x", "a@x"], ["2", "1"], [1])
        assert roles(backend) == [(1, 2, "secondary"), (2, None, "primary")]

    on_one_store(backend, test, besides=TIMES)


def test_reply_keeps_the_primary_after_the_clock_steps_back(backend):
    async def test(store):
        await write(store, ("a@x", "1"))
        backdate(backend, 1, 10)
        await write(store, ("b@x", "2"))
        backdate(backend, 2, FAR)
        observations = [observe("b@x", "3"), observe("a@x", "3")]
        changes, replies = identify(await snapshot_for(store, observations), observations)
        committed = await store.commit(DEFAULT_TENANT, changes)
        linked, merged = [reply.answer(committed) for reply in replies]
        assert linked.primary_id == 2
        assert merged.primary_id == 1

    on_one_store(backend, test, besides=TIMES)
