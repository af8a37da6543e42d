"""Which answers come from the cache, and that they are the right ones."""

import time

import pytest

from bitespeed.caches import CacheOptions
from bitespeed.caches.entries import MAX_CONTACTS
from bitespeed.errors import CacheUnavailable
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer
from support.cache_processes import JENNIFER, LOOK, MARTY, Process, on, process
from support.log_lines import captured_log_lines
from support.redis_server import RedisServer


def test_a_repeat_is_answered_without_the_store(database: str, options: CacheOptions) -> None:
    async def test(one: Process) -> None:
        first = await one.service.identify(MARTY)
        await one.is_filled()
        assert await one.service.identify(MARTY) == first  # a miss, which fills
        await one.is_filled()
        assert await one.knows("Marty@HillValley.edu", "111") == first
        assert await one.knows("marty@hillvalley.edu", None) == first
        assert await one.knows(None, "111") == first

    on(database, options, test)


def test_observation_with_a_new_value_is_no_hit(database: str, options: CacheOptions) -> None:
    async def test(one: Process) -> None:
        for observation in (MARTY, MARTY, JENNIFER, MARTY, JENNIFER):
            await one.service.identify(observation)
            await one.is_filled()
        both = await one.knows("jennifer@hillvalley.edu", "111")
        assert both.emails == ["marty@hillvalley.edu", "jennifer@hillvalley.edu"]
        assert await one.knows("marty@hillvalley.edu", "111") == both
        merged = await one.service.identify(observe("jennifer@hillvalley.edu", "222"))
        assert merged.phones == ["111", "222"]

    on(database, options, test)


def test_observations_in_turn_each_show_the_earlier_ones(
    database: str, options: CacheOptions
) -> None:
    async def test(one: Process) -> None:
        for _ in range(2):
            await one.service.identify(MARTY)
            await one.is_filled()
        sent = [MARTY, observe("marty@hillvalley.edu", "222"), MARTY]
        answers = await one.service.identify_all(sent)
        assert [len(a.phones) for a in answers if isinstance(a, Answer)] == [1, 2, 2]

    on(database, options, test)


def test_another_process_finds_what_one_has_filled(database: str, options: CacheOptions) -> None:
    async def test(one: Process) -> None:
        async with process(database, options) as other:
            await other.is_in_use()
            for _ in range(2):
                answer = await one.service.identify(MARTY)
                await one.is_filled()
            assert await other.knows("marty@hillvalley.edu", "111") == answer
            await other.service.identify(JENNIFER)
            assert len((await one.service.identify(MARTY)).emails) == 2

    on(database, options, test)


def test_a_large_identity_is_not_kept(database: str, shared_redis: RedisServer) -> None:
    async def test(one: Process) -> None:
        crowd = [observe(f"somebody{n}@hillvalley.edu", "333") for n in range(MAX_CONTACTS + 1)]
        await one.service.identify_all(crowd)
        reads = one.store.reads
        for _ in range(3):
            await one.service.identify(crowd[0])
            await one.is_filled()
        assert one.store.reads == reads + 3

    on(database, CacheOptions(shared_redis.url), test)


def test_a_deleted_contact_is_gone_at_once(database: str, options: CacheOptions) -> None:
    async def test(one: Process) -> None:
        for observation in (MARTY, JENNIFER, MARTY, JENNIFER):
            await one.service.identify(observation)
            await one.is_filled()
        await one.service.delete(1)
        assert (await one.service.identify(observe(None, "111"))).emails == [JENNIFER.email]

    on(database, options, test)


def test_cache_keys_contain_no_value(database: str, redis: RedisServer) -> None:
    async def test(one: Process) -> None:
        for _ in range(2):
            await one.service.identify(MARTY)
            await one.is_filled()

    on(database, CacheOptions(redis.url), test)
    keys = b" ".join(redis.dump())
    assert b"marty" not in keys.lower()
    assert b"111" not in keys.split(b":default:")
    assert any(
        b"marty@hillvalley.edu" in value for value in redis.dump().values()
    )  # they are there


def test_whatever_breaks_in_a_look_up_the_store_answers(
    database: str, shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(one: Process) -> None:
        def breaks(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(one.cache, "answers", breaks)
        with captured_log_lines() as told:
            assert (await one.service.identify(MARTY)).primary_id == 1
        assert [line["event"] for line in told if "failed" in line["event"]] == [
            "cache.answers_failed"
        ]

    on(database, CacheOptions(shared_redis.url), test)


def test_a_reply_that_outlives_the_licence_is_not_used(
    database: str, options: CacheOptions
) -> None:
    async def test(one: Process) -> None:
        for _ in range(2):
            await one.service.identify(MARTY)
            await one.is_filled()
        found = await one.look_up(MARTY)
        assert one.cache.answers(found) != [None]
        found.until = time.monotonic()
        assert one.cache.answers(found) == [None]

    on(database, options, test)


def test_a_reply_that_comes_too_late_is_nobodys(database: str, shared_redis: RedisServer) -> None:
    async def test(one: Process) -> None:
        late = one.cache.engine.call("BLPOP", "nothing", "0.2", patience=LOOK)
        behind = one.cache.engine.call("ECHO", "mine")
        with pytest.raises(CacheUnavailable, match="in time"):
            await late
        assert await behind == b"mine"

    on(database, CacheOptions(shared_redis.url), test)
