"""Two sessions of the PostgreSQL store in each other's way, step by step."""

import asyncio
from contextlib import aclosing

import msgspec
import psycopg
import pytest
from psycopg import sql

from bitespeed.errors import Conflict, InvalidInput, StoreDamaged, StoreUnavailable
from bitespeed.model.changes import Changes
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer
from bitespeed.resources import text
from bitespeed.stores.epochs import EpochOver
from bitespeed.tenant import DEFAULT_TENANT
from support.backends import (
    connected,
    of_postgres,
    sessions,
    stores,
    waits_for_a_lock,
)
from support.database_url import database_of
from support.invariants import assert_clean
from support.postgres_store import (
    MOMENT,
    execute,
    holding,
    on,
    terminate,
    until,
)
from support.stores import decide, service_on, who, write


@pytest.mark.parametrize("order", [1, -1])
def test_commits_lock_in_the_order_of_ids(url, order):
    async def main():
        async with stores(of_postgres(url), 2) as (store, other):
            await write(store, ("a@x", "1"), ("b@x", "2"))
            merge = await decide(store, ("b@x", "1"))
            merge = Changes(merge.identities[::order], merge.contacts, merge.events)
            link = await decide(other, ("b@x", "3"))
            with holding(url, "select from identity where id = 1 for update"):
                waiting = asyncio.create_task(store.commit(DEFAULT_TENANT, merge))
                await waits_for_a_lock(url)
                await other.commit(DEFAULT_TENANT, link)  # nobody has locked 2 meanwhile
            with pytest.raises(Conflict):
                await waiting
            await assert_clean(store)

    asyncio.run(main())


@pytest.mark.parametrize("order", [1, -1])
def test_commits_insert_in_the_order_of_values(url, order):
    async def main():
        async with stores(of_postgres(url), 2) as (store, other):
            both = await decide(store, *[("a@x", None), ("b@x", None)][::order])
            one = await decide(other, ("b@x", None))
            with holding(url, "insert into identifier values ('default', 'email', 'a@x', 1)"):
                waiting = asyncio.create_task(store.commit(DEFAULT_TENANT, both))
                await waits_for_a_lock(url)
                await other.commit(DEFAULT_TENANT, one)  # nobody has inserted b@x meanwhile
            with pytest.raises(Conflict):
                await waiting
            await assert_clean(store)

    asyncio.run(main())


def test_commit_gives_up_at_first_mismatch_without_waiting(url):
    async def main():
        async with stores(of_postgres(url), 2) as (store, other):
            await write(store, ("a@x", "1"), ("b@x", "2"))
            stale = await decide(store, ("a@x", "2"))
            await write(other, ("a@x", "3"))
            with (
                holding(url, "select from identity where id = 2 for update"),
                pytest.raises(Conflict),
            ):
                await store.commit(DEFAULT_TENANT, stale)

    asyncio.run(main())


def test_second_merge_waits_for_first_and_conflicts(url):
    async def main():
        async with stores(of_postgres(url), 2) as (store, other):
            await write(store, ("a@x", "1"), ("b@x", "2"), ("c@x", "3"))
            first, second = await decide(store, ("a@x", "2")), await decide(other, ("b@x", "3"))
            with holding(url, "lock table event in exclusive mode"):
                winner = asyncio.create_task(store.commit(DEFAULT_TENANT, first))
                await waits_for_a_lock(url)  # with its locks, and all but its events written
                loser = asyncio.create_task(other.commit(DEFAULT_TENANT, second))
                await waits_for_a_lock(url, 2)
                assert (await who(store, "a@x")).emails == ["a@x"]  # readers wait for nobody
            await winner
            with pytest.raises(Conflict, match="An identity has changed"):
                await loser
            await assert_clean(store)

    asyncio.run(main())


