"""Epochs: when they end, and how the cache comes back into use."""

import asyncio
from time import monotonic

import pytest
from msgspec.structs import replace

from bitespeed.caches import CacheOptions
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Snapshot
from bitespeed.service.service import Service
from bitespeed.stores.epochs import SUSPENSION, EpochOver
from bitespeed.stores.postgres.store import PostgresStore
from bitespeed.tenant import DEFAULT_TENANT
from support.cache_processes import (
    JENNIFER,
    MARTY,
    MOMENT,
    Process,
    on,
    process,
    until,
)
from support.log_lines import captured_log_lines
from support.postgres_server import Postgres, own_server
from support.redis_server import RedisServer
from support.stores import decide
from support.tcp_proxy import tcp_proxy

NOBODY = Snapshot({}, {}, {})


def test_commit_in_an_ended_epoch_writes_nothing(database: str, shared_redis: RedisServer) -> None:
    async def test(one: Process) -> None:
        epoch = one.epoch()
        assert epoch is not None
        changes = await decide(one.store, ("a@x", "1"))
        suspended = await one.store.cache_suspend(epoch, 5.0)
        assert suspended.is_suspended
        for named in (epoch, "another", suspended.epoch, None):
            with pytest.raises(EpochOver) as over:
                await one.store.commit(DEFAULT_TENANT, changes, replace(suspended, epoch=named))
            assert over.value.state.wait > 1.0  # until all licences of the old epoch have ended
        await asyncio.sleep(over.value.state.wait)
        await one.store.commit(DEFAULT_TENANT, changes, suspended)

    on(database, CacheOptions(shared_redis.url), test)


def test_commit_before_the_first_epoch_does_not_suspend_it(
    database: str, shared_redis: RedisServer
) -> None:
    async def test(one: Process) -> None:
        epoch = one.epoch()
        changes = await decide(one.store, ("a@x", "1"))
        one.cache._epoch.state = replace(await one.store.cache_state(), epoch=None)
        await one.cache.commit(DEFAULT_TENANT, changes, NOBODY, ())
        assert (await one.store.cache_state()).in_use == epoch

    on(database, CacheOptions(shared_redis.url), test)


def test_commit_without_cache_suspends_it_and_becomes_visible(
    database: str, shared_redis: RedisServer
) -> None:
    async def test(one: Process) -> None:
        for _ in range(2):
            await one.service.identify(MARTY)
            await one.is_filled()
        await one.knows("marty@hillvalley.edu", "111")
        other = await PostgresStore.open(database)
        try:
            await Service(other).identify(JENNIFER)
            assert len((await one.service.identify(MARTY)).emails) == 2
            assert (await one.store.cache_state()).is_suspended
        finally:
            await other.close()

    on(database, CacheOptions(shared_redis.url), test)


def test_import_of_an_older_customer_changes_cached_primary(
    database: str, shared_redis: RedisServer
) -> None:
    async def test(one: Process) -> None:
        for _ in range(2):
            newer = await one.service.identify(MARTY)
            await one.is_filled()
        await one.knows("marty@hillvalley.edu", "111")
        other = await PostgresStore.open(database)
        try:
            await Service(other).absorb([JENNIFER], [1_000_000])
        finally:
            await other.close()
        answer = await one.service.identify(MARTY)
        assert answer.primary_id > newer.primary_id
        assert answer.secondary_ids == [newer.primary_id]

    on(database, CacheOptions(shared_redis.url), test)


def test_service_goes_on_when_the_cache_is_away(database: str, redis: RedisServer) -> None:
    async def test(one: Process) -> None:
        for _ in range(2):
            await one.service.identify(MARTY)
            await one.is_filled()
        redis.kill()
        assert (await one.service.identify(MARTY)).emails == [MARTY.email]
        assert len((await one.service.identify(JENNIFER)).emails) == 2
        for _ in range(20):
            assert len((await one.service.identify(MARTY)).emails) == 2
        assert (await one.store.cache_state()).is_suspended
        redis.start()
        await one.is_in_use()
        for _ in range(2):
            answer = await one.service.identify(MARTY)
            await one.is_filled()
        assert await one.knows("marty@hillvalley.edu", "111") == answer

    with captured_log_lines() as lines:
        on(database, CacheOptions(redis.url), test)
    assert 1 <= len(lines) <= 6, lines  # when it changes, not at each request


def test_process_that_writes_before_connecting_disturbs_nobody(
    database: str, redis: RedisServer
) -> None:
    async def test(one: Process) -> None:
        with tcp_proxy(("127.0.0.1", redis.port)) as line:
            line.stall()
            slow = CacheOptions(f"redis://127.0.0.1:{line.port}/0")
            async with process(database, slow) as other:
                writing = asyncio.create_task(other.service.identify(MARTY))
                await asyncio.sleep(MOMENT)
                line.heal()
                await writing
        assert not (await one.store.cache_state()).is_suspended

    on(database, CacheOptions(redis.url), test)


