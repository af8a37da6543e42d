"""Which answers come from the cache, and whether they are right."""

import time

import pytest

from bitespeed.caches import CacheOptions
from bitespeed.caches.entries import MAX_CONTACTS
from bitespeed.errors import CacheUnavailable
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer
from support.cache_processes import JENNIFER, MARTY, POLL_INTERVAL, Process, on, process
from support.copies import everything
from support.log_lines import captured_log_lines
from support.redis_server import RedisServer


def test_repeat_is_answered_without_the_store(database: str, options: CacheOptions) -> None:
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


def test_new_pair_of_cached_values_is_kept(database: str, options: CacheOptions) -> None:
    async def pairs(one: Process) -> list[tuple[str | None, str | None]]:
        (identity,) = await everything(one.store)
        return [(e.value, e.other) for e in identity.events if e.kind == "pair.seen"]

    seen = [("a@x", "1"), ("b@x", "2"), ("a@x", "2")]

    async def test(one: Process) -> None:
        for sent in (*seen, *seen):
            await one.service.identify(observe(*sent))
            await one.is_filled()
        known = await one.knows("b@x", None)
        assert await one.knows(None, "1") == await one.knows("a@x", "2") == known
        assert await pairs(one) == []
        assert await one.service.identify(observe("b@x", "1")) == known
        assert await pairs(one) == [("b@x", "1")]
        for _ in range(2):
            await one.is_filled()
            assert await one.service.identify(observe("b@x", "1")) == known
        assert await one.knows("b@x", "1") == known
        assert await pairs(one) == [("b@x", "1")]

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


def test_second_process_reads_what_the_first_filled(database: str, options: CacheOptions) -> None:
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


def test_large_identity_is_not_cached(database: str, shared_redis: RedisServer) -> None:
    async def test(one: Process) -> None:
        crowd = [observe(f"somebody{n}@hillvalley.edu", "333") for n in range(MAX_CONTACTS + 1)]
        await one.service.identify_all(crowd)
        reads = one.store.reads
        for _ in range(3):
            await one.service.identify(crowd[0])
            await one.is_filled()
        assert one.store.reads == reads + 3

    on(database, CacheOptions(shared_redis.url), test)


def test_deleted_contact_is_gone_at_once(database: str, options: CacheOptions) -> None:
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
    assert any(b"marty@hillvalley.edu" in value for value in redis.dump().values())


def test_store_answers_when_a_look_up_raises(
    database: str, shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(one: Process) -> None:
        def breaks(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(one.cache, "answers", breaks)
        with captured_log_lines() as lines:
            assert (await one.service.identify(MARTY)).primary_id == 1
        assert [line["event"] for line in lines if "failed" in line["event"]] == [
            "cache.answers_failed"
        ]

    on(database, CacheOptions(shared_redis.url), test)


def test_reply_is_not_used_after_the_licence(database: str, options: CacheOptions) -> None:
    async def test(one: Process) -> None:
        for _ in range(2):
            await one.service.identify(MARTY)
            await one.is_filled()
        lookup = await one.look_up(MARTY)
        assert one.cache.answers(lookup) != [None]
        lookup.licence_end = time.monotonic()
        assert one.cache.answers(lookup) == [None]

    on(database, options, test)


def test_late_reply_is_not_given_to_the_next_command(
    database: str, shared_redis: RedisServer
) -> None:
    async def test(one: Process) -> None:
        late = one.cache.engine.call("BLPOP", "nothing", "0.2", timeout=POLL_INTERVAL)
        behind = one.cache.engine.call("ECHO", "mine")
        with pytest.raises(CacheUnavailable, match="in time"):
            await late
        assert await behind == b"mine"

    on(database, CacheOptions(shared_redis.url), test)