def test_ages_and_ids_are_taken_after_the_locks(url):
    async def main():
        async with stores(of_postgres(url), 2) as (store, other):
            await write(store, ("a@x", "1"), ("b@x", "2"))
            late = await decide(store, ("a@x", "3"))
            unrelated = await decide(other, ("b@x", "4"))
            with holding(url, "select from identity where id = 1 for update"):
                waiting = asyncio.create_task(store.commit(DEFAULT_TENANT, late))
                await waits_for_a_lock(url)
                before = await other.commit(DEFAULT_TENANT, unrelated)
            after = await waiting
            assert before.ids < after.ids
            assert before.created_at < after.created_at

    asyncio.run(main())


def test_error_about_taken_value_does_not_quote_it(url):
    async def main():
        async with stores(of_postgres(url), 2) as (store, other):
            changes = await decide(store, ("a@x", "1"))
            await write(other, ("a@x", "2"))
            return msgspec.json.encode(changes).decode()

    document = asyncio.run(main())
    with connected(url) as connection, connection.transaction(force_rollback=True):
        # To an owner whom row level security binds PostgreSQL does not quote values anyway.
        connection.execute("alter function bitespeed.commit owner to current_user")
        with pytest.raises(psycopg.errors.UniqueViolation) as raised:
            connection.execute("select bitespeed.commit('default', %s)", [document])
    told = raised.value.diag
    for part in (told.message_primary, told.message_detail, told.message_hint, told.context):
        assert part is None or "a@x" not in part


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_races_under_stricter_isolation_are_conflicts(postgres, isolation):
    async def main(url):
        async with stores(of_postgres(url), 2) as (store, other):
            await write(store, ("a@x", "1"))
            for held, sent in (
                ("select from identity where id = 1 for update", [("a@x", "2"), ("a@x", "3")]),
                (
                    "lock table event in exclusive mode",
                    [("new@x", "8"), ("new@x", "9")],
                ),
            ):
                changes = [await decide(store, sent[0]), await decide(other, sent[1])]
                with holding(url, held):
                    first = asyncio.create_task(store.commit(DEFAULT_TENANT, changes[0]))
                    await waits_for_a_lock(url)
                    second = asyncio.create_task(other.commit(DEFAULT_TENANT, changes[1]))
                    await waits_for_a_lock(url, 2)
                outcomes = await asyncio.gather(first, second, return_exceptions=True)
                assert sorted(isinstance(o, Conflict) for o in outcomes) == [False, True], outcomes
            async with service_on(store) as one, service_on(other) as two:
                strangers = [observe(f"{n}@x", str(n)) for n in range(30)]
                await asyncio.gather(
                    *map(one.identify, strangers), *map(two.identify, strangers[::-1])
                )
            await assert_clean(store)

    with postgres.fresh_database() as url:
        name = sql.Identifier(database_of(url))
        setting = sql.SQL("alter database {} set default_transaction_isolation = {}")
        with connected(url) as connection:
            connection.execute(setting.format(name, sql.Literal(isolation)))
        asyncio.run(main(url))