def test_many_writers_unable_to_fence_are_logged_once(database: str, redis: RedisServer) -> None:
    async def test(one: Process) -> None:
        sent = [observe(f"{n}@hillvalley.edu", None) for n in range(20)]
        known = await asyncio.gather(*map(one.service.identify, sent))
        redis.kill()
        with captured_log_lines() as lines:
            await asyncio.gather(*[one.service.delete(answer.primary_id) for answer in known])
        events = [line["event"] for line in lines]
        assert events.count("cache.suspended") == 1
        assert (await one.store.cache_state()).left <= SUSPENSION
        assert one.cache._epoch._next_suspension == 2 * SUSPENSION

    on(database, CacheOptions(redis.url), test)


def test_server_that_lost_its_data_begins_empty_epoch(database: str, redis: RedisServer) -> None:
    async def test(one: Process) -> None:
        epoch = one.epoch()
        redis.ask("FLUSHALL")
        await until(lambda: one.epoch() not in {None, epoch})

    on(database, CacheOptions(redis.url), test)


def test_server_that_returns_with_old_data_begins_empty_epoch(
    database: str, redis: RedisServer
) -> None:
    async def test(one: Process) -> None:
        for _ in range(2):
            await one.service.identify(MARTY)
            await one.is_filled()
        epoch = one.epoch()
        redis.ask("SAVE")
        redis.kill()
        redis.start()
        assert redis.ask("KEYS", f"*{epoch}:mark"), "The server lost its data; this proves nothing."
        await until(lambda: one.epoch() not in {None, epoch})

    on(database, CacheOptions(redis.url), test)


def test_epoch_from_before_a_restart_admits_and_resumes_nothing(
    shared_redis: RedisServer,
) -> None:
    async def test(one: Process) -> None:
        epoch = one.epoch()
        assert epoch is not None
        changes = await decide(one.store, ("a@x", "1"))
        one.cache._epoch._follower.cancel()  # else it begins another epoch before we look
        server.restart()
        state = await one.store.cache_state()
        assert (state.epoch, state.is_over, state.in_use) == (epoch, True, None)
        with pytest.raises(EpochOver) as over:
            await one.store.commit(DEFAULT_TENANT, changes, state)
        assert over.value.state.is_over
        assert await one.store.cache_resume(epoch, "another") == state
        begun = monotonic()
        await one.cache.commit(DEFAULT_TENANT, changes, NOBODY, ())
        assert monotonic() - begun > 1.0  # until all licences of the old epoch have ended
        state = await one.store.cache_state()
        assert (state.epoch != epoch, state.is_over, state.is_suspended) == (True, False, True)

    with own_server(fsync=False) as server:
        on(server.url(), CacheOptions(shared_redis.url), test)


def test_suspension_from_before_a_restart_begins_anew(shared_redis: RedisServer) -> None:
    async def test(one: Process) -> None:
        epoch = one.epoch()
        assert epoch is not None
        one.cache._epoch._follower.cancel()
        before = await one.store.cache_suspend(epoch, 3600.0)
        await asyncio.sleep(before.wait)
        server.restart()
        other = await PostgresStore.open(server.url())
        try:
            begun = monotonic()
            await Service(other).identify(MARTY)  # without a cache
            assert monotonic() - begun > 1.0
        finally:
            await other.close()
        state = await one.store.cache_state()
        assert (state.is_over, state.is_suspended) == (False, True)
        assert state.epoch != before.epoch
        assert state.left < 60.0  # what another clock has said does not count

    with own_server(fsync=False) as server:
        on(server.url(), CacheOptions(shared_redis.url), test)


def test_cache_is_used_again_after_a_restart(shared_redis: RedisServer) -> None:
    async def test(one: Process) -> None:
        epoch = one.epoch()
        server.restart()
        await until(lambda: one.epoch() not in {None, epoch})
        for _ in range(2):
            answer = await one.service.identify(MARTY)
            await one.is_filled()
        assert await one.knows("marty@hillvalley.edu", "111") == answer

    with own_server(fsync=False) as server:
        on(server.url(), CacheOptions(shared_redis.url), test)


def test_clone_of_a_database_begins_its_own_epoch(
    database: str, postgres: Postgres, shared_redis: RedisServer
) -> None:
    async def epoch_is_over(url: str) -> bool:
        store = await PostgresStore.open(url)
        try:
            return (await store.cache_state()).is_over
        finally:
            await store.close()

    async def in_use(one: Process) -> None:
        await one.service.identify(MARTY)

    on(database, CacheOptions(shared_redis.url), in_use)
    with postgres.fresh_database(template=database) as clone:
        assert [asyncio.run(epoch_is_over(url)) for url in (database, clone)] == [False, True]
