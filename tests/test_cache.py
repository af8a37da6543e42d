"""The cache on real servers, step by step: what is kept, and what nobody may find any more."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trustme

from bitespeed import wire
from bitespeed.caches import CacheOptions, open_cache
from bitespeed.caches import redis as redis_engine
from bitespeed.caches.answers import AnswerCache, LookUp
from bitespeed.caches.entries import MAX_CONTACTS, hit, text_of
from bitespeed.caches.redis import RedisEngine
from bitespeed.caches.upstash import UpstashEngine
from bitespeed.errors import CacheUnavailable, InvalidInput
from bitespeed.model.identifiers import Email, Observation, observe
from bitespeed.model.identity import Answer, Identity, Snapshot
from bitespeed.service.service import Service
from bitespeed.stores.epochs import SUSPENSION, EpochOver
from bitespeed.stores.postgres.store import PostgresStore
from bitespeed.tenant import DEFAULT_TENANT
from support.invariants import assert_clean
from support.log_lines import captured_log_lines
from support.redis_server import RedisServer, redis_server
from support.stores import decide, store_at
from support.tcp_proxy import tcp_proxy
from support.upstash_server import upstash_server

PATIENCE = 20.0  # seconds to wait for something that happens by itself, a suspension's end for one
LOOK = 0.02  # seconds between looks
MOMENT = 0.2  # seconds in which whoever does not wait would have gone on

MARTY = observe("marty@hillvalley.edu", "111")
JENNIFER = observe("jennifer@hillvalley.edu", "111")


class Counting(PostgresStore):
    """A store that counts the reads for batches."""

    reads = 0

    async def read(self, tenant: str, **asked: Any) -> Snapshot:
        self.reads += 1
        return await super().read(tenant, **asked)


class Process:
    """What one server process has."""

    def __init__(self, store: Counting, cache: AnswerCache) -> None:
        self.store = store
        self.cache = cache
        self.service = Service(store, cache=cache)

    async def knows(self, *sent: str | None) -> Answer:
        """The answer to a repeat, which must come from the cache."""
        before = self.store.reads
        answer = await self.service.identify(observe(*sent))
        assert self.store.reads == before, "The store was asked."
        return answer

    async def is_filled(self) -> None:
        """Return when what is done in the background is done."""
        await asyncio.gather(*self.cache._background)

    async def miss(self, *sent: str | None) -> LookUp:
        """The look-up of what the cache has no answer to, with the lease for the rest."""
        found = await self.look_up(observe(*sent))
        assert self.cache.answers(found) == [None]
        await self.cache.lease(DEFAULT_TENANT, found)
        return found

    async def look_up(self, observation: Observation) -> LookUp:
        """The look-up for one observation, with its reply."""
        told: asyncio.Future[LookUp] = asyncio.get_running_loop().create_future()
        found = self.cache.look_up(DEFAULT_TENANT, [observation], told.set_result)
        assert await told is found
        return found

    def epoch(self) -> str | None:
        """The epoch in which this process may read from the cache."""
        licence = self.cache._epoch.licence()
        return licence and licence[0]

    async def is_in_use(self) -> None:
        """Return when this process may read from the cache."""
        await until(lambda: self.epoch() is not None)


async def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, "It did not happen."
        await asyncio.sleep(LOOK)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """More of it, so that a busy machine does not look like a cache that is away."""
    for engine in (RedisEngine, UpstashEngine):
        monkeypatch.setattr(engine, "read_time", 2.0)
        monkeypatch.setattr(engine, "write_time", 2.0)


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A server that the test may disturb."""
    with redis_server() as server:
        yield server


@pytest.fixture(params=["redis", "upstash"])
def options(request: pytest.FixtureRequest, shared_redis: RedisServer) -> Iterator[CacheOptions]:
    """Both ways to a server."""
    if request.param == "redis":
        yield CacheOptions(shared_redis.url)
    else:
        with upstash_server(shared_redis) as upstash:
            yield CacheOptions(upstash_url=upstash.url, upstash_token=upstash.token)


@asynccontextmanager
async def process(database: str, options: CacheOptions) -> AsyncIterator[Process]:
    store = await Counting.open(database)
    assert isinstance(store, Counting)
    cache = open_cache(options, store)
    assert cache is not None
    one = Process(store, cache)
    try:
        yield one
    finally:
        await one.service.drain()
        await cache.close()
        await store.close()