def test_a_commit_that_could_outlive_its_fence_gives_up(postgres):
    """Each of its waits is bounded, but there may be many."""

    async def main(url):
        async with stores(of_postgres(url)) as (store,):
            changes = await decide(store, ("a@x", "1"))
            script = text("bitespeed.stores.postgres", "functions/commit.sql")
            assert "'100 s'" in script
            hasty = script.replace("'100 s'", f"'{MOMENT} s'")
            execute(url, hasty)
            with holding(url, "lock table identifier in exclusive mode"):
                committing = asyncio.create_task(store.commit(DEFAULT_TENANT, changes))
                await waits_for_a_lock(url)
                await asyncio.sleep(2 * MOMENT)
            with pytest.raises(StoreUnavailable, match="took too long"):
                await committing
            assert (await store.read(DEFAULT_TENANT, emails=["a@x"])).emails == {}
            await store.commit(DEFAULT_TENANT, changes)

    with postgres.fresh_database() as url:
        asyncio.run(main(url))


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_commit_that_waited_for_another_epoch_is_refused(postgres, isolation):
    """Its snapshot may be from before it waited, and tell of the epoch that was."""

    async def main(url, odd):
        async with stores(of_postgres(odd)) as (store,):
            changes = await decide(store, ("a@x", "1"))
            execute(
                url,
                "update bitespeed.cache set epoch = 'was', is_suspended = true, since = 'epoch',"
                " incarnation = bitespeed.incarnation()",
            )
            state = await store.cache_state()
            with connected(url) as connection, connection.transaction():
                connection.execute("select bitespeed.cache_resume('was', 'is')")
                waiting = asyncio.create_task(store.commit(DEFAULT_TENANT, changes, state))
                await waits_for_a_lock(url)
            with pytest.raises((Conflict, EpochOver)):
                await waiting
            await store.commit(DEFAULT_TENANT, changes, await store.cache_state())

    setting = isolation.replace(" ", "%5C%20")
    with postgres.fresh_database() as url:
        asyncio.run(main(url, f"{url}?options=-cdefault_transaction_isolation%3D{setting}"))


@pytest.mark.parametrize("asks", ["?client_encoding=latin1", "?options=-cclient_encoding%3Dlatin1"])
def test_values_are_equal_under_every_client_encoding(url, asks):
    async def main():
        async with stores(of_postgres(url)) as (plain,), stores(of_postgres(url + asks)) as (odd,):
            await write(odd, ("jörg@müller.example", "1"))
            assert (await who(plain, "jörg@müller.example")).phones == ["1"]
            await write(plain, ("日本@例え.example", "1"))
            assert "日本@例え.example" in (await who(odd, phone="1")).emails

    asyncio.run(main())


def test_database_refuses_characters_missing_from_its_encoding(postgres):
    async def main(url):
        async with stores(of_postgres(url)) as (store,):
            await write(store, ("jörg@müller.example", "1"))
            with connected(url) as connection:
                stored = connection.execute("select email from contact").fetchall()
            assert stored == [("jörg@müller.example",)]
            with pytest.raises(InvalidInput, match="UTF-8"):
                await who(store, "日本@例え.example")

    with postgres.fresh_database(options="encoding 'LATIN1' locale 'C'") as url:
        asyncio.run(main(url))


def test_read_only_database_refuses_commits_and_answers_reads(postgres):
    async def test(store):
        await write(store, ("a@x", "1"))
        changes = await decide(store, ("a@x", "2")), await decide(store, ("b@x", "2"))
        with connected(url) as connection:
            name = sql.Identifier(database_of(url))
            read_only = sql.SQL("alter database {} set default_transaction_read_only = on")
            connection.execute(read_only.format(name))
        terminate(url)
        await until(lambda: sessions(url) == 0)
        await asyncio.sleep(MOMENT)
        for one in changes:
            with pytest.raises(StoreUnavailable, match="read-only"):
                await store.commit(DEFAULT_TENANT, one)
        assert await who(store, "a@x") == Answer(1, ["a@x"], ["1"], [])

    with postgres.fresh_database() as url:
        on(url, test)


def test_dropped_schema_is_reported(postgres):
    async def test(store):
        execute(url, "drop schema bitespeed cascade")
        with pytest.raises(StoreDamaged, match="run bitespeed migrate"):
            await store.ping()
        with pytest.raises(StoreDamaged, match="run bitespeed migrate"):
            await who(store, "a@x")
        with pytest.raises(StoreDamaged, match="run bitespeed migrate"):
            await store.commit(DEFAULT_TENANT, Changes([], [], []))
        with pytest.raises(StoreDamaged, match="run bitespeed migrate"):
            async with aclosing(store.scan()) as pages:
                await anext(pages)

    with postgres.fresh_database() as url:
        on(url, test)
