"""Addresses and tokens of the cache, and its commands."""

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from bitespeed.caches import CacheOptions, open_cache
from bitespeed.errors import CacheUnavailable, InvalidInput
from bitespeed.stores.postgres.store import PostgresStore
from support.cache_processes import (
    JENNIFER,
    MARTY,
    Process,
    on,
    process,
    until,
)
from support.redis_server import RedisServer
from support.stores import store_at
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
