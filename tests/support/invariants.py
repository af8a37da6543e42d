"""What has to be true of a store whatever was done to it."""

from bitespeed.jobs.check import check
from bitespeed.stores.protocols import AnyStore


async def assert_clean(store: AnyStore) -> None:
    assert await check(store) == []