def on(database: str, options: CacheOptions, test: Callable[[Process], Awaitable[None]]) -> None:
    """Run the test with one process whose cache is in use; the store must be sound afterwards."""

    async def main() -> None:
        async with process(database, options) as one:
            await one.is_in_use()
            await test(one)
            await assert_clean(one.store)

    asyncio.run(main())


async def sql(database: str, *statements: str) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(statement.encode())


# What is kept


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


def test_what_brings_something_new_is_no_hit(database: str, options: CacheOptions) -> None:
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


def test_of_many_in_turn_each_shows_what_those_before_it_brought(
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


def answer_of(count: int) -> Answer:
    return Answer(1, [Email(f"{n}@x") for n in range(count)], [], list(range(2, count + 1)))


@pytest.mark.parametrize("count", [1, 200])
def test_entries_short_and_long_are_read_as_they_were_written(count: int) -> None:
    answer = answer_of(count)
    text = text_of(Identity(1, 7, 1, 0, count), answer)
    assert text.startswith(b"E" if count == 1 else b"Z")
    assert text.isascii()
    kept = hit(observe("0@x", None), {"0@x": text})
    assert kept is not None
    assert kept.answer() == answer
    assert wire.encode(kept) == wire.encode(answer)


def test_only_one_identity_at_one_version_is_a_hit() -> None:
    text = {
        (id_, version): text_of(Identity(id_, version, 1, 0, 1), answer_of(id_))
        for id_ in (1, 2)
        for version in (1, 2)
    }
    both = observe("a@x", "1")
    kept = hit(both, {"a@x": text[1, 1], "1": text[1, 1]})
    assert kept is not None
    assert kept.answer() == answer_of(1)
    for other in (text[1, 2], text[2, 1], None, b"Ftoken", b"Ltoken"):
        assert hit(both, {"a@x": text[1, 1], "1": other}) is None
        assert hit(both, {"a@x": other, "1": text[1, 1]}) is None


def test_keys_tell_no_value(database: str, redis: RedisServer) -> None:
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


# Leases and fences


def test_a_lease_that_a_writer_has_broken_fills_nothing(
    database: str, options: CacheOptions
) -> None:
    async def test(one: Process) -> None:
        await one.service.identify(MARTY)
        await one.is_filled()
        found = await one.miss(MARTY.email, MARTY.phone)
        assert found.token is not None
        old = await one.store.read(DEFAULT_TENANT, emails=[MARTY.email], phones=[MARTY.phone])
        answer = await one.service.look_up(MARTY.email, None)
        async with process(database, options) as other:
            await other.is_in_use()
            await other.service.identify(JENNIFER)
            await other.is_filled()
        one.cache.fill_soon(DEFAULT_TENANT, found, old, [(MARTY, answer)])
        await one.is_filled()
        assert len((await one.service.identify(MARTY)).emails) == 2

    on(database, options, test)


def test_a_fence_hides_what_it_is_about_to_overtake(database: str, options: CacheOptions) -> None:
    async def test(one: Process) -> None:
        for _ in range(2):
            await one.service.identify(MARTY)
            await one.is_filled()
        epoch = one.epoch()
        assert epoch is not None
        keys = one.cache._keys(epoch, DEFAULT_TENANT, ["111"])
        assert await one.cache._fence(epoch, keys, "token-1")
        assert await one.cache._fence(epoch, keys, "token-2")
        for mine in ("token-2", "token-1"):  # the later one first, or it could hide a lost one
            assert (await one.miss(None, "111")).token is None
            one.cache._release_soon(keys, mine)
            await one.is_filled()
        assert (await one.miss(None, "111")).token is not None

    on(database, options, test)


def test_a_commit_whose_outcome_is_unknown_leaves_its_fence(
    database: str, shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(one: Process) -> None:
        for _ in range(2):
            await one.service.identify(MARTY)
            await one.is_filled()

        async def lost(*args: Any) -> Any:
            raise CacheUnavailable("stands for any failure that tells nothing")

        with monkeypatch.context() as patch:
            patch.setattr(one.store, "commit", lost)
            with pytest.raises(CacheUnavailable):
                await one.service.identify(JENNIFER)
        await one.is_filled()
        assert (await one.miss(MARTY.email, MARTY.phone)).token is None

    on(database, CacheOptions(shared_redis.url), test)


# Epochs


def test_a_commit_in_an_epoch_that_is_over_writes_nothing(
    database: str, shared_redis: RedisServer
) -> None:
    async def test(one: Process) -> None:
        epoch = one.epoch()
        assert epoch is not None
        changes = await decide(one.store, ("a@x", "1"))
        suspended = await one.store.cache_suspend(epoch, 5.0)
        assert suspended.is_suspended
        for named in (epoch, "another", suspended.epoch):
            with pytest.raises(EpochOver) as over:
                await one.store.commit(DEFAULT_TENANT, changes, named)
            assert over.value.state.wait > 1.0  # until nobody can hold a licence for what was
        await asyncio.sleep(over.value.state.wait)
        assert suspended.epoch is not None
        await one.store.commit(DEFAULT_TENANT, changes, suspended.epoch)

    on(database, CacheOptions(shared_redis.url), test)


def test_a_writer_without_a_cache_suspends_it_and_is_then_seen(
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


def test_when_the_cache_is_away_everything_goes_on(database: str, redis: RedisServer) -> None:
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

    with captured_log_lines() as told:
        on(database, CacheOptions(redis.url), test)
    assert 1 <= len(told) <= 6, told  # when it changes, not at each request


def test_a_process_that_writes_before_it_is_connected_disturbs_nobody(
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


def test_of_many_writers_who_cannot_fence_the_log_tells_once(
    database: str, redis: RedisServer
) -> None:
    async def test(one: Process) -> None:
        sent = [observe(f"{n}@hillvalley.edu", None) for n in range(20)]
        known = await asyncio.gather(*map(one.service.identify, sent))
        redis.kill()
        with captured_log_lines() as log:
            await asyncio.gather(*[one.service.delete(answer.primary_id) for answer in known])
        told = [line["event"] for line in log if line["event"] == "cache.suspended"]
        assert told == ["cache.suspended"]
        assert (await one.store.cache_state()).left <= SUSPENSION
        assert one.cache._epoch._suspension == 2 * SUSPENSION

    on(database, CacheOptions(redis.url), test)


def test_a_server_that_has_lost_its_data_begins_an_empty_epoch(
    database: str, redis: RedisServer
) -> None:
    async def test(one: Process) -> None:
        epoch = one.epoch()
        redis.ask("FLUSHALL")
        await until(lambda: one.epoch() not in {None, epoch})

    on(database, CacheOptions(redis.url), test)


def test_a_server_that_comes_back_with_old_data_begins_an_empty_epoch(
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
        assert redis.ask("KEYS", f"*{epoch}:mark"), "It has lost its data; this proves nothing."
        await until(lambda: one.epoch() not in {None, epoch})

    on(database, CacheOptions(redis.url), test)


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


def test_passwords_users_and_databases_of_a_server(database: str) -> None:
    async def test(one: Process) -> None:
        for _ in range(3):
            await one.service.identify(MARTY)
            await one.is_filled()
        assert await one.knows(MARTY.email, MARTY.phone)

    with redis_server() as server:
        server.ask("ACL", "SETUSER", "shop", "on", ">p@ss/word", "~*", "+@all")
        server.ask("CONFIG", "SET", "requirepass", "secret")
        for who in (":secret@", "shop:p%40ss%2Fword@"):
            url = f"redis://{who}127.0.0.1:{server.port}/3"
            on(database, CacheOptions(url), test)


@pytest.mark.parametrize("who", ["", ":wrong@", "shop:secret@"])
def test_a_server_that_refuses_us_is_not_used_and_the_log_says_so_once(
    database: str, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_engine, "RETRY_PAUSE", LOOK)

    def refusals() -> list[Any]:
        return [line for line in lines if line["event"] == "cache.refused"]

    async def main(url: str) -> None:
        async with process(database, CacheOptions(url)) as one:
            await until(lambda: bool(refusals()))
            assert (await one.service.identify(MARTY)).primary_id == 1
            assert (await one.service.identify(MARTY)).primary_id == 1
            assert one.cache.engine.server is None

    with redis_server() as server, captured_log_lines() as lines:
        server.ask("CONFIG", "SET", "requirepass", "secret")
        asyncio.run(main(f"redis://{who}127.0.0.1:{server.port}/0"))
    assert len(refusals()) == 1
    assert "secret" not in str(lines)


def test_an_encrypted_line_is_used_where_the_certificate_is_right(
    database: str, shared_redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    encryption = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(encryption)

    async def works(one: Process) -> None:
        for _ in range(3):
            await one.service.identify(MARTY)
            await one.is_filled()
        assert await one.knows(MARTY.email, MARTY.phone)

    async def does_without(url: str) -> None:
        async with process(database, CacheOptions(url)) as one:
            with pytest.raises(CacheUnavailable):
                await one.cache.engine.connected()
            assert (await one.service.identify(MARTY)).primary_id == 1

    with tcp_proxy(("127.0.0.1", shared_redis.port), encryption) as line:
        trust(authority, tmp_path, monkeypatch)
        on(database, CacheOptions(f"rediss://localhost:{line.port}/0"), works)
        asyncio.run(does_without(f"rediss://127.0.0.1:{line.port}/0"))  # not the name it is for
        trust(stranger, tmp_path, monkeypatch)
        asyncio.run(does_without(f"rediss://localhost:{line.port}/0"))


def trust(authority: trustme.CA, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be the only one whose certificates are believed."""
    file = folder / "authority"
    authority.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder / "none"))


@pytest.mark.parametrize("told", [b"redis_version:7.0\r\nrun_id:\r\n", b"", None])
def test_a_server_that_does_not_tell_who_it_is_is_not_used(told: bytes | None) -> None:
    class Silent:
        async def send(self, *_: object) -> bytes | None:
            return told

    with pytest.raises(CacheUnavailable, match="does not tell who it is"):
        asyncio.run(redis_engine._identity(Silent()))  # pyright: ignore[reportArgumentType] - a part


def test_a_server_that_may_drop_a_fence_is_not_used(database: str) -> None:
    async def main(url: str) -> None:
        async with process(database, CacheOptions(url)) as one:
            for _ in range(3):
                await one.service.identify(MARTY)
            assert one.cache.engine.server is None
            assert (await one.store.cache_state()).epoch is None

    policy = {"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}
    with redis_server(**policy) as server:
        asyncio.run(main(server.url))


def test_what_others_have_changed_in_the_tables_is_forgotten_by_itself(
    database: str, shared_redis: RedisServer
) -> None:
    async def main() -> None:
        async with process(database, CacheOptions(shared_redis.url)) as one:
            await one.is_in_use()
            for _ in range(2):
                await one.service.identify(MARTY)
                await one.is_filled()
            await one.knows("marty@hillvalley.edu", "111")
            await sql(
                database,
                "begin",
                "update bitespeed.contact_record set email = 'm@x' where id = 1",
                "update bitespeed.identifier set value = 'm@x' where kind = 'email'",
                "update bitespeed.identity set version = version + 1 where id = 1",
                "insert into bitespeed.event (tenant, at, kind, identity_id, version)"
                " values ('default', 1, 'contact.corrected', 1, 2)",
                "commit",
            )
            deadline = time.monotonic() + PATIENCE
            while (await one.service.identify(observe(None, "111"))).emails != ["m@x"]:
                assert time.monotonic() < deadline
                await asyncio.sleep(LOOK)
            newcomer = await one.service.identify(observe("marty@hillvalley.edu", None))
            assert newcomer.phones == []

    asyncio.run(main())


def test_what_others_have_added_is_forgotten_and_nothing_else(
    database: str, shared_redis: RedisServer
) -> None:
    async def main() -> None:
        async with process(database, CacheOptions(shared_redis.url)) as one:
            await one.is_in_use()
            for _ in range(2):
                await one.service.identify(MARTY)
                await one.service.identify(observe("doc@hillvalley.edu", None))
                await one.is_filled()
            epoch = one.epoch()
            await sql(
                database,
                "begin",
                "insert into bitespeed.contact_record values"
                " (9, 'default', 1, 'm@x', '111', null, null, 9000000000000000, 9000000000000000)",
                "insert into bitespeed.identifier values ('default', 'email', 'm@x', 1)",
                "update bitespeed.identity set version = 2, contacts = 2 where id = 1",
                "insert into bitespeed.event (tenant, at, kind, identity_id, version)"
                " values ('default', 1, 'contact.created', 1, 2)",
                "commit",
            )
            deadline = time.monotonic() + PATIENCE
            while (await one.service.identify(MARTY)).secondary_ids != [9]:
                assert time.monotonic() < deadline
                await asyncio.sleep(LOOK)
            await one.knows("doc@hillvalley.edu", None)
            assert one.epoch() == epoch

    asyncio.run(main())


def test_events_of_a_server_that_the_database_was_restored_from_are_no_news(database: str) -> None:
    """Their transactions have numbers that this server comes to much later, if ever."""

    async def main() -> None:
        store = await PostgresStore.open(database)
        try:
            for number, values in (("'9000000000000'", []), ("default", None)):
                await sql(
                    database,
                    "insert into bitespeed.event (xact, tenant, at, kind, identity_id, version)"
                    f" values ({number}, 'default', 1, 'contact.adopted', 1, 1)",
                )
                assert (await store.cache_feed(None, 0)).values == values
        finally:
            await store.close()

    asyncio.run(main())


# Around it


def test_a_file_has_no_cache(tmp_path: Any) -> None:
    async def main() -> None:
        async with store_at(tmp_path / "contacts.db") as store:
            with pytest.raises(InvalidInput, match="A cache needs PostgreSQL"):
                open_cache(CacheOptions("redis://127.0.0.1:1/0"), store)

    asyncio.run(main())


@pytest.mark.parametrize(
    "options",
    [
        CacheOptions("http://127.0.0.1"),
        CacheOptions("redis://"),
        CacheOptions("redis://127.0.0.1:port"),
        CacheOptions("redis://[::1"),
        CacheOptions(upstash_url="127.0.0.1", upstash_token="t"),
        CacheOptions(upstash_url="https://127.0.0.1"),
        CacheOptions(upstash_url="https://127.0.0.1:port", upstash_token="t"),
    ],
)
def test_an_address_that_is_none_is_refused(database: str, options: CacheOptions) -> None:
    async def main() -> None:
        store = await PostgresStore.open(database)
        try:
            with pytest.raises(InvalidInput):
                open_cache(options, store)
        finally:
            await store.close()

    asyncio.run(main())


def test_a_wrong_token_leaves_the_cache_unused(database: str, shared_redis: RedisServer) -> None:
    async def main() -> None:
        with upstash_server(shared_redis) as upstash:
            wrong = CacheOptions(upstash_url=upstash.url, upstash_token="wrong")
            async with process(database, wrong) as one:
                assert (await one.service.identify(MARTY)).primary_id == 1
                assert (await one.service.identify(JENNIFER)).secondary_ids == [2]

    asyncio.run(main())


def test_the_commands_tell_of_the_cache_and_clear_it(
    database: str, shared_redis: RedisServer
) -> None:
    environ = os.environ | {"DATABASE_URL": database, "REDIS_URL": shared_redis.url}

    def bitespeed(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "bitespeed", *arguments],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    async def test(one: Process) -> None:
        for _ in range(4):
            await one.service.identify(MARTY)
            await one.is_filled()
        await until(lambda: one.cache.counts.hits == 0)  # they have been told
        told = json.loads(await asyncio.to_thread(bitespeed, "cache", "stats", "--json"))
        assert told["used"] is True
        assert told["hits"] == 2
        assert await asyncio.to_thread(bitespeed, "cache", "clear") == "Cleared.\n"
        assert (await one.store.cache_state()).is_suspended

    on(database, CacheOptions(shared_redis.url), test)


def test_a_cache_that_is_away_is_told_by_the_commands(database: str, redis: RedisServer) -> None:
    async def test(one: Process) -> None:
        redis.kill()
        away = open_cache(CacheOptions(redis.url), one.store)
        assert away is not None
        try:
            with pytest.raises(CacheUnavailable, match="cannot be reached"):
                await away.stats()
        finally:
            await away.close()

    on(database, CacheOptions(redis.url), test)


def test_without_a_cache_the_commands_say_so(tmp_path: Any) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "bitespeed",
            "cache",
            "stats",
            "--database",
            f"sqlite:///{tmp_path}/x",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "No cache is configured" in done.stderr
