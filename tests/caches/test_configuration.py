"""Addresses and tokens of the cache, and its commands."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest
import trustme

from bitespeed.caches import CacheOptions, open_cache
from bitespeed.caches import redis as redis_engine
from bitespeed.errors import CacheUnavailable, InvalidInput
from bitespeed.stores.postgres.store import PostgresStore
from support.cache_processes import (
    JENNIFER,
    MARTY,
    POLL_INTERVAL,
    Process,
    on,
    process,
    until,
)
from support.log_lines import captured_log_lines
from support.redis_server import RedisServer
from support.server import free_port
from support.stores import store_at
from support.tcp_proxy import tcp_proxy
from support.upstash_server import upstash_server


def test_sqlite_file_has_no_cache(tmp_path: Any) -> None:
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
def test_malformed_address_is_refused(database: str, options: CacheOptions) -> None:
    async def main() -> None:
        store = await PostgresStore.open(database)
        try:
            with pytest.raises(InvalidInput):
                open_cache(options, store)
        finally:
            await store.close()

    asyncio.run(main())


def test_wrong_token_leaves_the_cache_unused(database: str, shared_redis: RedisServer) -> None:
    async def main() -> None:
        with upstash_server(shared_redis) as upstash:
            wrong = CacheOptions(upstash_url=upstash.url, upstash_token="wrong")
            async with process(database, wrong) as one:
                assert (await one.service.identify(MARTY)).primary_id == 1
                assert (await one.service.identify(JENNIFER)).secondary_ids == [2]

    asyncio.run(main())


def test_commands_describe_and_clear_the_cache(database: str, shared_redis: RedisServer) -> None:
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
        await until(lambda: one.cache.counts.hits == 0)  # the counts were sent
        stats = json.loads(await asyncio.to_thread(bitespeed, "cache", "stats", "--json"))
        assert stats["used"] is True
        assert stats["hits"] == 2
        assert await asyncio.to_thread(bitespeed, "cache", "clear") == "Cleared.\n"
        assert (await one.store.cache_state()).is_suspended

    on(database, CacheOptions(shared_redis.url), test)


def test_commands_report_an_unreachable_cache(database: str, redis: RedisServer) -> None:
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


def test_command_fails_when_no_cache_is_configured(tmp_path: Any) -> None:
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


# A cache that is configured wrongly


class Wrong(NamedTuple):
    """Settings that lead to no cache, and the reason that must be given for it."""

    options: CacheOptions
    reason: str


@pytest.fixture(params=["port", "host", "certificate", "no tls", "password", "token", "no upstash"])
def wrong(request: pytest.FixtureRequest, shared_redis: RedisServer) -> Iterator[Wrong]:
    with ExitStack() as stack:
        match request.param:
            case "port":
                yield Wrong(CacheOptions(f"redis://127.0.0.1:{free_port()}"), "nothing listens")
            case "host":
                yield Wrong(CacheOptions("redis://cache.invalid"), "the name of its host")
            case "certificate":
                encryption = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                trustme.CA().issue_cert("localhost").configure_cert(encryption)
                address = ("127.0.0.1", shared_redis.port)
                line = stack.enter_context(tcp_proxy(address, encryption))
                url = f"rediss://localhost:{line.port}/0"
                yield Wrong(CacheOptions(url), "its certificate is not trusted")
            case "no tls":
                url = shared_redis.url.replace("redis:", "rediss:")
                yield Wrong(CacheOptions(url), "cache cannot be reached")
            case "password":
                url = shared_redis.url.replace("127", "shop:secret@127")
                yield Wrong(CacheOptions(url), "WRONGPASS")
            case "token":
                upstash = stack.enter_context(upstash_server(shared_redis))
                options = CacheOptions(upstash_url=upstash.url, upstash_token="secret")
                yield Wrong(options, "The cache refuses the token")
            case _:
                address = f"http://127.0.0.1:{shared_redis.port}"
                options = CacheOptions(upstash_url=address, upstash_token="secret")
                yield Wrong(options, "The")


def test_wrong_configuration_is_logged_once_and_shown(
    database: str, wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_engine, "RECONNECT_DELAY", POLL_INTERVAL)

    async def main() -> dict[str, Any]:
        async with process(database, wrong.options) as one:
            await until(lambda: bool(lines))
            for _ in range(3):
                assert (await one.service.identify(MARTY)).primary_id == 1
            await asyncio.sleep(10 * POLL_INTERVAL)
            return await one.cache.stats()

    with captured_log_lines() as lines:
        stats = asyncio.run(main())
    (line,) = [line for line in lines if line["event"] != "contact.created"]
    assert (line["event"], line["log_level"]) == ("cache.refused", "warning")
    assert wrong.reason in line["message"]
    assert stats == {"epoch": None, "used": False, "reason": line["message"]}
    assert "secret" not in str(lines)


def test_stats_say_why_a_reachable_cache_is_unused(
    database: str, shared_redis: RedisServer
) -> None:
    options = CacheOptions(shared_redis.url)

    async def main() -> None:
        store = await PostgresStore.open(database)
        cache = open_cache(options, store, follows=False)
        assert cache is not None
        try:
            reason = (await cache.stats())["reason"]
            assert reason == "It can be reached from here, but no running server uses it"
            async with process(database, options) as one:
                await one.is_in_use()
                assert "reason" not in await cache.stats()  # the control
            await cache.clear()
            assert "It is suspended for " in str((await cache.stats())["reason"])
            epoch = (await store.cache_state()).epoch
            await asyncio.sleep(3 * POLL_INTERVAL)
            assert (await store.cache_state()).epoch == epoch  # a command resumes nothing
        finally:
            await cache.close()
            await store.close()

    asyncio.run(main())
