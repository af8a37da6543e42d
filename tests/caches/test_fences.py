"""Leases and fences: an old answer is neither read nor filled."""

from typing import Any

import pytest

from bitespeed.caches import CacheOptions
from bitespeed.errors import CacheUnavailable
from bitespeed.tenant import DEFAULT_TENANT
from support.cache_processes import JENNIFER, MARTY, Process, on, process
from support.redis_server import RedisServer


def test_broken_lease_fills_nothing(database: str, options: CacheOptions) -> None:
    async def test(one: Process) -> None:
        await one.service.identify(MARTY)
        await one.is_filled()
        lookup = await one.miss(MARTY.email, MARTY.phone)
        assert lookup.token is not None
        old = await one.store.read(DEFAULT_TENANT, emails=[MARTY.email], phones=[MARTY.phone])
        answer = await one.service.look_up(MARTY.email, None)
        async with process(database, options) as other:
            await other.is_in_use()
            await other.service.identify(JENNIFER)
            await other.is_filled()
        one.cache.fill_soon(DEFAULT_TENANT, lookup, old, [(MARTY, answer)])
        await one.is_filled()
        assert len((await one.service.identify(MARTY)).emails) == 2

    on(database, options, test)


def test_fenced_entry_is_not_read(database: str, options: CacheOptions) -> None:
    async def test(one: Process) -> None:
        for _ in range(2):
            await one.service.identify(MARTY)
            await one.is_filled()
        epoch = one.epoch()
        assert epoch is not None
        keys = one.cache._keys(epoch, DEFAULT_TENANT, ["111"])
        assert await one.cache._fence(epoch, keys, "token-1")
        assert await one.cache._fence(epoch, keys, "token-2")
        for token in ("token-2", "token-1"):  # the last one first, or it could hide a lost one
            assert (await one.miss(None, "111")).token is None
            one.cache._release_soon(keys, token)
            await one.is_filled()
        assert (await one.miss(None, "111")).token is not None

    on(database, options, test)


def test_commit_with_unknown_outcome_leaves_its_fence(
    database: str, shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(one: Process) -> None:
        for _ in range(2):
            await one.service.identify(MARTY)
            await one.is_filled()

        async def lost(*args: Any) -> Any:
            raise CacheUnavailable("stands for any failure with an unknown outcome")

        with monkeypatch.context() as patch:
            patch.setattr(one.store, "commit", lost)
            with pytest.raises(CacheUnavailable):
                await one.service.identify(JENNIFER)
        await one.is_filled()
        assert (await one.miss(MARTY.email, MARTY.phone)).token is None

    on(database, CacheOptions(shared_redis.url), test)
